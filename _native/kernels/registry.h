#ifndef KERNELS_REGISTRY_H
#define KERNELS_REGISTRY_H

/*
 * All primitives and their kernels by number, for callers that go over everything.
 *
 * The order of the primitives is fixed: sha256, aes256ctr, modexp.  An index out of
 * range is the caller's bug and is asserted.  The selection is process-wide, is made
 * before any other thread exists, and is inherited by a fork; until then the portable kernels
 * serve.
 */

#include <stddef.h>
#include <stdint.h>

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

/* How many sizes of batches a kernel is selected for. */
size_t batch_size_count(size_t primitive);

/* How many messages are in a batch of this size, at least. */
size_t batch_size(size_t primitive, size_t batch);

/* How many nanoseconds an available kernel takes for some work in batches of this size: the least
 * of `runs` times, since whatever else the machine does can only add to one. */
uint64_t kernel_time(size_t primitive, size_t kernel, size_t batch, size_t runs);

/* Use this kernel, which is available, for batches of this size from now on. */
void kernel_select_for(size_t primitive, size_t kernel, size_t batch);

/* Use this kernel, which is available, for all batches from now on. */
void kernel_select(size_t primitive, size_t kernel);

/* The kernel in use for batches of this size. */
size_t kernel_selected_for(size_t primitive, size_t batch);

/* The kernel in use for the largest batches. */
size_t kernel_selected(size_t primitive);

#endif
