/*
 * SHA-256 of eight messages at once, one in each lane of AVX2's registers: for
 * CPUs without SHA instructions.
 */

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/target.h"
#include "sha256_constants.h"
#include "sha256_kernel.h"

#ifdef CPU_X86_64

#include <immintrin.h>

#define WORD_TARGET TARGET_AVX2
#define LANES 8

typedef uint32_t word __attribute__((vector_size(4 * LANES)));

/* Rows to columns, in each 128-bit half by itself. */
static inline TARGET_AVX2 void
transpose(word out[4], __m256i a, __m256i b, __m256i c, __m256i d)
{
	__m256i ab = _mm256_unpacklo_epi32(a, b), AB = _mm256_unpackhi_epi32(a, b);
	__m256i cd = _mm256_unpacklo_epi32(c, d), CD = _mm256_unpackhi_epi32(c, d);

	out[0] = (word)_mm256_unpacklo_epi64(ab, cd);
	out[1] = (word)_mm256_unpackhi_epi64(ab, cd);
	out[2] = (word)_mm256_unpacklo_epi64(AB, CD);
	out[3] = (word)_mm256_unpackhi_epi64(AB, CD);
}

/* 16 bytes of lane i and of lane i + 4, so that transposing leaves all lanes in order. */
static inline TARGET_AVX2 __m256i
load_row(const uint8_t *p, size_t stride)
{
	return _mm256_inserti128_si256(
	    _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)p)),
	    _mm_loadu_si128((const __m128i *)(p + 4 * stride)), 1);
}

static inline TARGET_AVX2 void
store_row(uint8_t *p, size_t stride, word row)
{
	_mm_storeu_si128((__m128i *)p, _mm256_castsi256_si128((__m256i)row));
	_mm_storeu_si128((__m128i *)(p + 4 * stride), _mm256_extracti128_si256((__m256i)row, 1));
}

static inline TARGET_AVX2 void
load_words(word w[4], const uint8_t *p, size_t stride)
{
	transpose(w, load_row(p, stride), load_row(p + stride, stride),
	    load_row(p + 2 * stride, stride), load_row(p + 3 * stride, stride));
}

static inline TARGET_AVX2 void
store_words(const word w[4], uint8_t *p, size_t stride)
{
	word rows[4];

	transpose(rows, (__m256i)w[0], (__m256i)w[1], (__m256i)w[2], (__m256i)w[3]);
	store_row(p, stride, rows[0]);
	store_row(p + stride, stride, rows[1]);
	store_row(p + 2 * stride, stride, rows[2]);
	store_row(p + 3 * stride, stride, rows[3]);
}

static inline TARGET_AVX2 word
big_endian(word x)
{
	const __m256i order = _mm256_broadcastsi128_si256(
	    _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203));

	return (word)_mm256_shuffle_epi8((__m256i)x, order);
}

#include "sha256_rounds.h"

static int
available(void)
{
	return (cpu_features() & CPU_AVX2) != 0;
}

const struct sha256_kernel sha256_avx2_x8 = {
	.kernel = { "avx2-x8", available },
	.lanes = LANES,
	.least = 2,
	.compress = compress,
	.remainder = &sha256_portable,
};

#else

const struct sha256_kernel sha256_avx2_x8 = { .kernel = { "avx2-x8", NULL } };

#endif
