#ifndef PLANE_H
#define PLANE_H

/*
 * The data plane: connections from the accepted socket to their end, in one
 * epoll set, edge-triggered and registered once.
 *
 * Accept (accept.c), connect to the target (connect.c), shake hands
 * (negotiate.c), relay (relay.c).  On the C side (-e) the accepted socket is the
 * plain one: connect, shake hands with whom that has reached, relay.  On the S
 * side (-d) it is the crypt one: shake hands, connect as soon as the peer has
 * proved that it holds the key, relay when both are done.
 *
 * Turns.  Per turn, one connection is accepted and whatever has become ready is
 * served; then one of the flows that had much to move last time, and one
 * exponentiation.  So neither a bulk transfer nor a burst of handshakes delays a
 * small message by more than a batch and an exponentiation, and no number of
 * small ones can starve them.
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

#include "protocol/role.h"

/* Why a connection has ended. */
enum plane_cause {
	PLANE_CLEAN,			/* both directions came to their end */
	PLANE_UNREACHED,		/* no target could be reached: .target and .error say why the last */
	PLANE_UNANSWERED,		/* .target did not answer in time */
	PLANE_PLAIN_LOST,		/* an error on the plain socket before the relay: .error */
	PLANE_NO_KEY,			/* enum handshake_status, in its words */
	PLANE_OUT_OF_RANGE,
	PLANE_NO_PFS,
	PLANE_CLOSED,			/* by the peer, during the handshake */
	PLANE_LOST,			/* an error during the handshake: .error says which */
	PLANE_TOO_SLOW,			/* the handshake took longer than it may */
	PLANE_SHED,			/* a stranger that had to make room for another */
	PLANE_TOO_MANY,			/* a stranger of whose address there are enough */
	PLANE_BAD_TAG,
	PLANE_BAD_LENGTH,
	PLANE_TRUNCATED,		/* the stream ended inside a packet */
	PLANE_SOCKET_ERROR,		/* on an established connection: .error says which */
	PLANE_IDLE,			/* nothing was carried for longer than is allowed */
	PLANE_ABORTED			/* by plane_abort_all() */
};

/* What plane_run() may return for, beside connections that have ended. */
enum plane_wanted {
	PLANE_CONTROL = 1,		/* the control descriptor is readable */
	PLANE_INTERRUPTED = 2,		/* a signal has arrived */
	PLANE_LIMIT_REACHED = 4,	/* there are as many connections as there may be */
	PLANE_CANNOT_ACCEPT = 8		/* plane_accept_error() says why */
};

/* What a plane counts, in an array that others may read. */
enum plane_counter {
	PLANE_ACTIVE,			/* connections now, until their end is reported, if it is */
	PLANE_ACCEPTED,
	PLANE_ESTABLISHED,
	PLANE_SEALED,			/* payload bytes from plain to crypt */
	PLANE_OPENED,			/* payload bytes from crypt to plain */
	PLANE_STRANGERS,		/* connections now whose peer has not proved to hold the key */
	PLANE_ENDED_CLEAN = 8		/* of those that are not reported */
};

#define PLANE_ADDRESS_MAX 112

/* A socket address, as the system has it. */
struct plane_address {
	uint32_t length;		/* 0: none */
	uint8_t bytes[PLANE_ADDRESS_MAX];
};

/* A connection that has ended.  The byte counts are of payload. */
struct plane_ending {
	uint64_t id;			/* given to plane_carry(); 0: it was accepted here */
	int role;			/* enum role, of its pipe */
	uint64_t sealed;
	uint64_t opened;
	int cause;			/* enum plane_cause */
	int error;			/* an errno value, or 0 */
	struct plane_address peer;	/* who was accepted */
	struct plane_address target;	/* of PLANE_UNREACHED and PLANE_UNANSWERED */
};

struct plane_pipe;
struct plane;

