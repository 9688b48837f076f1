/*
 * Group-14 exponentiation by the selected kernel: the choice, and its self-test.
 */
#include "modexp.h"

#include <string.h>

#include "modexp_kernel.h"
#include "modexp_power.h"

/* The one expected to be best first. */
static const struct modexp_kernel *const kernels[] = {
	&modexp_ifma,
	&modexp_avx2,
	&modexp_mulx,
	&modexp_portable,
};

#define KERNELS (sizeof(kernels) / sizeof(kernels[0]))

static size_t selected = KERNELS - 1;

void
group14_power_of_generator(const uint8_t x[GROUP14_SECRET_BYTES], uint8_t y[GROUP14_BYTES])
{
	power_of_generator_by(kernels[selected], x, y);
}

void
group14_power(const uint8_t base[GROUP14_BYTES], const uint8_t x[GROUP14_SECRET_BYTES],
    uint8_t y[GROUP14_BYTES])
{
	power_by(kernels[selected], base, x, y);
}

/* The primitive, for the registry. */

static const struct kernel *
kernel(size_t i)
{
	return &kernels[i]->kernel;
}

/* There is only one at a time. */
static const size_t batches[] = { 1 };

static void
select_kernel(size_t i, size_t b)
{
	(void)b;
	selected = i;
}

static size_t
selected_kernel(size_t b)
{
	(void)b;
	return selected;
}

static void
sample(size_t i, size_t b)
{
	(void)b;
	sample_by(kernels[i]);
}

/* Products of numbers that have all their bits set but one, or all their bits clear but a
 * few, and one power by the comb. */
static int
selftest(size_t i)
{
	uint8_t a[GROUP14_BYTES], b[GROUP14_BYTES], x[GROUP14_SECRET_BYTES];
	uint8_t y[GROUP14_BYTES], expected[GROUP14_BYTES];

	for (size_t j = 0; j < 4; j++) {
		memset(a, j % 2 ? 0xff : 0x00, sizeof(a));
		memset(b, 0xff, sizeof(b));
		a[0] = b[0] = 0x7f;
		a[GROUP14_BYTES - 1 - 61 * j] ^= (uint8_t)(1 << 2 * j);
		b[53 * j + 1] ^= (uint8_t)(1 << 2 * j);
		product_by(kernels[i], a, b, y);
		product_by(&modexp_portable, a, b, expected);
		if (memcmp(y, expected, sizeof(y)) != 0)
			return 0;
	}
	for (size_t j = 0; j < sizeof(x); j++)
		x[j] = (uint8_t)(37 * j);
	power_of_generator_by(kernels[i], x, y);
	power_of_generator_by(&modexp_portable, x, expected);
	return memcmp(y, expected, sizeof(y)) == 0;
}

const struct primitive modexp_primitive = {
	.name = "modexp",
	.count = KERNELS,
	.kernel = kernel,
	.selftest = selftest,
	.batches = batches,
	.batch_count = 1,
	.sample = sample,
	.select = select_kernel,
	.selected = selected_kernel,
};
