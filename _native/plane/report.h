#ifndef PLANE_REPORT_H
#define PLANE_REPORT_H

/*
 * Connections that have ended, on their way to whoever wants to know.
 */

#include "ending.h"

struct plane;

/* Count and free those of whose end nobody wants to hear: accepted here, and ended in a clean way. */
void report_count_clean(struct plane *plane);

/* Describe the connection that has waited to be reported for longest, of which there must be one, and
 * free it. */
void report_take(struct plane *plane, struct plane_ending *ending);

#endif
