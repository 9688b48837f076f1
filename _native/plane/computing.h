#ifndef PLANE_COMPUTING_H
#define PLANE_COMPUTING_H

/*
 * The exponentiations that handshakes wait for: whose is next, and how many can be done in time.
 *
 * Work that comes to nothing is what an overloaded plane must not do.  So the second exponentiation of a
 * handshake goes before the first of another, a plane takes on no more than it can compute in half of the
 * time that a handshake has, and if it turns out to be slower than that, those come first who have waited
 * least, because the others will not be there any more when it is their turn.
 */

#include <stdint.h>

/* So many may wait for their first exponentiation, however slow it seems to be. */
#define COMPUTING_ALWAYS 16

struct connection;
struct plane;

/* Is there something to compute? */
int computing_is_due(const struct plane *plane);

/* The connection whose exponentiation is next.  computing_is_due() holds. */
struct connection *computing_next(const struct plane *plane);

/* An exponentiation is done: note how long it is since the one before, if others waited meanwhile. */
void computing_note(struct plane *plane);

/* 1 if a connection that came now would wait for too long, else 0. */
int computing_is_full(const struct plane *plane);

#endif
