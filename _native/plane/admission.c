/*
 * Admission: limits over all planes, for this plane's share, and for unauthenticated connections.
 */
#include "admission.h"

#ifdef __linux__

#include <netinet/in.h>
#include <string.h>

#include "connection.h"
#include "state.h"

uint64_t
admission_total(const struct plane *plane, enum plane_counter counter)
{
	const struct plane_service *service = &plane->accepting.service;
	uint64_t used = __atomic_load_n(service->used, __ATOMIC_RELAXED);
	uint64_t sum = 0;

	if (used > service->slots)	/* of workers that came after we have mapped the memory */
		used = service->slots;
	for (size_t slot = 0; slot < used; slot++)
		sum += __atomic_load_n(&service->counters[slot * service->stride + counter],
		    __ATOMIC_SEQ_CST);
	return sum;
}

int
admission_share_is_exceeded(const struct plane *plane)
{
	uint64_t workers = plane->accepting.service.workers;
	uint64_t ours = plane->counters[PLANE_ACTIVE];

	return workers > 1 && ours > 1 &&
	    (ours - 1) * workers * 4 > admission_total(plane, PLANE_ACTIVE) * 5;
}

/*
 * Do two addresses count as one source?  Of IPv6, a network of 64 bits is what one
 * subscriber has.  A UNIX socket is no source.
 */
static int
is_same_source(const struct connection *a, const struct connection *b)
{
	const struct sockaddr_in *a4 = (const struct sockaddr_in *)(const void *)&a->peer;
	const struct sockaddr_in *b4 = (const struct sockaddr_in *)(const void *)&b->peer;
	const struct in6_addr *a6 = &a->peer.sin6_addr, *b6 = &b->peer.sin6_addr;
	int prefix = IN6_IS_ADDR_V4MAPPED(a6) || IN6_IS_ADDR_V4MAPPED(b6) ? 16 : 8;

	if (a->peer.sin6_family != b->peer.sin6_family)
		return 0;
	if (a->peer.sin6_family == AF_INET)
		return a4->sin_addr.s_addr == b4->sin_addr.s_addr;
	return a->peer.sin6_family == AF_INET6 && memcmp(a6, b6, (size_t)prefix) == 0;
}

static uint64_t
count_of_source(const struct plane *plane, const struct connection *connection)
{
	const struct link *list = &plane->unauthenticated;
	uint64_t count = 0;

	for (const struct link *link = list->next; link != list; link = link->next)
		count += (uint64_t)is_same_source(connection,
		    OWNER_OF(link, struct connection, unauthenticated));
	return count;
}

struct connection *
admission_excess(const struct plane *plane, struct connection *newest, enum plane_cause *cause)
{
	const struct plane_service *service = &plane->accepting.service;

	if (service->unauthenticated_per_source != 0 &&
	    count_of_source(plane, newest) > service->unauthenticated_per_source) {
		*cause = PLANE_TOO_MANY;
		return newest;
	}
	if (service->unauthenticated != 0 &&
	    admission_total(plane, PLANE_UNAUTHENTICATED) > service->unauthenticated) {
		*cause = PLANE_SHED;
		return OWNER_OF(plane->unauthenticated.next, struct connection, unauthenticated);
	}
	return NULL;
}

#endif
