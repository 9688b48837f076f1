/*
 * Group-14 arithmetic with AVX-512 IFMA: 40 digits of 52 bits, the instructions' own
 * digit, in five registers.  R is 2^2080.  (Gueron and Krasnov, "Software implementation
 * of modular exponentiation, using advanced vector instructions architectures", 2012,
 * describe Montgomery's multiplication in vectors; p's form makes it simpler here.)
 */

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/target.h"
#include "modexp_kernel.h"
#include "modexp_tables.h"

#ifdef CPU_X86_64
#include <immintrin.h>

#define DIGIT_BITS 52
#define DIGIT_MASK (((long long)1 << DIGIT_BITS) - 1)
#define LANES 8
#define VECTORS (ELEMENT_WORDS / LANES)

#define IFMA_INLINE TARGET_IFMA static inline __attribute__((always_inline))

static int
available(void)
{
	return (cpu_features() & CPU_IFMA) != 0;
}

/* An element in registers.  While it accumulates, its digits exceed 52 bits. */
struct vectors {
	__m512i v[VECTORS];
};

IFMA_INLINE struct vectors
load(const uint64_t word[ELEMENT_WORDS])
{
	struct vectors r;

#pragma GCC unroll 5
	for (size_t i = 0; i < VECTORS; i++)
		r.v[i] = _mm512_load_si512(word + LANES * i);
	return r;
}

/* Lanes 1 to 7 of low, and lane 0 of high. */
IFMA_INLINE __m512i
down_a_lane(__m512i high, __m512i low)
{
	return _mm512_alignr_epi64(high, low, 1);
}

/* Lane 7 of low, and lanes 0 to 6 of high. */
IFMA_INLINE __m512i
up_a_lane(__m512i high, __m512i low)
{
	return _mm512_alignr_epi64(high, low, LANES - 1);
}

/*
 * The state of a multiplication between two digits of the multiplier.
 *
 * The sum t, still to be divided by 2^52; what is to be added after the division; and q,
 * whose products with p still lack their high halves: these belong one digit further up
 * than the low ones, which is where that division puts them.  So the next q waits for
 * little more than the low half of a product with this one.
 */
struct sum {
	struct vectors t, above;
	__m512i q;
};

IFMA_INLINE struct sum
sum_zero(void)
{
	const __m512i zero = _mm512_setzero_si512();
	const struct vectors none = { { zero, zero, zero, zero, zero } };

	return (struct sum){ none, none, zero };
}

/* Divide by 2^52. */
IFMA_INLINE void
sum_divide(struct sum *s, const struct vectors *p1)
{
	const __m512i zero = _mm512_setzero_si512();

#pragma GCC unroll 5
	for (size_t i = 0; i < VECTORS; i++)
		s->t.v[i] = _mm512_add_epi64(
		    down_a_lane(i + 1 < VECTORS ? s->t.v[i + 1] : zero, s->t.v[i]),
		    _mm512_madd52hi_epu64(s->above.v[i], s->q, p1->v[i]));
}

/* Divide by 2^52, and add d * x and q * p such that this can be done again.  Of x, only
 * the vectors from `first` on count. */
IFMA_INLINE void
sum_digit(struct sum *s, __m512i d, const struct vectors *x, size_t first,
    const struct vectors *p1)
{
	const __m512i zero = _mm512_setzero_si512();

#pragma GCC unroll 5
	for (size_t i = first; i < VECTORS; i++)
		s->above.v[i] = _mm512_madd52lo_epu64(s->above.v[i], d, x->v[i]);
	sum_divide(s, p1);

	/* A multiplication ignores all but the digit; what exceeds it is carried. */
	s->q = _mm512_broadcastq_epi64(_mm512_castsi512_si128(s->t.v[0]));
#pragma GCC unroll 5
	for (size_t i = 0; i < VECTORS; i++)
		s->above.v[i] = i > 0 ? zero : _mm512_maskz_srli_epi64(1, s->t.v[0], DIGIT_BITS);
#pragma GCC unroll 5
	for (size_t i = first; i < VECTORS; i++)
		s->above.v[i] = _mm512_madd52hi_epu64(s->above.v[i], d, x->v[i]);
#pragma GCC unroll 5
	for (size_t i = 0; i < VECTORS; i++)
		s->t.v[i] = _mm512_madd52lo_epu64(s->t.v[i], s->q, p1->v[i]);
}

/*
 * Store t with its digits reduced to 52 bits.
 *
 * Once every digit has passed on what exceeds it, only single carries are left: from the
 * digits that exceed 52 bits once more, through those that are all ones.  An addition of two
 * integers, with one bit for every digit, finds out where they end.
 */
IFMA_INLINE void
store(struct element *r, struct vectors t)
{
	const __m512i mask = _mm512_set1_epi64(DIGIT_MASK);
	__m512i below = _mm512_setzero_si512();
	uint64_t exceeding = 0, ones = 0, carried;

#pragma GCC unroll 5
	for (size_t i = 0; i < VECTORS; i++) {
		__m512i excess = _mm512_srli_epi64(t.v[i], DIGIT_BITS);

		t.v[i] = _mm512_add_epi64(_mm512_and_si512(t.v[i], mask),
		    up_a_lane(excess, below));
		below = excess;
		exceeding |= (uint64_t)_mm512_cmpgt_epu64_mask(t.v[i], mask) << LANES * i;
		ones |= (uint64_t)_mm512_cmpeq_epu64_mask(t.v[i], mask) << LANES * i;
	}
	carried = (2 * exceeding + ones) ^ ones;
#pragma GCC unroll 5
	for (size_t i = 0; i < VECTORS; i++) {
		__mmask8 carry = (__mmask8)(carried >> LANES * i);

		/* subtracting the mask adds 1 modulo 2^52 */
		t.v[i] = _mm512_mask_sub_epi64(t.v[i], carry, t.v[i], mask);
		_mm512_store_si512(r->word + LANES * i, _mm512_and_si512(t.v[i], mask));
	}
}

