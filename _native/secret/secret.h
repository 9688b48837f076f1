#ifndef SECRET_H
#define SECRET_H

/*
 * Secrets: drawing them, comparing them, and keeping other processes from reading them.  (Erasing
 * them: wipe.h.)
 */

#include <stddef.h>
#include <stdint.h>

/* Fill a buffer of at most 256 bytes from the operating system's generator.
 * Returns 0, or the error number if there is no entropy to be had. */
int random_fill(uint8_t *buffer, size_t length);

/* 1 if the two strings are equal, 0 if not; the time depends on their length alone. */
int equal_in_constant_time(const uint8_t *a, const uint8_t *b, size_t length);

/* Keep others from reading this process's memory: no core dumps, no debugger but the superuser's. */
void forbid_dumps(void);

#endif
