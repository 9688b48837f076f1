#ifndef PLANE_H
#define PLANE_H

/*
 * The data plane: connections from the beginning of their handshake to their
 * end, in one epoll set, edge-triggered and registered once.
 *
 * A connection begins with the crypt socket, on which the handshake runs
 * (negotiate.c).  When it is complete and the caller has added the plain socket,
 * it is relayed (relay.c): two flows, one per direction.
 *
 * Turns.  Per turn, whatever has become ready is served; then one of the flows
 * that filled a batch last time, and one exponentiation.  So neither a bulk
 * transfer nor a burst of handshakes delays a small message by more than a
 * batch and an exponentiation, and no number of small ones can starve them.
 *
 * Ends.  The end of one direction is passed on (shutdown) and the other goes
 * on; when both have ended, the sockets are closed in an orderly way.  When a
 * socket fails, or delivers a packet that is not authentic, nothing more is sent
 * to it, but what it gave before is delivered; then the other socket is reset,
 * so that no failure looks like an end.
 *
 * One thread at a time.  Nothing here knows Python.
 */

#include <stddef.h>
#include <stdint.h>

#include "handshake.h"

/* Why a connection has ended. */
enum plane_cause {
	PLANE_CLEAN,			/* both directions came to their end */
	PLANE_NO_KEY,			/* enum handshake_status, in its words */
	PLANE_OUT_OF_RANGE,
	PLANE_NO_PFS,
	PLANE_CLOSED,			/* by the peer, during the handshake */
	PLANE_LOST,			/* an error during the handshake: .error says which */
	PLANE_BAD_TAG,
	PLANE_BAD_LENGTH,
	PLANE_TRUNCATED,		/* the stream ended inside a packet */
	PLANE_SOCKET_ERROR,		/* on an established connection: .error says which */
	PLANE_ABORTED			/* by plane_abort_all() */
};

/* What has happened to a connection, as far as the caller has to know. */
enum plane_news {
	PLANE_AUTHENTIC = 1,		/* the peer has proved that it holds the key */
	PLANE_READY = 2,		/* the handshake is complete: plane_relay() may be called */
	PLANE_ENDED = 4			/* it is gone, and its sockets are closed */
};

/* What else plane_run() may return for. */
enum plane_wanted {
	PLANE_CONTROL = 1,		/* the control descriptor is readable */
	PLANE_ACCEPTABLE = 2,		/* there is a connection to be accepted */
	PLANE_INTERRUPTED = 4		/* a signal has arrived */
};

/* The byte counts are of payload. */
struct plane_event {
	uint64_t id;
	uint64_t sealed;
	uint64_t opened;
	int news;			/* a set of enum plane_news */
	int cause;			/* enum plane_cause, of PLANE_ENDED */
	int error;			/* an errno value, or 0 */
};

struct plane;
struct connection;

/* Is there a data plane on this system?  If not, the rest must not be called. */
int plane_supported(void);

/*
 * Make a plane.  control is a descriptor, watched but not touched, that makes
 * plane_run() return when it is readable.  drain_ms is how long the rest of a
 * failed connection may take to reach the side that did not fail.  The payload
 * bytes relayed are added to *sealed and *opened, which nobody else writes and
 * which outlive the plane.  Returns NULL with errno set if the system refuses.
 */
struct plane *plane_new(int control, uint64_t drain_ms, uint64_t *sealed, uint64_t *opened);

/* Free a plane that holds no connection. */
void plane_free(struct plane *plane);

/*
 * Watch a listening socket that other processes watch as well: of all that
 * wait, one is woken for a connection.  Returns 0 or an errno value.
 */
int plane_watch_listener(struct plane *plane, int listener);

/* Stop watching it. */
void plane_unwatch_listener(struct plane *plane, int listener);

/*
 * Go to the end of the queue of those that wait: the system would else wake the
 * same process for every connection for as long as it is idle.  Returns 0, or an
 * errno value, and then it is not watched any more.
 */
int plane_yield_listener(struct plane *plane, int listener);

/*
 * Begin a handshake on a connected, non-blocking stream socket that resets when
 * it is closed (SO_LINGER), and take that over.  Returns the connection, which
 * is valid until PLANE_ENDED has been reported or plane_cancel() called; or NULL
 * with errno set if the system refuses, and then the socket is still the caller's.
 */
struct connection *plane_negotiate(struct plane *plane, uint64_t id, int crypt, enum role role,
    const uint8_t K[32], int weak, int require_pfs);

/*
 * Relay between a connection that is ready and a plain socket of the same kind,
 * and take that over, also if the connection has ended since, which has not been
 * reported then.  Returns 0; or an errno value if the system refuses, and then the
 * socket is still the caller's, and the connection as it was.
 */
int plane_relay(struct plane *plane, struct connection *connection, int plain);

/* Reset a connection that is not relayed yet, and forget it. */
void plane_cancel(struct plane *plane, struct connection *connection);

/*
 * Go on, until the control descriptor is readable, there is a connection to be
 * accepted, there is news of a connection, a signal has arrived, or timeout_ms
 * have passed (negative: no limit; 0: one turn).  Writes the news of at most
 * `room` (> 0) connections to *events and returns their number; others follow at
 * the next call.  *wanted says what else the caller has to look after.
 */
size_t plane_run(struct plane *plane, int64_t timeout_ms, int *wanted,
    struct plane_event *events, size_t room);

/* Reset every connection; plane_run() will report them. */
void plane_abort_all(struct plane *plane);

#endif
