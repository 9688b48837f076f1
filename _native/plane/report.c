/*
 * Reporting connections that have begun, and that have ended: described for the caller, or forgotten.
 */
#include "report.h"

#ifdef __linux__

#include <string.h>

#include "clock.h"
#include "connection.h"
#include "counters.h"

void
report_choose(struct plane *plane, int clean, int left, int begun)
{
	struct plane_service *service = &plane->accepting.service;

	service->tell_clean = clean;
	service->tell_left = left;
	service->tell_begun = begun;
}

size_t
report_take_begun(struct plane *plane, struct plane_ending *begun)
{
	size_t count = plane->begun_count;

	memcpy(begun, plane->begun, count * sizeof(*begun));
	plane->begun_count = 0;
	return count;
}

/* May one more failure be reported? */
static int
has_budget(struct plane *plane)
{
	const struct plane_service *service = &plane->accepting.service;
	struct budget *budget = &plane->budget;
	uint64_t now_ms, earned;

	if (service->tell_interval_ms == 0)
		return 1;
	now_ms = clock_now_ms();
	earned = (now_ms - budget->at_ms) / service->tell_interval_ms;
	budget->at_ms += earned * service->tell_interval_ms;
	budget->left = earned < service->tell_burst - budget->left ? budget->left + earned :
	    service->tell_burst;
	if (budget->left == 0)
		return 0;
	budget->left--;
	return 1;
}

/* Is the end of this connection to be reported?  To be asked once. */
static int
is_to_be_told(struct plane *plane, const struct connection *connection)
{
	const struct plane_service *service = &plane->accepting.service;

	if (connection->id != 0)
		return 1;
	if (connection->failure.cause == PLANE_CLEAN || connection->failure.cause == PLANE_ABORTED)
		return service->tell_clean;
	if (connection->failure.cause == PLANE_LEFT)
		return service->tell_left;
	return has_budget(plane);
}

void
report_forget(struct plane *plane)
{
	const struct link *queue = &plane->queue[QUEUE_ENDED];
	struct link *link, *next;

	for (link = queue->next; link != queue; link = next) {
		struct connection *connection = OWNER_OF(link, struct connection, link);

		next = link->next;
		connection->told = connection->told || is_to_be_told(plane, connection);
		if (!connection->told)
			connection_free(plane, connection);
	}
}

void
report_take(struct plane *plane, struct plane_ending *ending)
{
	struct connection *connection = connection_first(plane, QUEUE_ENDED);
	const struct failure *failure = &connection->failure;
	const struct plane_address *target = NULL;

	if (failure->cause == PLANE_UNREACHED || failure->cause == PLANE_UNANSWERED)
		target = connect_target(&connection->connector);
	ending->id = connection->id;
	ending->number = connection->entry->number;
	ending->role = connection->pipe->settings.role;
	ending->sealed = connection->entry->sealed;
	ending->opened = connection->entry->opened;
	ending->duration_ms = (clock_now_us() - connection->began_us) / 1000;
	ending->cause = failure->cause;
	ending->error = failure->error;
	ending->side = failure->side;
	ending->heard = failure->heard;
	ending->peer.length = connection->entry->peer_length;
	memcpy(ending->peer.bytes, connection->entry->peer, connection->entry->peer_length);
	ending->target.length = 0;
	if (target != NULL)
		ending->target = *target;
	connection_free(plane, connection);
}

#endif
