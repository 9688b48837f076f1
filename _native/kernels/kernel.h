#ifndef KERNELS_KERNEL_H
#define KERNELS_KERNEL_H

/*
 * What a kernel is: a named implementation of a primitive.
 *
 * A primitive (SHA-256, AES-256-CTR, group-14 exponentiation) is an ordered
 * table of kernels, the one that is expected to be the best first, the portable one last.  Every
 * kernel has a name by which tests, benchmarks and the operator can ask for
 * it.  A kernel that this build does not contain stays in the table, so that
 * the list reads the same everywhere; its available() is NULL.
 */

#include <stddef.h>

/* What the kernels of every primitive have in common; the first member of
 * each primitive's own kernel structure. */
struct kernel {
	const char *name;		/* e.g. "shani-x2" */
	int (*available)(void);		/* can this CPU run it?  NULL: not compiled in */
};

/*
 * One primitive.  Kernels are named by their index in the table.
 *
 * Which of them is fastest may depend on how many messages there are: so a kernel is selected for
 * each of a few sizes of batches, by the index of that size, and serves up to the next one.
 */
struct primitive {
	const char *name;		/* "sha256", "aes256ctr", "modexp" */
	size_t count;
	const struct kernel *(*kernel)(size_t i);
	int (*selftest)(size_t i);	/* 1: agrees with the portable kernel, 0: does not */
	const size_t *batches;		/* the sizes: from 1 up */
	size_t batch_count;
	void (*sample)(size_t i, size_t b);	/* some microseconds' work, for being timed */
	void (*select)(size_t i, size_t b);	/* use kernel i, which must be available */
	size_t (*selected)(size_t b);
};

/* The index of the size that `count` messages belong to; the sizes are constants. */
static inline __attribute__((always_inline)) size_t
batch_index(const size_t *batches, size_t batch_count, size_t count)
{
	size_t b = 0;

	for (size_t i = 1; i < batch_count; i++)
		b += count >= batches[i];
	return b;
}

#endif
