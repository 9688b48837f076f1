/*
 * Admission: the limits, in the order in which they are looked at.
 */
#include "admission.h"

#ifdef __linux__

#include <netinet/in.h>
#include <string.h>

#include "clock.h"
#include "computing.h"
#include "connection.h"
#include "counters.h"
#include "state.h"

static uint64_t
load(const uint64_t *counters, enum plane_counter counter)
{
	return __atomic_load_n(&counters[counter], __ATOMIC_SEQ_CST);
}

void
admission_look(const struct plane *plane, struct census *census)
{
	const struct plane_service *service = &plane->accepting.service;
	uint64_t used = __atomic_load_n(service->used, __ATOMIC_RELAXED);

	if (used > service->slots)	/* of workers that came after we have mapped the memory */
		used = service->slots;
	*census = (struct census){ 0 };
	for (size_t slot = 0; slot < used; slot++) {
		const uint64_t *counters = &service->counters[slot * service->stride];
		uint64_t active = load(counters, PLANE_ACTIVE);

		census->active += active;
		census->unauthenticated += load(counters, PLANE_UNAUTHENTICATED);
		if (load(counters, PLANE_SERVING)) {
			census->serving++;
			census->of_serving += active;
		}
	}
}

int
admission_share_is_exceeded(const struct plane *plane, const struct census *census)
{
	uint64_t ours = plane->counters[PLANE_ACTIVE];

	return census->serving > 1 && ours > 1 &&
	    (ours - 1) * census->serving * 4 > census->of_serving * 5;
}

static uint64_t
grace_ends_ms(const struct connection *connection)
{
	return connection->entry->began_ms + ADMISSION_GRACE_MS;
}

uint64_t
admission_grace_ends_ms(const struct plane *plane)
{
	const struct link *list = &plane->unauthenticated;

	return list_is_empty(list) ? UINT64_MAX :
	    grace_ends_ms(OWNER_OF(list->next, struct connection, unauthenticated));
}

/* The oldest unauthenticated connection that has had its time and waits for its peer, not for us; else NULL. */
static struct connection *
longest_silent(const struct plane *plane)
{
	const struct link *list = &plane->unauthenticated;
	uint64_t now_ms = clock_now_ms();

	for (struct link *link = list->next; link != list; link = link->next) {
		struct connection *connection = OWNER_OF(link, struct connection, unauthenticated);

		if (grace_ends_ms(connection) > now_ms)
			return NULL;
		if (connection->queue == QUEUE_IDLE)
			return connection;
	}
	return NULL;
}

enum admission
admission_decide(const struct plane *plane, const struct census *census, int anyhow,
    struct connection **leaving)
{
	const struct plane_service *service = &plane->accepting.service;

	*leaving = NULL;
	if (service->limit != 0 && census->active > service->limit)
		return OVER_LIMIT;
	if (!anyhow && admission_share_is_exceeded(plane, census))
		return OVER_SHARE;
	if (computing_is_full(plane))
		return OVERLOADED;
	if (service->unauthenticated != 0 && census->unauthenticated > service->unauthenticated) {
		*leaving = longest_silent(plane);
		if (*leaving == NULL)
			return UNPROVEN;
	}
	return ADMIT;
}

/*
 * Do two addresses count as one source?  Of IPv6, a network of 64 bits is what one
 * subscriber has.  A UNIX socket is no source.
 */
static int
is_same_source(const struct connection *a, const struct connection *b)
{
	struct sockaddr_in6 a6, b6;
	size_t prefix;

	memcpy(&a6, a->entry->peer, sizeof(a6));
	memcpy(&b6, b->entry->peer, sizeof(b6));
	if (a6.sin6_family != b6.sin6_family)
		return 0;
	if (a6.sin6_family == AF_INET)
		return memcmp(a->entry->peer + offsetof(struct sockaddr_in, sin_addr),
		    b->entry->peer + offsetof(struct sockaddr_in, sin_addr),
		    sizeof(struct in_addr)) == 0;
	prefix = IN6_IS_ADDR_V4MAPPED(&a6.sin6_addr) || IN6_IS_ADDR_V4MAPPED(&b6.sin6_addr) ? 16 : 8;
	return a6.sin6_family == AF_INET6 &&
	    memcmp(&a6.sin6_addr, &b6.sin6_addr, prefix) == 0;
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

int
admission_source_is_exceeded(const struct plane *plane, const struct connection *newest)
{
	uint64_t limit = plane->accepting.service.unauthenticated_per_source;

	return limit != 0 && newest->unauthenticated.next != NULL &&
	    count_of_source(plane, newest) > limit;
}

#endif
