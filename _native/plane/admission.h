#ifndef PLANE_ADMISSION_H
#define PLANE_ADMISSION_H

/*
 * Admission: the limits of how many connections there may be, in all, in this plane, and of peers that
 * have not proved to hold the key.
 */

#include <stdint.h>

#include "counters.h"
#include "ending.h"

struct connection;
struct plane;

/* The sum of a counter over all planes that share the service. */
uint64_t admission_total(const struct plane *plane, enum plane_counter counter);

/* 1 if the plane has a quarter more connections than the average plane, plus one; else 0. */
int admission_share_is_exceeded(const struct plane *plane);

/*
 * An unauthenticated connection has been accepted: if there are too many of them now, returns the one
 * to be ended, and its cause in *cause; else NULL.
 *
 * That is the newest if there are too many from its address; else the oldest, because its peer is the
 * least likely to hold the key.
 */
struct connection *admission_excess(const struct plane *plane, struct connection *newest,
    enum plane_cause *cause);

#endif
