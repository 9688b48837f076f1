#ifndef PLANE_PLANE_H
#define PLANE_PLANE_H

/*
 * The data plane: connections from the accepted socket to their end, in one
 * epoll set, edge-triggered and registered once.
 *
 * This header, and those that it includes, are all that the rest of the program knows of it.
 *
 * Turns.  Per turn, one connection is accepted and whatever has become ready is
 * served, with a few packets each; then one of the flows that have more to move,
 * with a batch, and one exponentiation.  So neither a bulk transfer nor a burst of
 * handshakes delays a small message by more than a batch and an exponentiation,
 * and no number of small ones can starve them.
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

#include "address.h"
#include "counters.h"
#include "ending.h"
#include "entry.h"
#include "pipe.h"
#include "service.h"
#include "wanted.h"

struct plane;

/* Is there a data plane on this system?  If not, no other function that takes a plane may be called. */
int plane_supported(void);

/*
 * Make a plane.  control is a descriptor, watched but not touched, that makes
 * plane_run() return when it is readable.  counters[PLANE_COUNTERS] outlive
 * the plane, which alone writes them; so do entries[count], in which others
 * see what it carries, if there are any.  Returns NULL with errno set if the system refuses.
 */
struct plane *plane_new(int control, uint64_t *counters, struct plane_entry *entries,
    size_t count);

/* Free a plane that holds no connection. */
void plane_free(struct plane *plane);

/*
 * Serve, from now on.  Planes that share the socket take turns; one that has a quarter more
 * connections than the average, plus one, leaves the next to the others for 2 ms, and so does one
 * that has more to compute than it can in time, before it refuses any.  When there are too many
 * unauthenticated connections, the oldest of this plane goes for a new one (admission.h).  Returns 0
 * or an errno value.
 */
int plane_serve(struct plane *plane, const struct plane_service *service);

/* Change .tell_clean, .tell_left and .tell_begun. */
void plane_report(struct plane *plane, int clean, int left, int begun);

/* Accept no more; when the last connection has ended, plane_run() tells PLANE_DRAINED. */
void plane_stop_serving(struct plane *plane);

/*
 * Carry one connection from an accepted, non-blocking stream socket that resets when
 * it is closed, and take that over.  id is not 0.  Returns 0; or an errno value if the
 * system refuses, and then the socket is still the caller's.
 */
int plane_carry(struct plane *plane, uint64_t id, int accepted, struct plane_pipe *pipe);

/*
 * Go on, until the control descriptor is readable, connections have ended, or have begun if that
 * is to be told, a signal has arrived, there is something to report about accepting, or timeout_ms
 * have passed (negative: no limit; 0: one turn).  Writes those that have begun and then those that
 * have ended, at most `room` (> 0; with .tell_begun at least BEGUN_MOST), and returns their number;
 * others follow at the next call.  *wanted, a set of enum plane_wanted, says
 * what else there is for the caller to do.
 */
size_t plane_run(struct plane *plane, int64_t timeout_ms, int *wanted,
    struct plane_ending *endings, size_t room);

/* What PLANE_CANNOT_ACCEPT was about: an errno value. */
int plane_accept_error(const struct plane *plane);

/* Reset the connection of this number (> 0); plane_run() will report it.  Returns 0 if there is none. */
int plane_kill(struct plane *plane, uint64_t number);

/* Reset every connection; plane_run() will report them. */
void plane_abort_all(struct plane *plane);

/* Erase what is left of data that has moved, and give the memory back to the system until more moves. */
void plane_give_back(struct plane *plane);

#endif
