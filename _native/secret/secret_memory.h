#ifndef SECRET_MEMORY_H
#define SECRET_MEMORY_H

/*
 * Memory for secrets: never swapped out as far as the system allows that
 * (RLIMIT_MEMLOCK), in no core file, and erased when it is freed.  Used by one
 * thread at a time.
 */

#include <stddef.h>

/* Allocate zeroed memory, aligned for any type.  A program has few different sizes, all below
 * 8 KiB.  Returns NULL with errno set if there is none. */
void *secret_alloc(size_t size);

/* Erase and free what secret_alloc(size) has returned; NULL is fine. */
void secret_free(void *memory, size_t size);

/* Lock everything again: a child does not inherit its parent's locks. */
void secret_lock_all(void);

/* 0 if everything that was allocated could be locked, else an errno value that says why not. */
int secret_lock_error(void);

/* Erase everything that is allocated: before the process ends. */
void secret_wipe_all(void);

#endif
