/*
 * The life of a connection: it opens, relays, drains if an endpoint fails, and ends.
 *
 * Opening has two parts.  On the C side (-e) the target is the crypt endpoint: connect, then negotiate.
 * On the S side (-d) the two overlap: negotiate, and connect as soon as the peer has proved that it
 * holds the key.  When both are done, the connection is relayed.
 */
#include "lifecycle.h"

#ifdef __linux__

#include "clock.h"
#include "counters.h"

static void
fail(struct plane *plane, struct connection *connection, enum plane_cause cause, int error,
    enum plane_side side)
{
	const struct failure failure = { .cause = cause, .error = error, .side = side };

	connection_end(plane, connection, &failure);
}

/* Opening. */

static void
begin_negotiating(struct plane *plane, struct connection *connection, uint64_t now_ms)
{
	const struct plane_pipe_settings *settings = &connection->pipe->settings;
	struct failure failure;

	connection->handshake = negotiate_begin(settings, &failure);
	if (connection->handshake == NULL) {
		connection_end(plane, connection, &failure);
		return;
	}
	connection->negotiating = PROGRESS_UNDER_WAY;
	timer_set(&plane->timers, &connection->timeout, clock_after(now_ms, settings->timeout_ms));
	connection_move(plane, connection, QUEUE_READY);	/* there is a nonce to be sent */
}

/* Relay, if both parts are done. */
static void
relay_if_open(struct plane *plane, struct connection *connection, uint64_t now_ms)
{
	if (connection->connecting != PROGRESS_DONE || connection->negotiating != PROGRESS_DONE)
		return;
	connection->phase = PHASE_RELAYING;
	counter_add(plane->counters, PLANE_ESTABLISHED, 1);
	relay_begin(&connection->relay, now_ms);
	timer_set(&plane->timers, &connection->timeout,
	    clock_after(now_ms, connection->pipe->settings.idle_ms));
	connection_move(plane, connection, QUEUE_READY);
}

static void
follow_connect(struct plane *plane, struct connection *connection, enum connect_result result)
{
	struct connector *connector = &connection->connector;

	switch (result) {
	case CONNECT_SHORTAGE:		/* until other connections have ended */
		plane->shortage = connector->failure.error;
		/* fall through */
	case CONNECT_WAIT:
		timer_set(&plane->timers, &connection->attempt_timer, connector->due_ms);
		break;
	case CONNECT_FAILED:
		connection_end(plane, connection, &connector->failure);
		break;
	case CONNECT_DONE:
		timer_clear(&plane->timers, &connection->attempt_timer);
		connect_release(connector);
		connection->connecting = PROGRESS_DONE;
		if (target_side(connection) == CRYPT)
			begin_negotiating(plane, connection, clock_now_ms());
		else
			relay_if_open(plane, connection, clock_now_ms());
		break;
	}
}

static void
begin_connecting(struct plane *plane, struct connection *connection, uint64_t now_ms)
{
	connection->connecting = PROGRESS_UNDER_WAY;
	follow_connect(plane, connection, connect_begin(&connection->connector,
	    &connection->pipe->settings, plane->epoll, now_ms));
}

static void
finish_negotiating(struct plane *plane, struct connection *connection)
{
	struct flow *flow = connection->relay.flows.flow;

	negotiate_finish(connection->handshake, &flow[PLAIN].key, &flow[CRYPT].key);
	connection->handshake = NULL;
	connection->negotiating = PROGRESS_DONE;
	timer_clear(&plane->timers, &connection->timeout);
	relay_if_open(plane, connection, clock_now_ms());
}

static void
negotiate(struct plane *plane, struct connection *connection)
{
	struct failure failure;

	for (;;) {
		switch (negotiate_step(connection->handshake, &connection->endpoint[CRYPT], &failure)) {
		case NEGOTIATE_WAIT:
			return;
		case NEGOTIATE_COMPUTE:
			connection_move(plane, connection, QUEUE_COMPUTING);
			return;
		case NEGOTIATE_AUTHENTIC:
			connection_authenticate(plane, connection);
			if (connection->connecting == PROGRESS_NONE)
				begin_connecting(plane, connection, clock_now_ms());
			if (connection->phase == PHASE_ENDED)
				return;
			break;
		case NEGOTIATE_DONE:
			finish_negotiating(plane, connection);
			return;
		case NEGOTIATE_FAILED:
			connection_end_opening(plane, connection, &failure);
			return;
		}
	}
}

