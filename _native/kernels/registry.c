/*
 * All primitives and their kernels by number: the table of tables.
 */
#include "registry.h"

#include <assert.h>
#include <stddef.h>
#include <time.h>

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

size_t
batch_size_count(size_t primitive)
{
	return lookup(primitive, 0)->batch_count;
}

size_t
batch_size(size_t primitive, size_t batch)
{
	assert(batch < batch_size_count(primitive));
	return lookup(primitive, 0)->batches[batch];
}

static uint64_t
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

uint64_t
kernel_time(size_t primitive, size_t kernel, size_t batch, size_t runs)
{
	const struct primitive *p = lookup(primitive, kernel);
	uint64_t least = UINT64_MAX;

	assert(batch < p->batch_count);
	assert(kernel_state(primitive, kernel) == KERNEL_AVAILABLE);
	while (runs-- > 0) {
		uint64_t begin = now(), taken;

		p->sample(kernel, batch);
		taken = now() - begin;
		if (taken < least)
			least = taken;
	}
	return least;
}

void
kernel_select_for(size_t primitive, size_t kernel, size_t batch)
{
	const struct primitive *p = lookup(primitive, kernel);

	assert(batch < p->batch_count);
	assert(kernel_state(primitive, kernel) == KERNEL_AVAILABLE);
	p->select(kernel, batch);
}

void
kernel_select(size_t primitive, size_t kernel)
{
	for (size_t b = 0; b < batch_size_count(primitive); b++)
		kernel_select_for(primitive, kernel, b);
}

size_t
kernel_selected_for(size_t primitive, size_t batch)
{
	assert(batch < batch_size_count(primitive));
	return lookup(primitive, 0)->selected(batch);
}

size_t
kernel_selected(size_t primitive)
{
	return kernel_selected_for(primitive, batch_size_count(primitive) - 1);
}
