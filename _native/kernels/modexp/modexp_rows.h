#ifndef MODEXP_ROWS_H
#define MODEXP_ROWS_H

/*
 * Montgomery's multiplication eight rows at a time, with AVX2: what multiplication and squaring are
 * made of.
 *
 * Digits have 29 bits and a sign, so that the 144 products of a column add up in 64 bits, and
 * nothing is carried before the end.  A vector holds four columns.  Eight digits of a
 * multiplier are kept in registers while a factor, or p, passes by: in a step, one vector of it is
 * loaded at four places, each of which meets with two of the digits.  Multiplications and
 * additions fill all pipes then; what else there is to do, finding the next multiples of p, is put
 * between the steps, because a processor does not look ahead as far as a whole pass.
 *
 * Compilers are kept from improving this by empty statements in assembly: they would load
 * everything twice, and move loads out of the loops until they have to keep them on the stack.
 *
 * R is 2^2088.  (Gueron and Krasnov, "Software implementation of modular exponentiation, using
 * advanced vector instructions architectures", 2012, have this radix, without signs.)
 */

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/cpu/target.h"
#include "modexp_kernel.h"
#include "modexp_tables.h"

#define DIGIT_BITS 29
#define DIGIT_MASK (((int64_t)1 << DIGIT_BITS) - 1)
#define HALF ((int64_t)1 << (DIGIT_BITS - 1))
#define RADIX ((int64_t)1 << DIGIT_BITS)
#define DIGITS DIGITS29
#define PAD DIGITS29_PAD
#define LANES 4
#define VECTORS (DIGITS / LANES)
#define ROWS 8				/* digits of a multiplier that are taken at a time */

#define AVX2_INLINE TARGET_AVX2 static inline __attribute__((always_inline))

/* The columns of a product; the products of their digits are added up here. */
struct columns {
	_Alignas(32) int64_t c[2 * DIGITS];
};

/* A factor whose digits lie in 64 bits each, with zeros on either side. */
struct spread {
	_Alignas(32) int64_t d[DIGITS + 2 * PAD];
};

/* ROWS digits of a multiplier, each in all lanes. */
struct rows {
	__m256i m[ROWS];
};

AVX2_INLINE __m256i
load(const int64_t *p)
{
	return _mm256_load_si256((const __m256i *)p);
}

AVX2_INLINE void
store(int64_t *p, __m256i v)
{
	_mm256_store_si256((__m256i *)p, v);
}

/* Four digits, in 64 bits each. */
AVX2_INLINE __m256i
widen(const int32_t *digit)
{
	return _mm256_cvtepi32_epi64(_mm_load_si128((const __m128i *)digit));
}

AVX2_INLINE struct rows
load_rows(const int32_t *digit)
{
	struct rows r;

#pragma GCC unroll 8
	for (size_t i = 0; i < ROWS; i++)
		r.m[i] = _mm256_set1_epi32(digit[i]);
	return r;
}

/* sum + four rows' products for the columns that begin where x does. */
AVX2_INLINE __m256i
add_products(__m256i sum, const __m256i m[4], const int64_t *x)
{
#pragma GCC unroll 4
	for (size_t i = 0; i < 4; i++)
		sum = _mm256_add_epi64(sum, _mm256_mul_epi32(m[i],
		    _mm256_loadu_si256((const __m256i *)(x - i))));
	return sum;
}

/*
 * Add eight rows' products with vector k of x to the columns there, whose sum comes in `sum`, and
 * to `next`, the sum of the columns above, where the upper four rows meet with this vector.
 * Returns the latter.
 */
AVX2_INLINE __m256i
add_vector(int64_t *c, __m256i sum, __m256i next, const struct rows *rows, const int64_t *x,
    size_t k)
{
#pragma GCC unroll 4
	for (size_t i = 0; i < 4; i++) {
		__m256i v = _mm256_loadu_si256((const __m256i *)(x + LANES * k - i));

		__asm__("" : "+x"(v));
		sum = _mm256_add_epi64(sum, _mm256_mul_epi32(rows->m[i], v));
		next = _mm256_add_epi64(next, _mm256_mul_epi32(rows->m[i + 4], v));
	}
	store(c + LANES * k, sum);
	__asm__ volatile("" : "+x"(next) : : "memory");
	return next;
}

/* The multiples of p that make eight columns divisible by R's share in them. */
struct quotients {
	int64_t q[ROWS], carry;		/* what is carried to the column above */
	int32_t digit[ROWS];		/* the same in memory */
};