/* End the connection if an endpoint has failed, other than the one that is being connected.  Returns
 * whether it has. */
static int
ends_by_error(struct plane *plane, struct connection *connection)
{
	static const enum plane_cause causes[] = { [PLAIN] = PLANE_PLAIN_LOST, [CRYPT] = PLANE_LOST };

	for (int side = PLAIN; side <= CRYPT; side++) {
		int error;

		if (connection->connecting == PROGRESS_UNDER_WAY && side == target_side(connection))
			continue;
		error = endpoint_take_error(&connection->endpoint[side]);
		if (error != 0) {
			connection_end_opening(plane, connection, &(struct failure){
				.cause = causes[side], .error = error, .side = side_of(side),
			});
			return 1;
		}
	}
	return 0;
}

static void
open_further(struct plane *plane, struct connection *connection)
{
	connection_move(plane, connection, QUEUE_IDLE);
	if (connection->connecting == PROGRESS_UNDER_WAY)
		follow_connect(plane, connection, connect_step(&connection->connector,
		    &connection->pipe->settings, plane->epoll));
	if (connection->phase != PHASE_OPENING || ends_by_error(plane, connection))
		return;
	if (connection->negotiating == PROGRESS_UNDER_WAY)
		negotiate(plane, connection);
}

int
lifecycle_begin(struct plane *plane, struct plane_pipe *pipe, const struct arrival *arrival,
    struct connection **begun)
{
	int error = connection_new(plane, pipe, arrival, begun);

	if (error != 0)
		return error;
	if (pipe->settings.role == ROLE_C)
		begin_connecting(plane, *begun, (*begun)->began_ms);
	else
		begin_negotiating(plane, *begun, (*begun)->began_ms);
	return 0;
}

void
lifecycle_compute(struct plane *plane, struct connection *connection)
{
	if (ends_by_error(plane, connection))	/* before the work, not after it */
		return;
	handshake_compute(connection->handshake);
	open_further(plane, connection);
}

void
lifecycle_attempt_due(struct plane *plane, struct connection *connection)
{
	follow_connect(plane, connection, connect_time_out(&connection->connector,
	    &connection->pipe->settings, plane->epoll));
}

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
	int bulky;

	endpoint_take_events(endpoint, events);
	bulky = connection->endpoint[PLAIN].bulky || connection->endpoint[CRYPT].bulky;
	if (connection->queue == QUEUE_IDLE)
		connection_move(plane, connection, bulky ? QUEUE_BULK : QUEUE_READY);
	/* A connection that is in the bulk queue only to be asked again need not wait there. */
	else if (connection->queue == QUEUE_BULK && !bulky)
		connection_move(plane, connection, QUEUE_READY);
}

void
lifecycle_serve(struct plane *plane, struct connection *connection)
{
	if (connection->phase == PHASE_OPENING)
		open_further(plane, connection);
	else
		follow_relay(plane, connection,
		    relay_step(&connection->relay, &plane->batch, plane->counters));
}

void
lifecycle_time_out(struct plane *plane, struct connection *connection)
{
	uint64_t due_ms;

	if (connection->phase == PHASE_OPENING) {
		fail(plane, connection, PLANE_TOO_SLOW, 0, PLANE_SIDE_CRYPT);
		return;
	}
	due_ms = relay_silence_due(&connection->relay);
	if (due_ms == 0)
		fail(plane, connection, PLANE_IDLE, 0, PLANE_SIDE_NONE);
	else
		timer_set(&plane->timers, &connection->timeout, due_ms);
}

void
lifecycle_refuse(struct plane *plane, struct connection *connection, enum plane_cause cause)
{
	fail(plane, connection, cause, 0, PLANE_SIDE_NONE);
}

void
lifecycle_abort_all(struct plane *plane)
{
	for (enum queue queue = 0; queue < QUEUE_ENDED; queue++) {
		while (!list_is_empty(&plane->queue[queue]))
			lifecycle_refuse(plane, connection_first(plane, queue), PLANE_ABORTED);
	}
}

#endif
