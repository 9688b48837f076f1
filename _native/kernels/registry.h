#ifndef KERNELS_REGISTRY_H
#define KERNELS_REGISTRY_H

/*
 * All primitives and their kernels by number, for callers that go over everything.
 *
 * The order of the primitives is fixed: sha256, aes256ctr, modexp.  An index out of
 * range is the caller's bug and is asserted.  The selection is process-wide and is made
 * before any other thread exists; until then the portable kernels serve.
 */

#include <stddef.h>

enum kernel_state {
	KERNEL_ABSENT,			/* not compiled in */
	KERNEL_UNAVAILABLE,		/* compiled in, but this CPU cannot run it */
	KERNEL_AVAILABLE
};

/* How many primitives there are. */
size_t primitive_count(void);

/* The name of a primitive; it stays valid. */
const char *primitive_name(size_t primitive);

/* How many kernels a primitive has. */
size_t kernel_count(size_t primitive);

/* The name of a kernel; it stays valid. */
const char *kernel_name(size_t primitive, size_t kernel);

/* Can this process use it?  Returns an enum kernel_state. */
int kernel_state(size_t primitive, size_t kernel);

/* Does an available kernel agree with the portable one?  Returns 1 if so, else 0. */
int kernel_selftest(size_t primitive, size_t kernel);

/* Use this kernel, which is available, from now on. */
void kernel_select(size_t primitive, size_t kernel);

/* The kernel in use. */
size_t kernel_selected(size_t primitive);

#endif
