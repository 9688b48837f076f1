#ifndef PLANE_LIFECYCLE_H
#define PLANE_LIFECYCLE_H

/*
 * The life of a connection: which step comes next, in which queue it waits for that, and why it ends.
 *
 * The steps (connect.h, negotiate.h, relay.h) return what has come of them; only here does that lead
 * to the next.
 */

#include <stdint.h>

#include "connection.h"
#include "endpoint.h"
#include "pipe.h"

/*
 * Begin a connection from an accepted socket, and take that over.  Returns 0 and the connection, which
 * may have ended already; or an errno value, and then the socket is still the caller's.
 */
int lifecycle_begin(struct plane *plane, struct plane_pipe *pipe, const struct arrival *arrival,
    struct connection **begun);

/* epoll has reported events of an endpoint: note them, and queue its connection to be served. */
void lifecycle_take_events(struct plane *plane, struct endpoint *endpoint, uint32_t events);

/* Serve a connection, whatever it is about. */
void lifecycle_serve(struct plane *plane, struct connection *connection);

/* Do the exponentiation for which a handshake waits, and go on. */
void lifecycle_compute(struct plane *plane, struct connection *connection);

/* Poll those that deliver the rest after a failure. */
void lifecycle_poll_draining(struct plane *plane);

/* The attempt timer has come. */
void lifecycle_attempt_due(struct plane *plane, struct connection *connection);

/* The timeout has come: has the handshake taken too long, or has nothing been carried for too long? */
void lifecycle_time_out(struct plane *plane, struct connection *connection);

/* End a connection for a reason that is no failure of an endpoint. */
void lifecycle_refuse(struct plane *plane, struct connection *connection, enum plane_cause cause);

/* End every connection with PLANE_ABORTED. */
void lifecycle_abort_all(struct plane *plane);

#endif