TARGET_IFMA static void
multiply(struct element *r, const struct element *a, const struct element *b)
{
	const struct vectors x = load(a->word), p1 = load(group14_digits52);
	struct sum s = sum_zero();

	for (size_t i = 0; i < ELEMENT_WORDS; i++)
		sum_digit(&s, _mm512_set1_epi64((long long)b->word[i]), &x, 0, &p1);
	sum_divide(&s, &p1);
	store(r, s.t);
}

/*
 * The digits of one vector of a are multiplied by that vector, and by twice the number
 * that is made of the vectors above it: so each product of digits of different vectors is
 * formed once.
 */
TARGET_IFMA static void
square(struct element *r, const struct element *a)
{
	const struct vectors x = load(a->word), p1 = load(group14_digits52);
	const __m512i mask = _mm512_set1_epi64(DIGIT_MASK);
	struct sum s = sum_zero();
	struct vectors twice = x;

#pragma GCC unroll 5
	for (size_t i = 1; i < VECTORS; i++) {
		__m512i carry = _mm512_srli_epi64(up_a_lane(x.v[i], x.v[i - 1]), DIGIT_BITS - 1);

		twice.v[i] = _mm512_and_si512(_mm512_or_si512(_mm512_slli_epi64(x.v[i], 1), carry),
		    mask);
	}
#pragma GCC unroll 5
	for (size_t i = 0; i < VECTORS; i++) {
		twice.v[i] = x.v[i];
		/* what the vector above was carried from here is not in the number above */
		if (i + 1 < VECTORS)
			twice.v[i + 1] = _mm512_mask_and_epi64(twice.v[i + 1], 1, twice.v[i + 1],
			    _mm512_set1_epi64(DIGIT_MASK - 1));
		for (size_t j = LANES * i; j < LANES * (i + 1); j++)
			sum_digit(&s, _mm512_set1_epi64((long long)a->word[j]), &twice, i, &p1);
	}
	sum_divide(&s, &p1);
	store(r, s.t);
}

/* Eight digits are in at most seven words: two permutations and two shifts get them all. */
TARGET_IFMA static void
unpack(struct element *r, const uint64_t word[GROUP14_WORDS])
{
	const __m512i lane_bits = _mm512_set_epi64(7 * DIGIT_BITS, 6 * DIGIT_BITS, 5 * DIGIT_BITS,
	    4 * DIGIT_BITS, 3 * DIGIT_BITS, 2 * DIGIT_BITS, DIGIT_BITS, 0);

#pragma GCC unroll 5
	for (size_t i = 0; i < VECTORS; i++) {
		size_t from = LANES * DIGIT_BITS * i / 64, left = GROUP14_WORDS - from;
		__m512i bit = _mm512_add_epi64(lane_bits,
		    _mm512_set1_epi64(LANES * DIGIT_BITS * i % 64));
		__m512i at = _mm512_srli_epi64(bit, 6);
		__m512i shift = _mm512_and_si512(bit, _mm512_set1_epi64(63));
		__m512i words = _mm512_maskz_loadu_epi64(
		    left < LANES ? (__mmask8)((1u << left) - 1) : 0xff, word + from);
		__m512i low = _mm512_srlv_epi64(_mm512_permutexvar_epi64(at, words), shift);
		__m512i high = _mm512_sllv_epi64(
		    _mm512_permutexvar_epi64(_mm512_add_epi64(at, _mm512_set1_epi64(1)), words),
		    _mm512_sub_epi64(_mm512_set1_epi64(64), shift));

		_mm512_store_si512(r->word + LANES * i, _mm512_and_si512(
		    _mm512_or_si512(low, high), _mm512_set1_epi64(DIGIT_MASK)));
	}
}

static void
pack(uint64_t word[GROUP14_WORDS + 1], const struct element *a)
{
	for (size_t i = 0; i <= GROUP14_WORDS; i++)
		word[i] = 0;
	for (size_t i = 0; i < ELEMENT_WORDS; i++)
		insert_digit(word, DIGIT_BITS, i, a->word[i]);
}

TARGET_IFMA static void
pick(uint64_t *r, const uint64_t *table, size_t words, size_t count, uint64_t index)
{
	const __m512i zero = _mm512_setzero_si512();
	const __m512i wanted = _mm512_set1_epi64((long long)index);
	struct vectors t = { { zero, zero, zero, zero, zero } };
	const size_t vectors = words / LANES;

	for (size_t entry = 0; entry < count; entry++, table += words) {
		/* An AND, not a masked load: the load must not depend on the index. */
		__m512i chosen = _mm512_maskz_set1_epi64(
		    _mm512_cmpeq_epi64_mask(wanted, _mm512_set1_epi64((long long)entry)), -1);

#pragma GCC unroll 5
		for (size_t i = 0; i < VECTORS; i++)
			if (i < vectors)
				t.v[i] = _mm512_or_si512(t.v[i], _mm512_and_si512(chosen,
				    _mm512_load_si512(table + LANES * i)));
	}
#pragma GCC unroll 5
	for (size_t i = 0; i < VECTORS; i++)
		if (i < vectors)
			_mm512_store_si512(r + LANES * i, t.v[i]);
}

const struct modexp_kernel modexp_ifma = {
	.kernel = { .name = "ifma", .available = available },
	.constants = &group14_constants_52,
	.unpack = unpack,
	.pack = pack,
	.multiply = multiply,
	.square = square,
	.pick = pick,
};

#else

const struct modexp_kernel modexp_ifma = { .kernel = { .name = "ifma" } };

#endif
