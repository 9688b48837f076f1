/*
 * Group-14 arithmetic with BMI2's MULX, which leaves the flags alone and takes its
 * operands from any register: the portable kernel's columns, compiled for it.
 */

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/target.h"
#include "modexp_digits.h"
#include "modexp_kernel.h"
#include "modexp_tables.h"

/* Squarings are most of an exponentiation, and the loops a tenth of a squaring.  (Clang runs
 * out of registers over that much straight-line code.) */
#ifdef __clang__
enum { COLUMN_UNROLL = 1 };
#else
enum { COLUMN_UNROLL = COLUMNS };
#endif
#include "modexp_columns.h"

#if defined(CPU_X86_64) && defined(__SIZEOF_INT128__)

static int
available(void)
{
	return (cpu_features() & CPU_MULX) != 0;
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
