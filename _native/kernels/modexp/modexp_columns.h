#ifndef MODEXP_COLUMNS_H
#define MODEXP_COLUMNS_H

/*
 * Montgomery's multiplication column by column (the "finely integrated product
 * scanning" of Koç, Acar and Kaliski, 1996), without a carry: the digits are so
 * much narrower than a limb that the products of a whole column add up in one
 * double-width accumulator, of which only what exceeds a digit goes on to the
 * next column.  R is 2^(COLUMN_BITS * COLUMNS).
 *
 * Everything is inlined into its caller, so that each kernel compiles it for its
 * own instruction set.  Before it includes this, the kernel says how much of a squaring is to be
 * straight-line code, in which the compiler knows the length of every sum: COLUMN_UNROLL columns.
 */

#include "modexp_kernel.h"
#include "modexp_tables.h"

#define COLUMN_INLINE static inline __attribute__((always_inline))

#define COLUMN_MASK (((limb)1 << COLUMN_BITS) - 1)

/* sum + x[0] * y[0] + x[1] * y[-1] + ... over 1, 2, 4, 8 or n terms.  Where n is in use
 * below, it depends on the column alone. */

COLUMN_INLINE wide
dot1(wide sum, const limb *x, const limb *y)
{
	return sum + (wide)x[0] * y[0];
}

COLUMN_INLINE wide
dot2(wide sum, const limb *x, const limb *y)
{
	return dot1(dot1(sum, x, y), x + 1, y - 1);
}

COLUMN_INLINE wide
dot4(wide sum, const limb *x, const limb *y)
{
	return dot2(dot2(sum, x, y), x + 2, y - 2);
}

COLUMN_INLINE wide
dot8(wide sum, const limb *x, const limb *y)
{
	return dot4(dot4(sum, x, y), x + 4, y - 4);
}

COLUMN_INLINE wide
dot(wide sum, const limb *x, const limb *y, size_t n)
{
#pragma GCC unroll COLUMN_UNROLL / 8 + 1
	for (; n >= 8; n -= 8, x += 8, y -= 8)
		sum = dot8(sum, x, y);
	if (n & 4) {
		sum = dot4(sum, x, y);
		x += 4;
		y -= 4;
	}
	if (n & 2) {
		sum = dot2(sum, x, y);
		x += 2;
		y -= 2;
	}
	return n & 1 ? dot1(sum, x, y) : sum;
}

/*
 * r = a * b / R mod p.
 *
 * In the lower half of the columns r receives the multiples q of p that cancel them; a
 * column of the upper half needs the digits above it only, so r then takes the result
 * from the bottom.
 */
COLUMN_INLINE void
columns_multiply(limb *restrict r, const limb *a, const limb *b)
{
	const limb *p1 = group14_columns;
	wide sum = 0;

	for (size_t k = 0; k < COLUMNS; k++) {
		sum = dot(sum, a, b + k, k + 1);
		sum = dot(sum, r, p1 + k, k);
		r[k] = (limb)sum & COLUMN_MASK;
		sum >>= COLUMN_BITS;
	}
	for (size_t k = 0; k < COLUMNS - 1; k++) {
		sum = dot(sum, a + k + 1, b + COLUMNS - 1, COLUMNS - 1 - k);
		sum = dot(sum, r + k + 1, p1 + COLUMNS - 1, COLUMNS - 1 - k);
		r[k] = (limb)sum & COLUMN_MASK;
		sum >>= COLUMN_BITS;
	}
	r[COLUMNS - 1] = (limb)sum;
}

/* r = a * a / R mod p: the same, with every product of two different digits taken once and
 * doubled.  twice is room for the doubled digits. */
COLUMN_INLINE void
columns_square(limb *restrict r, const limb *a, limb *restrict twice)
{
	const limb *p1 = group14_columns;
	wide sum = 0;

	for (size_t k = 0; k < COLUMNS; k++)
		twice[k] = 2 * a[k];
#pragma GCC unroll COLUMN_UNROLL
	for (size_t k = 0; k < COLUMNS; k++) {
		sum = dot(sum, twice, a + k, (k + 1) / 2);
		if (k % 2 == 0)
			sum = dot1(sum, a + k / 2, a + k / 2);
		sum = dot(sum, r, p1 + k, k);
		r[k] = (limb)sum & COLUMN_MASK;
		sum >>= COLUMN_BITS;
	}
#pragma GCC unroll COLUMN_UNROLL
	for (size_t k = COLUMNS; k < 2 * COLUMNS - 1; k++) {
		size_t low = k - (COLUMNS - 1), n = COLUMNS - low;

		sum = dot(sum, twice + low, a + COLUMNS - 1, n / 2);
		if (k % 2 == 0)
			sum = dot1(sum, a + k / 2, a + k / 2);
		sum = dot(sum, r + low, p1 + COLUMNS - 1, n);
		r[low - 1] = (limb)sum & COLUMN_MASK;
		sum >>= COLUMN_BITS;
	}
	r[COLUMNS - 1] = (limb)sum;
}

#endif
