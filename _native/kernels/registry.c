/*
 * All primitives and their kernels by number: the table of tables.
 */
#include "registry.h"

#include <assert.h>
#include <stddef.h>

#include "kernel.h"
#include "kernels/aes256ctr/aes256ctr.h"
#include "kernels/modexp/modexp.h"
#include "kernels/sha256/sha256.h"

static const struct primitive *const primitives[] = {
	&sha256_primitive,
	&aes256ctr_primitive,
	&modexp_primitive,
};

#define PRIMITIVES (sizeof(primitives) / sizeof(primitives[0]))

static const struct primitive *
lookup(size_t primitive, size_t kernel)
{
	assert(primitive < PRIMITIVES);
	assert(kernel < primitives[primitive]->count);
	return primitives[primitive];
}

size_t
primitive_count(void)
{
	return PRIMITIVES;
}

const char *
primitive_name(size_t primitive)
{
	return lookup(primitive, 0)->name;
}

size_t
kernel_count(size_t primitive)
{
	return lookup(primitive, 0)->count;
}

const char *
kernel_name(size_t primitive, size_t kernel)
{
	return lookup(primitive, kernel)->kernel(kernel)->name;
}

int
kernel_state(size_t primitive, size_t kernel)
{
	const struct kernel *k = lookup(primitive, kernel)->kernel(kernel);

	if (k->available == NULL)
		return KERNEL_ABSENT;
	return k->available() ? KERNEL_AVAILABLE : KERNEL_UNAVAILABLE;
}

int
kernel_selftest(size_t primitive, size_t kernel)
{
	assert(kernel_state(primitive, kernel) == KERNEL_AVAILABLE);
	return lookup(primitive, kernel)->selftest(kernel);
}

void
kernel_select(size_t primitive, size_t kernel)
{
	assert(kernel_state(primitive, kernel) == KERNEL_AVAILABLE);
	lookup(primitive, kernel)->select(kernel);
}

size_t
kernel_selected(size_t primitive)
{
	return lookup(primitive, 0)->selected();
}