/* Find the multiple for column j, given those for the columns below it. */
AVX2_INLINE void
find_quotient(struct quotients *s, size_t j, const int64_t *c)
{
	const int64_t *p1 = group14_digits29 + PAD;
	int64_t sum = c[j];

	/* the two lowest digits of p + 1 are 0 */
	sum += j >= 7 ? s->q[j - 7] * p1[7] : 0;
	sum += j >= 6 ? s->q[j - 6] * p1[6] : 0;
	sum += j >= 5 ? s->q[j - 5] * p1[5] : 0;
	sum += j >= 4 ? s->q[j - 4] * p1[4] : 0;
	sum += j >= 3 ? s->q[j - 3] * p1[3] : 0;
	sum += j >= 2 ? s->q[j - 2] * p1[2] : 0;
	sum += j >= 1 ? s->carry : 0;
	s->carry = (sum + HALF) >> DIGIT_BITS;
	s->q[j] = sum - s->carry * RADIX;
	s->digit[j] = (int32_t)s->q[j];
}

/* Store the columns' number, digits reduced to little more than half of the radix. */
AVX2_INLINE void
store_digits(struct element *r, const int64_t *c)
{
	/* Whatever is shifted is made positive before. */
	const __m256i mask = _mm256_set1_epi64x(DIGIT_MASK);
	const __m256i bias1 = _mm256_set1_epi64x((int64_t)(((uint64_t)1 << 63) + HALF));
	const __m256i bias2 = _mm256_set1_epi64x(((int64_t)1 << 40) - ((int64_t)1 << 34));
	const __m256i bias3 = _mm256_set1_epi64x(HALF + (1 << 11));
	__m256i below1 = _mm256_set1_epi64x((int64_t)1 << 34);
	__m256i below2 = _mm256_set1_epi64x(1 << 11);
	__m256i v[2];

#pragma GCC unroll 2
	for (size_t k = 0; k < VECTORS; k++) {
		__m256i sum, excess;

		sum = _mm256_add_epi64(load(c + LANES * k), bias1);
		excess = _mm256_permute4x64_epi64(_mm256_srli_epi64(sum, DIGIT_BITS), 0x93);
		sum = _mm256_add_epi64(_mm256_and_si256(sum, mask),
		    _mm256_add_epi64(_mm256_blend_epi32(excess, below1, 3), bias2));
		below1 = excess;
		excess = _mm256_permute4x64_epi64(_mm256_srli_epi64(sum, DIGIT_BITS), 0x93);
		sum = _mm256_add_epi64(_mm256_and_si256(sum, mask),
		    _mm256_sub_epi64(_mm256_blend_epi32(excess, below2, 3), bias3));
		below2 = excess;
		v[k % 2] = sum;
		if (k % 2 == 1) {
			__m256i both = (__m256i)_mm256_shuffle_ps((__m256)v[0], (__m256)v[1], 0x88);

			_mm256_store_si256((__m256i *)(r->digit29 + LANES * (k - 1)),
			    _mm256_permute4x64_epi64(both, 0xd8));
		}
	}
}

/* Add the products of eight digits with `count` vectors of x to the columns.  Of these, the two
 * topmost vectors, or all if this comes first, have nothing yet. */
AVX2_INLINE void
add_rows(int64_t *c, const int32_t *digit, const int64_t *x, size_t count, int first)
{
	const __m256i zero = _mm256_setzero_si256();
	struct rows rows = load_rows(digit);
	__m256i sum = first ? zero : load(c);

	for (size_t k = 0; k < count - 2; k++)
		sum = add_vector(c, sum, first ? zero : load(c + LANES * (k + 1)), &rows, x, k);
	sum = add_vector(c, sum, zero, &rows, x, count - 2);
	sum = add_vector(c, sum, zero, &rows, x, count - 1);
	store(c + LANES * count, sum);
}

/*
 * Add the multiples s of p to the columns, from which the lowest eight then drop out.  Meanwhile,
 * unless this comes last, the multiples for the next eight are found, one after every second step.
 */
AVX2_INLINE void
add_multiples(int64_t *c, struct quotients *s, int last)
{
	const int64_t *p1 = group14_digits29 + PAD;
	struct rows rows = load_rows(s->digit);
	__m256i sum = _mm256_add_epi64(load(c + ROWS),
	    _mm256_zextsi128_si256(_mm_cvtsi64_si128(s->carry)));

	__asm__("" : "+r"(p1));
	sum = add_products(sum, rows.m + 4, p1 + LANES);
	for (size_t k = 2; k < 4; k++)
		sum = add_vector(c, sum, load(c + LANES * (k + 1)), &rows, p1, k);
#pragma GCC unroll 15
	for (size_t k = 4; k < VECTORS + 1; k++) {
		sum = add_vector(c, sum, load(c + LANES * (k + 1)), &rows, p1, k);
		if (!last && k % 2 == 0)
			find_quotient(s, k / 2 - 2, c + ROWS);
	}
	store(c + LANES * (VECTORS + 1), sum);
}

#endif
