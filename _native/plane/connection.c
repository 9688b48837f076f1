/*
 * The beginning and the end of a connection: taking over its socket, and giving up all that it holds.
 */
#include "connection.h"

#ifdef __linux__

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "clock.h"
#include "counters.h"
#include "secret/secret_memory.h"

/* The family of an accepted socket. */
static int
domain_of(const struct arrival *arrival)
{
	socklen_t size = sizeof(int);
	int domain = 0;

	if (arrival->peer_length >= sizeof(arrival->peer->ss_family))
		return arrival->peer->ss_family;
	getsockopt(arrival->fd, SOL_SOCKET, SO_DOMAIN, &domain, &size);
	return domain;
}

/* Keep the peer's address; that of a UNIX socket, which may be longer, identifies no one. */
static void
keep_peer(struct connection *connection, const struct arrival *arrival)
{
	struct plane_entry *entry = connection->entry;

	if (arrival->peer == NULL || arrival->peer_length > sizeof(entry->peer))
		return;
	memcpy(entry->peer, arrival->peer, arrival->peer_length);
	entry->peer_length = (uint8_t)arrival->peer_length;
}

/* Tell others of the connection, if there is a place for it. */
static void
enter(struct plane *plane, struct connection *connection, const struct arrival *arrival)
{
	struct plane_entry *entry = NULL;

	if (arrival->number != 0)
		entry = entries_take(&plane->entries);
	plane->counters[PLANE_ENTRIES] = plane->entries.fresh;
	connection->entry = entry != NULL ? entry : &connection->own;
	connection->entry->began_ms = connection->began_us / 1000;
	connection->entry->pipe = connection->pipe->settings.number;
	keep_peer(connection, arrival);
	/* last: whoever sees the number sees all of it */
	__atomic_store_n(&connection->entry->number, arrival->number, __ATOMIC_RELEASE);
}

static void
leave(struct plane *plane, struct connection *connection)
{
	if (connection->entry != &connection->own)
		entries_give_back(&plane->entries, connection->entry);
}

int
connection_new(struct plane *plane, struct plane_pipe *pipe, const struct arrival *arrival,
    struct connection **made)
{
	struct connection *connection = secret_alloc(sizeof(*connection));
	struct endpoint *endpoint;
	int error;

	if (connection == NULL)
		return ENOMEM;
	endpoint = connection->endpoint;
	connection->pipe = pipe;
	connection->id = arrival->id;
	connection->began_us = clock_now_us();
	connection->attempt_timer.kind = TIMER_ATTEMPT;
	connection->timeout.kind = TIMER_TIMEOUT;
	enter(plane, connection, arrival);
	endpoint_init(&endpoint[PLAIN], PLAIN);
	endpoint_init(&endpoint[CRYPT], CRYPT);
	flows_init(&connection->relay.flows, endpoint, connection->entry, &pipe->settings);

	/* two for each connection, one for the listening socket */
	error = timers_reserve(&plane->timers, 2 * (plane->connections + 1) + 1);
	if (error == 0)
		error = endpoint_open(&endpoint[accepted_side(connection)], plane->epoll, arrival->fd,
		    domain_of(arrival));
	if (error != 0) {
		leave(plane, connection);
		secret_free(connection, sizeof(*connection));
		return error;
	}
	connect_prepare(&connection->connector, pipe, &endpoint[target_side(connection)]);
	plane->connections++;
	connection->queue = QUEUE_IDLE;
	list_append(&plane->queue[QUEUE_IDLE], &connection->link);
	list_append(&plane->unauthenticated, &connection->unauthenticated);
	*made = connection;
	return 0;
}

void
connection_authenticate(struct plane *plane, struct connection *connection)
{
	if (connection->unauthenticated.next == NULL)
		return;
	list_remove(&connection->unauthenticated);
	connection->unauthenticated.next = NULL;
	counter_decrement(plane->counters, PLANE_UNAUTHENTICATED);
	plane->room_made |= plane->accepting.reason == PAUSE_UNPROVEN;
}

/* How far the peer has come in the handshake, which may be over. */
static enum heard
heard_of(const struct connection *connection)
{
	if (connection->handshake != NULL)
		return handshake_heard(connection->handshake);
	return connection->negotiating == PROGRESS_DONE ? HEARD_PROOF : HEARD_NOTHING;
}

void
connection_end(struct plane *plane, struct connection *connection,
    const struct failure *failure)
{
	for (int side = PLAIN; side <= CRYPT; side++) {
		/* Closing our sockets resets the connection; only here is that undone. */
		if (failure->cause == PLANE_CLEAN)
			endpoint_make_graceful(&connection->endpoint[side]);
		endpoint_close(&connection->endpoint[side]);
	}
	connection->failure = *failure;
	connection->failure.heard = heard_of(connection);
	counter_add(plane->counters, PLANE_ENDED + failure->cause, 1);
	if (connection->phase != PHASE_OPENING)
		counter_time(plane->counters, PLANE_CONNECTION_TIME,
		    clock_now_us() - connection->began_us);
	flows_release(&connection->relay.flows);
	negotiate_abandon(connection->handshake);
	connection->handshake = NULL;
	connection_authenticate(plane, connection);
	timer_clear(&plane->timers, &connection->attempt_timer);
	timer_clear(&plane->timers, &connection->timeout);
	connection->phase = PHASE_ENDED;
	connection_move(plane, connection, QUEUE_ENDED);
}

void
connection_end_opening(struct plane *plane, struct connection *connection,
    const struct failure *found)
{
	struct failure failure = *found;
	int accepted = accepted_side(connection);
	int left = failure.cause == PLANE_CLOSED || failure.error == ECONNRESET ||
	    failure.error == EPIPE;

	if (left && failure.side == side_of(accepted) &&
	    (accepted == PLAIN || heard_of(connection) == HEARD_NOTHING))
		failure.cause = PLANE_LEFT;
	connection_end(plane, connection, &failure);
}

void
connection_free(struct plane *plane, struct connection *connection)
{
	connect_release(&connection->connector);
	leave(plane, connection);
	list_remove(&connection->link);
	secret_free(connection, sizeof(*connection));
	plane->connections--;
	plane->room_made = 1;
	counter_decrement(plane->counters, PLANE_ACTIVE);
}

#endif
