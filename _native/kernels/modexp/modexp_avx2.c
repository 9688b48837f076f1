/*
 * Group-14 arithmetic with AVX2, which multiplies four pairs of 32-bit integers at once: 72 digits
 * of 29 bits with signs (modexp_rows.h), stored in 32 bits each.  An element may be
 * negative; what a multiplication leaves is between -p and p.
 */

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/target.h"
#include "modexp_kernel.h"

#ifdef CPU_X86_64
#include <string.h>

#include "modexp_rows.h"
#include "modexp_tables.h"

static int
available(void)
{
	return (cpu_features() & CPU_AVX2) != 0;
}

/* The rows of a multiplier are added one pass ahead of the multiples of p that they call for, which
 * are found during the multiples before. */
TARGET_AVX2 static void
multiply(struct element *r, const struct element *a, const struct element *b)
{
	struct spread x = { { 0 } };
	struct columns t;
	struct quotients s;

	for (size_t k = 0; k < DIGITS; k += LANES)
		store(x.d + PAD + k, widen(a->digit29 + k));
	add_rows(t.c, b->digit29, x.d + PAD, VECTORS + 1, 1);
#pragma GCC unroll 8
	for (size_t j = 0; j < ROWS; j++)
		find_quotient(&s, j, t.c);
	for (size_t i = 0; i < DIGITS - ROWS; i += ROWS) {
		add_rows(t.c + i + ROWS, b->digit29 + i + ROWS, x.d + PAD, VECTORS + 1, 0);
		add_multiples(t.c + i, &s, 0);
	}
	add_multiples(t.c + DIGITS - ROWS, &s, 1);
	store_digits(r, t.c + DIGITS);
}

/*
 * The same with a as multiplier of itself, each product of digits of different rows formed once:
 * eight digits are multiplied by themselves and by twice those above them.  So in x all digits
 * are doubled but those eight, and those below them no longer count.  They are prepared a pass
 * ahead, because what has just been stored cannot be loaded at other places at once.
 */
TARGET_AVX2 static void
square(struct element *r, const struct element *a)
{
	const __m256i zero = _mm256_setzero_si256();
	struct spread x;
	struct columns t;
	struct quotients s;

	store(x.d, zero);
	for (size_t k = 0; k < DIGITS; k += LANES) {
		__m256i v = widen(a->digit29 + k);

		store(x.d + PAD + k, k < ROWS ? v : _mm256_add_epi64(v, v));
	}
	store(x.d + PAD + DIGITS, zero);
	add_rows(t.c, a->digit29, x.d + PAD, VECTORS + 1, 1);
#pragma GCC unroll 8
	for (size_t j = 0; j < ROWS; j++)
		find_quotient(&s, j, t.c);
	for (size_t i = 0; i < DIGITS - ROWS; i += ROWS) {
		int64_t *d = x.d + PAD + i + ROWS;

		store(d - LANES, zero);
		store(d, widen(a->digit29 + i + ROWS));
		store(d + LANES, widen(a->digit29 + i + ROWS + LANES));
		if (i > 0)
			add_multiples(t.c + i - ROWS, &s, 0);
		add_rows(t.c + 2 * (i + ROWS), a->digit29 + i + ROWS, d, VECTORS - 1 - i / LANES, 0);
	}
	add_multiples(t.c + DIGITS - 2 * ROWS, &s, 0);
	add_multiples(t.c + DIGITS - ROWS, &s, 1);
	store_digits(r, t.c + DIGITS);
}

/* 16 bytes at p, and 16 at p + 7. */
TARGET_AVX2 static inline __m256i
load_pair(const uint8_t *p)
{
	return _mm256_inserti128_si256(
	    _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)p)),
	    _mm_loadu_si128((const __m128i *)(p + 7)), 1);
}

/* Eight digits are 29 bytes: the first four begin in bytes 0, 3, 7 and 10, the others in 14, 18, 21
 * and 25. */
TARGET_AVX2 static void
unpack(struct element *r, const uint64_t word[GROUP14_WORDS])
{
	const __m256i bytes0 = _mm256_broadcastsi128_si256(
	    _mm_set_epi64x(0x0a09080706050403, 0x0706050403020100));
	const __m256i bytes1 = _mm256_broadcastsi128_si256(
	    _mm_set_epi64x(0x0b0a090807060504, 0x0706050403020100));
	const __m256i bits0 = _mm256_set_epi64x(7, 2, 5, 0), bits1 = _mm256_set_epi64x(3, 6, 1, 4);
	const __m256i mask = _mm256_set1_epi64x(DIGIT_MASK);
	_Alignas(32) int64_t c[DIGITS];
	uint64_t padded[GROUP14_WORDS + 2] = { 0 };

	memcpy(padded, word, GROUP14_WORDS * sizeof(word[0]));
	for (size_t i = 0; i < DIGITS / 8; i++) {
		const uint8_t *p = (const uint8_t *)padded + DIGIT_BITS * i;
		__m256i v0 = _mm256_shuffle_epi8(load_pair(p), bytes0);
		__m256i v1 = _mm256_shuffle_epi8(load_pair(p + 14), bytes1);

		store(c + 8 * i, _mm256_and_si256(_mm256_srlv_epi64(v0, bits0), mask));
		store(c + 8 * i + 4, _mm256_and_si256(_mm256_srlv_epi64(v1, bits1), mask));
	}
	store_digits(r, c);
}

/* p is added: an element may be negative. */
static void
pack(uint64_t word[GROUP14_WORDS + 1], const struct element *a)
{
	int64_t sum = -1;

	memset(word, 0, (GROUP14_WORDS + 1) * sizeof(word[0]));
	for (size_t i = 0; i < DIGITS; i++) {
		sum += a->digit29[i] + group14_digits29[PAD + i];
		insert_digit(word, DIGIT_BITS, i, (uint64_t)(sum & DIGIT_MASK));
		sum >>= DIGIT_BITS;
	}
}

TARGET_AVX2 static void
pick(uint64_t *r, const uint64_t *table, size_t words, size_t count, uint64_t index)
{
	const __m256i wanted = _mm256_set1_epi64x((long long)index);
	const size_t vectors = words / LANES;
	__m256i t[ELEMENT_WORDS / LANES];

#pragma GCC unroll 10
	for (size_t i = 0; i < ELEMENT_WORDS / LANES; i++)
		t[i] = _mm256_setzero_si256();
	for (size_t entry = 0; entry < count; entry++, table += words) {
		__m256i chosen = _mm256_cmpeq_epi64(wanted, _mm256_set1_epi64x((long long)entry));

#pragma GCC unroll 10
		for (size_t i = 0; i < ELEMENT_WORDS / LANES; i++)
			if (i < vectors)
				t[i] = _mm256_or_si256(t[i], _mm256_and_si256(chosen,
				    _mm256_load_si256((const __m256i *)(table + LANES * i))));
	}
#pragma GCC unroll 10
	for (size_t i = 0; i < ELEMENT_WORDS / LANES; i++)
		if (i < vectors)
			_mm256_store_si256((__m256i *)(r + LANES * i), t[i]);
}

const struct modexp_kernel modexp_avx2 = {
	.kernel = { .name = "avx2", .available = available },
	.constants = &group14_constants_29,
	.unpack = unpack,
	.pack = pack,
	.multiply = multiply,
	.square = square,
	.pick = pick,
};

#else

const struct modexp_kernel modexp_avx2 = { .kernel = { .name = "avx2" } };

#endif
