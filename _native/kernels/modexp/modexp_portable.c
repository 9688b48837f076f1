/*
 * Group-14 arithmetic in portable C: columns of digits narrower than a limb
 * (modexp_columns.h), 34 of 61 bits where the compiler has 128-bit integers and
 * 74 of 28 bits elsewhere.
 */

#include "modexp_digits.h"
#include "modexp_kernel.h"
#include "modexp_tables.h"

enum { COLUMN_UNROLL = 1 };
#include "modexp_columns.h"

static int
available(void)
{
	return 1;
}

static void
multiply(struct element *r, const struct element *a, const struct element *b)
{
	columns_multiply(r->limb, a->limb, b->limb);
}

static void
square(struct element *r, const struct element *a)
{
	limb twice[COLUMNS];

	columns_square(r->limb, a->limb, twice);
}

const struct modexp_kernel modexp_portable = {
	.kernel = { .name = "portable", .available = available },
	.constants = &group14_constants_columns,
	.unpack = columns_unpack,
	.pack = columns_pack,
	.multiply = multiply,
	.square = square,
	.pick = columns_pick,
};
