#ifndef PLANE_OPENING_H
#define PLANE_OPENING_H

/*
 * The first phase of a connection, in which the target is reached and the keys are agreed on.
 */

#include "connection.h"
#include "pipe.h"

/*
 * Begin a connection from an accepted socket, and take that over.  Returns 0 and the connection, which
 * may have ended already; or an errno value, and then the socket is still the caller's.
 */
int opening_begin(struct plane *plane, struct plane_pipe *pipe, const struct arrival *arrival,
    struct connection **begun);

/* Go on with it after events, as far as that is possible now. */
void opening_go_on(struct plane *plane, struct connection *connection);

/* Do the exponentiation for which a handshake waits, and go on. */
void opening_compute(struct plane *plane, struct connection *connection);

/* The attempt timer is due: go on with connecting. */
void opening_attempt_due(struct plane *plane, struct connection *connection);

#endif
