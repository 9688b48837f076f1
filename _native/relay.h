#ifndef RELAY_H
#define RELAY_H

/*
 * The data plane: established connections, relayed until they end.
 *
 * A connection is two sockets, plain and crypt, and two flows, one per
 * direction.  A flow goes: receive a batch, seal or open all its packets, send
 * the result; it does not receive again before everything has been sent.  Both
 * sockets are in one epoll set, edge-triggered and registered once.
 *
 * Turns.  Flows that have little to move are served first, whenever they become
 * ready; those that filled a batch wait in a queue of their own, one of which is
 * served per turn.  So a bulk transfer delays a small message by a batch at the
 * most, and cannot be starved by any number of small ones.
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

enum relay_cause {
	RELAY_CLEAN,			/* both directions came to their end */
	RELAY_BAD_TAG,
	RELAY_BAD_LENGTH,
	RELAY_TRUNCATED,		/* the stream ended inside a packet */
	RELAY_SOCKET_ERROR,		/* relay_ended.error says which */
	RELAY_ABORTED			/* by relay_abort_all() */
};

/* A connection that has ended.  The byte counts are of payload. */
struct relay_ended {
	uint64_t id;
	uint64_t sealed;
	uint64_t opened;
	int cause;			/* enum relay_cause */
	int error;			/* an errno value, or 0 */
};

struct relay_set;

/* Is there a data plane on this system?  If not, the rest must not be called. */
int relay_supported(void);

/*
 * Make a set.  control is a descriptor, watched but not touched, that makes
 * relay_run() return when it is readable.  drain_ms is how long the rest of a
 * failed connection may take to reach the side that did not fail.  The payload
 * bytes relayed are added to *sealed and *opened, which nobody else writes and
 * which outlive the set.  Returns NULL with errno set if the system refuses.
 */
struct relay_set *relay_set_new(int control, uint64_t drain_ms, uint64_t *sealed, uint64_t *opened);

/* Free a set that holds no connection. */
void relay_set_free(struct relay_set *set);

/*
 * Watch a listening socket that other processes watch as well: of all that
 * wait, one is woken for a connection.  Returns 0 or an errno value.
 */
int relay_watch_listener(struct relay_set *set, int listener);

/* Stop watching it. */
void relay_unwatch_listener(struct relay_set *set, int listener);

/*
 * Go to the end of the queue of those that wait: the system would else wake the
 * same process for every connection for as long as it is idle.
 */
void relay_yield_listener(struct relay_set *set, int listener);

/*
 * Take over a connection: two non-blocking stream sockets, on which SO_LINGER
 * is set so that closing them resets, and the keys of the direction that is
 * sealed and of the one that is opened, which are copied.  Returns 0; or an
 * errno value if there is no memory for it, and then the sockets are still the
 * caller's.
 */
int relay_adopt(struct relay_set *set, uint64_t id, int plain, int crypt,
    const uint8_t E_seal[32], const uint8_t H_seal[32],
    const uint8_t E_open[32], const uint8_t H_open[32]);

/*
 * Relay, until the control descriptor is readable, there is a connection to be
 * accepted (then *acceptable is set to 1, else to 0), a connection has ended, a
 * signal has arrived, or timeout_ms have passed (negative: no limit; 0: one
 * turn).  Writes at most `room` (> 0) ended connections to *ended and returns
 * their number; others follow at the next call.  Their sockets are closed.
 */
size_t relay_run(struct relay_set *set, int64_t timeout_ms, int *acceptable,
    struct relay_ended *ended, size_t room);

/* Reset every connection; relay_run() will report them. */
void relay_abort_all(struct relay_set *set);

#endif
