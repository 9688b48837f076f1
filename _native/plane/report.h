#ifndef PLANE_REPORT_H
#define PLANE_REPORT_H

/*
 * Reporting connections that have begun, and that have ended.
 */

#include "ending.h"

struct plane;

/* Choose what is reported, beside failures: as in struct plane_service. */
void report_choose(struct plane *plane, int clean, int left, int begun);

/* Describe those that have begun; there is room for BEGUN_MOST.  Returns their number. */
size_t report_take_begun(struct plane *plane, struct plane_ending *begun);

/* Free those that are not to be reported, because they are harmless, or too many; they have been counted. */
void report_forget(struct plane *plane);

/* Describe the connection that has waited longest to be reported, and free it.  There must be one. */
void report_take(struct plane *plane, struct plane_ending *ending);

#endif
