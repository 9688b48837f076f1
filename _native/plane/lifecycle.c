/*
 * The life of a connection: it opens, relays, drains if an endpoint fails, and ends.
 */
#include "lifecycle.h"

#ifdef __linux__

#include "opening.h"

/* Relaying and draining. */

static inline void
follow_relay(struct plane *plane, struct connection *connection, enum relay_result result)
{
	switch (result) {
	case RELAY_IDLE:
		connection_move(plane, connection, QUEUE_IDLE);
		break;
	case RELAY_MORE:
		connection_move(plane, connection, QUEUE_BULK);
		break;
	case RELAY_DRAINING:
	case RELAY_DRAINING_MORE:
		connection->phase = PHASE_DRAINING;
		connection->entry->state = ENTRY_DRAINING;
		timer_clear(&plane->timers, &connection->timeout);
		if (result == RELAY_DRAINING_MORE)
			connection_move(plane, connection, QUEUE_BULK);
		else if (connection->queue != QUEUE_DRAINING)
			connection_move(plane, connection, QUEUE_DRAINING);
		break;
	case RELAY_ENDED:
		connection_end(plane, connection, &connection->relay.flows.failure);
		break;
	}
}

void
lifecycle_poll_draining(struct plane *plane)
{
	const struct link *queue = &plane->queue[QUEUE_DRAINING];
	struct link *link, *next;

	for (link = queue->next; link != queue; link = next) {
		struct connection *connection = OWNER_OF(link, struct connection, link);

		next = link->next;
		follow_relay(plane, connection, relay_poll(&connection->relay));
	}
}

/* In every phase. */

void
lifecycle_take_events(struct plane *plane, struct endpoint *endpoint, uint32_t events)
{
	struct connection *connection = connection_of_endpoint(endpoint);

	endpoint_take_events(endpoint, events);
	if (connection->queue == QUEUE_IDLE)
		connection_move(plane, connection,
		    connection_is_bulky(connection) ? QUEUE_BULK : QUEUE_READY);
}

void
lifecycle_serve(struct plane *plane, struct connection *connection)
{
	if (connection->phase == PHASE_OPENING)
		opening_go_on(plane, connection);
	else
		follow_relay(plane, connection, relay_step(&connection->relay,
		    connection->queue == QUEUE_BULK ? BATCH_PACKETS : LIGHT_PACKETS, &plane->batch,
		    plane->counters));
}

void
lifecycle_time_out(struct plane *plane, struct connection *connection)
{
	uint64_t due_ms;

	if (connection->phase == PHASE_OPENING) {
		connection_end(plane, connection,
		    &(struct failure){ .cause = PLANE_TOO_SLOW, .side = PLANE_SIDE_CRYPT });
		return;
	}
	due_ms = relay_silence_due(&connection->relay);
	if (due_ms == 0)
		lifecycle_end(plane, connection, PLANE_IDLE);
	else
		timer_set(&plane->timers, &connection->timeout, due_ms);
}

void
lifecycle_end(struct plane *plane, struct connection *connection, enum plane_cause cause)
{
	connection_end(plane, connection, &(struct failure){ .cause = cause, .side = PLANE_SIDE_NONE });
}

int
lifecycle_kill(struct plane *plane, uint64_t number)
{
	for (enum queue queue = 0; queue < QUEUE_ENDED; queue++) {
		const struct link *list = &plane->queue[queue];

		for (struct link *link = list->next; link != list; link = link->next) {
			struct connection *connection = OWNER_OF(link, struct connection, link);

			if (connection->entry->number == number) {
				lifecycle_end(plane, connection, PLANE_KILLED);
				return 1;
			}
		}
	}
	return 0;
}

void
lifecycle_abort_all(struct plane *plane)
{
	for (enum queue queue = 0; queue < QUEUE_ENDED; queue++) {
		while (!list_is_empty(&plane->queue[queue]))
			lifecycle_end(plane, connection_first(plane, queue), PLANE_ABORTED);
	}
}

#endif
