#ifndef KERNELS_KERNEL_H
#define KERNELS_KERNEL_H

/*
 * What a kernel is: a named implementation of a primitive.
 *
 * A primitive (SHA-256, AES-256-CTR, group-14 exponentiation) is an ordered
 * table of kernels, the preferred one first, the portable one last.  Every
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

/* One primitive.  Kernels are named by their index in the table. */
struct primitive {
	const char *name;		/* "sha256", "aes256ctr", "modexp" */
	size_t count;
	const struct kernel *(*kernel)(size_t i);
	int (*selftest)(size_t i);	/* 1: agrees with the portable kernel, 0: does not */
	void (*select)(size_t i);	/* use kernel i, which must be available, from now on */
	size_t (*selected)(void);
};

#endif
