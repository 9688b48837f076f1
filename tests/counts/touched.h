#ifndef TOUCHED_H
#define TOUCHED_H

/*
 * Which cache lines of the shared counters the plane touches: it is compiled with -fsanitize=thread, which
 * tells of every access to memory, and touched.c is who is told.  Where it is not, touched_none.c is linked.
 */

#include <stddef.h>
#include <stdint.h>

/* Look at accesses to the slots, of so many bytes each, of which one is the plane's own; and to the number
 * of those in use. */
void touched_watch(const void *slots, size_t size, size_t stride, size_t own, const uint64_t *used);

/* A turn is between these two. */
void touched_begin(void);
void touched_end(void);

/* Print, as JSON, how many lines were touched, over all turns. */
void touched_print(void);

#endif
