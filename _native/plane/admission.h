#ifndef PLANE_ADMISSION_H
#define PLANE_ADMISSION_H

/*
 * Admission: how many connections there may be, in all, for this plane's share, and of peers that have
 * not proved to hold the key.
 */

#include <stdint.h>

#include "counters.h"
#include "ending.h"

struct connection;
struct plane;

/* The sum of a counter over all planes that share the service. */
uint64_t admission_total(const struct plane *plane, enum plane_counter counter);

/* 1 if the plane has a quarter more connections than the planes have on average, and one, else 0. */
int admission_share_is_exceeded(const struct plane *plane);

/*
 * An unauthenticated connection has been accepted: are there too many of them now?  Returns the one
 * that has to go, and why in *cause; or NULL.
 *
 * That is the oldest, being the least likely to have the key; but the newest if it is one too many from
 * its address.
 */
struct connection *admission_excess(const struct plane *plane, struct connection *newest,
    enum plane_cause *cause);

#endif
