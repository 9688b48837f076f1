#ifndef KERNEL_H
#define KERNEL_H

/*
 * Named kernels, and the choice among them.
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

enum kernel_state {
	KERNEL_ABSENT,			/* not compiled in */
	KERNEL_UNAVAILABLE,		/* compiled in, but this CPU cannot run it */
	KERNEL_AVAILABLE
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

extern const struct primitive sha256_primitive;
extern const struct primitive aes256ctr_primitive;
extern const struct primitive modexp_primitive;

/*
 * The same by number, for callers that go over everything.  The order of the
 * primitives is fixed: sha256, aes256ctr, modexp.  An index out of range is
 * the caller's bug and is asserted.  The selection is process-wide and is made
 * before any other thread exists; until then the portable kernels serve.
 */
size_t primitive_count(void);
const char *primitive_name(size_t primitive);
size_t kernel_count(size_t primitive);
const char *kernel_name(size_t primitive, size_t kernel);
int kernel_state(size_t primitive, size_t kernel);	/* enum kernel_state */
int kernel_selftest(size_t primitive, size_t kernel);	/* kernel must be available */
void kernel_select(size_t primitive, size_t kernel);	/* kernel must be available */
size_t kernel_selected(size_t primitive);

#endif
