/*
 * Group-14 arithmetic with BMI2's MULX, which leaves the flags alone and takes its
 * operands from any register: the portable kernel's columns, compiled for it.
 */

#include "../cpu/cpu.h"
#include "../cpu/target.h"
#include "../wipe.h"
#include "modexp_columns.h"

#ifdef CPU_X86_64

static int
available(void)
{
	return (cpu_features() & CPU_MULX_ADX) != 0;
}

TARGET_MULX static void
multiply(struct element *r, const struct element *a, const struct element *b)
{
	columns_multiply(r->limb, a->limb, b->limb);
}

TARGET_MULX static void
square(struct element *r, const struct element *a)
{
	limb twice[COLUMNS];

	columns_square(r->limb, a->limb, twice);
	wipe(twice, sizeof(twice));
}

const struct modexp_kernel modexp_mulx = {
	.kernel = { .name = "mulx", .available = available },
	.constants = &group14_constants_columns,
	.unpack = columns_unpack,
	.pack = columns_pack,
	.multiply = multiply,
	.square = square,
	.pick = columns_pick,
};

#else

const struct modexp_kernel modexp_mulx = { .kernel = { .name = "mulx" } };

#endif
