/*
 * Opening a connection: connect and negotiate, and relay when both are done.
 *
 * On the C side (-e) the target is the crypt endpoint: connect, then negotiate.  On the S side (-d) the two
 * overlap: negotiate, and connect as soon as the peer has proved that it holds the key.
 */
#include "opening.h"

#ifdef __linux__

#include <string.h>

#include "clock.h"
#include "counters.h"

static void
begin_negotiating(struct plane *plane, struct connection *connection, uint64_t now_us)
{
	const struct plane_pipe_settings *settings = &connection->pipe->settings;
	struct failure failure;

	connection->handshake = negotiate_begin(settings, &failure);
	if (connection->handshake == NULL) {
		connection_end(plane, connection, &failure);
		return;
	}
	connection->negotiating = PROGRESS_UNDER_WAY;
	connection->handshake_began_us = now_us;
	connection->entry->state = ENTRY_HANDSHAKE;
	timer_set(&plane->timers, &connection->timeout,
	    clock_after(now_us / 1000, settings->timeout_ms));
	connection_move(plane, connection, QUEUE_READY);	/* there is a nonce to be sent */
}

/* Relay, if both parts are done. */
static void
relay_if_open(struct plane *plane, struct connection *connection, uint64_t now_us)
{
	if (connection->connecting != PROGRESS_DONE || connection->negotiating != PROGRESS_DONE)
		return;
	connection->phase = PHASE_RELAYING;
	connection->entry->state = ENTRY_RELAYING;
	counter_add(plane->counters, PLANE_ESTABLISHED, 1);
	relay_begin(&connection->relay, now_us / 1000);
	timer_set(&plane->timers, &connection->timeout,
	    clock_after(now_us / 1000, connection->pipe->settings.idle_ms));
	connection_move(plane, connection, QUEUE_READY);
}

/* Let others see which target has been reached. */
static void
tell_target(struct connection *connection)
{
	const struct plane_address *target = connect_target(&connection->connector);
	struct plane_entry *entry = connection->entry;

	if (target->length > sizeof(entry->target))
		return;			/* a UNIX socket's path, which is the pipe's own */
	memcpy(entry->target, target->bytes, target->length);
	entry->target_length = (uint8_t)target->length;
}

static void
follow_connect(struct plane *plane, struct connection *connection, enum connect_result result)
{
	struct connector *connector = &connection->connector;
	uint64_t now_us;

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
		now_us = clock_now_us();
		counter_time(plane->counters, PLANE_CONNECT_TIME, now_us - connection->connect_began_us);
		timer_clear(&plane->timers, &connection->attempt_timer);
		tell_target(connection);
		connect_release(connector);
		connection->connecting = PROGRESS_DONE;
		if (target_side(connection) == CRYPT)
			begin_negotiating(plane, connection, now_us);
		else
			relay_if_open(plane, connection, now_us);
		break;
	}
}

static void
begin_connecting(struct plane *plane, struct connection *connection, uint64_t now_us)
{
	connection->connect_began_us = now_us;
	connection->connecting = PROGRESS_UNDER_WAY;
	follow_connect(plane, connection, connect_begin(&connection->connector,
	    &connection->pipe->settings, plane->epoll, now_us / 1000));
}

static void
finish_negotiating(struct plane *plane, struct connection *connection)
{
	struct flow *flow = connection->relay.flows.flow;
	uint64_t now_us = clock_now_us();

	counter_time(plane->counters, PLANE_HANDSHAKE_TIME, now_us - connection->handshake_began_us);
	negotiate_finish(connection->handshake, &flow[PLAIN].key, &flow[CRYPT].key);
	connection->handshake = NULL;
	connection->negotiating = PROGRESS_DONE;
	timer_clear(&plane->timers, &connection->timeout);
	relay_if_open(plane, connection, now_us);
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
			connection_move(plane, connection,
			    connection->handshake->step == STEP_AGREE ? QUEUE_AGREEING :
			    QUEUE_COMMITTING);
			return;
		case NEGOTIATE_AUTHENTIC:
			connection_authenticate(plane, connection);
			if (connection->connecting == PROGRESS_NONE)
				begin_connecting(plane, connection, clock_now_us());
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

void
opening_go_on(struct plane *plane, struct connection *connection)
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
opening_begin(struct plane *plane, struct plane_pipe *pipe, const struct arrival *arrival,
    struct connection **begun)
{
	int error = connection_new(plane, pipe, arrival, begun);

	if (error != 0)
		return error;
	if (pipe->settings.role == ROLE_C)
		begin_connecting(plane, *begun, (*begun)->began_us);
	else
		begin_negotiating(plane, *begun, (*begun)->began_us);
	return 0;
}

/*
 * Has the client of a `-d` end left?  It has nothing to say between its proof and our y, so if there is an
 * end there, nobody waits for an answer.
 */
static int
has_given_up(const struct connection *connection)
{
	return connection->pipe->settings.role == ROLE_S && connection->endpoint[CRYPT].closing &&
	    connection->handshake->step == STEP_COMMIT;
}

void
opening_compute(struct plane *plane, struct connection *connection)
{
	/* before the work, not after it */
	if (ends_by_error(plane, connection))
		return;
	if (has_given_up(connection)) {
		connection_end(plane, connection, &(struct failure){
			.cause = PLANE_CLOSED, .side = PLANE_SIDE_CRYPT,
		});
		return;
	}
	handshake_compute(connection->handshake);
	opening_go_on(plane, connection);
}

void
opening_attempt_due(struct plane *plane, struct connection *connection)
{
	follow_connect(plane, connection, connect_time_out(&connection->connector,
	    &connection->pipe->settings, plane->epoll));
}

#endif
