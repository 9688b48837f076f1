#ifndef PLANE_CONNECTION_H
#define PLANE_CONNECTION_H

/*
 * A connection: its two endpoints, the state of each step, and the phase that it is in.
 */

#include <stddef.h>
#include <stdint.h>

#include "connect.h"
#include "endpoint.h"
#include "entry.h"
#include "failure.h"
#include "list.h"
#include "negotiate.h"
#include "pipe.h"
#include "relay.h"
#include "state.h"
#include "timers.h"

enum phase {
	PHASE_OPENING,			/* connecting and negotiating, as far as these say */
	PHASE_RELAYING,
	PHASE_DRAINING,			/* an endpoint has failed, and the rest is being delivered */
	PHASE_ENDED			/* closed, to be reported */
};

/* How far one of the two parts of opening has come. */
enum progress {
	PROGRESS_NONE,
	PROGRESS_UNDER_WAY,
	PROGRESS_DONE
};

struct connection {
	struct link link;		/* in a queue of the plane's, */
	uint8_t queue;			/* enum queue: which */
	uint8_t phase;			/* enum phase */
	uint8_t connecting;		/* enum progress, both */
	uint8_t negotiating;
	uint8_t told;			/* its end is to be reported, not only counted */
	struct link unauthenticated;	/* linked until the peer has proved to hold the key, then NULL */
	const struct plane_pipe *pipe;
	uint64_t id;			/* as in struct plane_ending */
	uint64_t began_us;
	uint64_t connect_began_us;	/* when connecting to the target began, */
	uint64_t handshake_began_us;	/* and the handshake */
	struct failure failure;		/* why it has ended */
	struct endpoint endpoint[2];
	struct connector connector;
	struct timer attempt_timer;
	struct timer timeout;
	struct handshake *handshake;	/* while negotiating is under way, else NULL */
	struct relay relay;
	struct plane_entry *entry;	/* what others see of it */
	struct plane_entry own;		/* that, if there is no place in the table */
};

/* A socket that has been accepted, and how the connection is to be reported. */
struct arrival {
	int fd;				/* the accepted, non-blocking socket */
	uint64_t id;
	uint64_t number;
	const struct sockaddr_storage *peer;	/* NULL: unknown */
	size_t peer_length;
};

/* The side that is accepted, and the one that is connected to the target. */
static inline int
accepted_side(const struct connection *connection)
{
	return connection->pipe->settings.role == ROLE_C ? PLAIN : CRYPT;
}

static inline int
target_side(const struct connection *connection)
{
	return !accepted_side(connection);
}

/* The first connection in a queue, which is not empty. */
static inline struct connection *
connection_first(const struct plane *plane, enum queue queue)
{
	return OWNER_OF(plane->queue[queue].next, struct connection, link);
}

/* The last connection in a queue, which is not empty. */
static inline struct connection *
connection_last(const struct plane *plane, enum queue queue)
{
	return OWNER_OF(plane->queue[queue].previous, struct connection, link);
}

/* The connection that an endpoint belongs to. */
static inline struct connection *
connection_of_endpoint(struct endpoint *endpoint)
{
	return OWNER_OF(endpoint - endpoint->side, struct connection, endpoint);
}

/* Put a connection at the end of another queue, or of the same. */
static inline void
connection_move(struct plane *plane, struct connection *connection, enum queue queue)
{
	list_remove(&connection->link);
	list_append(&plane->queue[queue], &connection->link);
	plane->computing.waiting += (size_t)(queue == QUEUE_COMMITTING);
	plane->computing.waiting -= (size_t)(connection->queue == QUEUE_COMMITTING);
	connection->queue = (uint8_t)queue;
}

/* 1 if the last read of either endpoint gave much, else 0. */
static inline int
connection_is_bulky(const struct connection *connection)
{
	return connection->endpoint[PLAIN].bulky || connection->endpoint[CRYPT].bulky;
}

/*
 * Make a connection from an accepted socket, and take that over.  It has been counted as active and as
 * unauthenticated, and is that, and idle; .began_us is now.  Returns 0; or an errno value, and then the
 * socket is still the caller's.
 */
int connection_new(struct plane *plane, struct plane_pipe *pipe, const struct arrival *arrival,
    struct connection **made);

/* The connection is no longer unauthenticated: the peer has proved to hold the key, or it ends. */
void connection_authenticate(struct plane *plane, struct connection *connection);

/* Close the sockets, erase the secrets, and queue the connection to be reported: PHASE_ENDED. */
void connection_end(struct plane *plane, struct connection *connection,
    const struct failure *failure);

/*
 * The same for one that could not be opened.  Whoever connects and leaves without a byte has only looked
 * whether somebody listens, and so may whoever resets what we have not begun to read: PLANE_LEFT.
 */
void connection_end_opening(struct plane *plane, struct connection *connection,
    const struct failure *found);

/* Free a connection that has ended. */
void connection_free(struct plane *plane, struct connection *connection);

#endif
