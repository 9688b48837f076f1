#ifndef PLANE_LIFECYCLE_H
#define PLANE_LIFECYCLE_H

/*
 * The life of a connection: which step comes next, in which queue it waits for that, and why it ends.
 *
 * The steps (connect.h, negotiate.h, relay.h) return results and do not know what follows from them:
 * until both ends are there, opening.h decides that, and from then on this file.
 */

#include <stdint.h>

#include "connection.h"
#include "endpoint.h"

/* epoll has reported events of an endpoint: note them, and queue its connection to be served. */
void lifecycle_take_events(struct plane *plane, struct endpoint *endpoint, uint32_t events);

/* Serve a connection, in any phase but PHASE_ENDED. */
void lifecycle_serve(struct plane *plane, struct connection *connection);

/* Poll every connection that is draining. */
void lifecycle_poll_draining(struct plane *plane);

/* The timeout is due: end a connection that is still opening, or that has been silent for too long. */
void lifecycle_time_out(struct plane *plane, struct connection *connection);

/* End a connection although no endpoint has failed. */
void lifecycle_end(struct plane *plane, struct connection *connection, enum plane_cause cause);

/* End the connection of this number with PLANE_KILLED.  Returns 0 if there is none. */
int lifecycle_kill(struct plane *plane, uint64_t number);

/* End every connection with PLANE_ABORTED. */
void lifecycle_abort_all(struct plane *plane);

#endif
