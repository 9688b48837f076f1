#ifndef PLANE_REPORT_H
#define PLANE_REPORT_H

/*
 * Reporting connections that have ended.
 */

#include "ending.h"

struct plane;

/* Free those that are not to be reported, because they are harmless, or too many; they have been counted. */
void report_forget(struct plane *plane);

/* Describe the connection that has waited longest to be reported, and free it.  There must be one. */
void report_take(struct plane *plane, struct plane_ending *ending);

#endif