/* Is there a data plane on this system?  If not, the rest must not be called. */
int plane_supported(void);

/*
 * Write an address: family AF_INET or AF_INET6, of 4 or 16 bytes, or AF_UNIX, of
 * as many as the path has.  flow and scope are of AF_INET6.
 */
void plane_address(struct plane_address *address, int family, const uint8_t *bytes, size_t length,
    uint16_t port, uint32_t flow, uint32_t scope);

/*
 * Make a pipe: what connections have in common.  timeout_ms is how long connecting
 * may take, and a handshake, and delivering the rest of a connection that has
 * failed; idle_ms how long one may carry nothing; UINT64_MAX: for ever.  K outlives
 * the pipe.  bind may be NULL.  There is no target yet.  Returns NULL if there is no
 * memory.
 */
struct plane_pipe *plane_pipe_new(enum role role, const uint8_t K[32], int weak, int require_pfs,
    int keepalive, uint64_t timeout_ms, uint64_t idle_ms, const struct plane_address *bind);

/* Connect to these, in turn, for connections that begin from now on.  Returns 0 or an errno value. */
int plane_pipe_retarget(struct plane_pipe *pipe, const struct plane_address *targets, size_t count);

/* Free a pipe that no connection uses. */
void plane_pipe_free(struct plane_pipe *pipe);

/*
 * Make a plane.  control is a descriptor, watched but not touched, that makes
 * plane_run() return when it is readable.  counters[enum plane_counter] outlive
 * the plane; nobody else writes them.  Returns NULL with errno set if the system
 * refuses.
 */
struct plane *plane_new(int control, uint64_t *counters);

/* Free a plane that holds no connection. */
void plane_free(struct plane *plane);

/*
 * A listening socket, on which closing means a reset (SO_LINGER), and what is done with
 * those who connect to it.
 */
struct plane_service {
	int listener;
	int nudge;			/* an eventfd by which planes leave the next one to others, or -1 */
	struct plane_pipe *pipe;
	const uint64_t *counters;	/* of all planes that share it: counters[slot * stride + ...] */
	size_t stride;
	size_t slots;			/* those that are not used now are 0 */
	uint64_t workers;		/* how many share it now */
	uint64_t limit;			/* of their connections; 0: none */
	uint64_t strangers;		/* of those whose peer has not proved to hold the key; 0: none */
	uint64_t strangers_per_source;	/* of those with one address in this plane; 0: none */
	int tell_clean;			/* report also who ends in a clean way, instead of counting it */
};

/*
 * Serve, from now on.  Of all planes that share the socket one is woken for a connection,
 * in turn, and of a plane that has a quarter more than the average, and one, the next one
 * is left to the others for a moment.  When there are too many strangers, the oldest
 * of this plane has to go.  Returns 0 or an errno value.
 */
int plane_serve(struct plane *plane, const struct plane_service *service);

/* Accept no more. */
void plane_stop_serving(struct plane *plane);

/*
 * Carry one connection from an accepted, non-blocking stream socket that resets when
 * it is closed, and take that over.  Returns 0; or an errno value if the system
 * refuses, and then the socket is still the caller's.
 */
int plane_carry(struct plane *plane, uint64_t id, int accepted, struct plane_pipe *pipe);

/*
 * Go on, until the control descriptor is readable, connections have ended, a signal
 * has arrived, there is trouble with accepting, or timeout_ms have passed (negative:
 * no limit; 0: one turn).  Writes at most `room` (> 0) endings and returns their
 * number; others follow at the next call.  *wanted says what else the caller has to
 * look after.
 */
size_t plane_run(struct plane *plane, int64_t timeout_ms, int *wanted,
    struct plane_ending *endings, size_t room);

/* What PLANE_CANNOT_ACCEPT was about: an errno value. */
int plane_accept_error(const struct plane *plane);

/* Reset every connection; plane_run() will report them. */
void plane_abort_all(struct plane *plane);

#endif
