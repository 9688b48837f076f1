/*
 * SHA-256 of sixteen messages at once, one in each lane of AVX-512's registers:
 * for CPUs without SHA instructions.
 */

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/target.h"
#include "sha256_constants.h"
#include "sha256_kernel.h"

#ifdef CPU_X86_64

#include <immintrin.h>

#define WORD_TARGET TARGET_AVX512
#define LANES 16

typedef uint32_t word __attribute__((vector_size(4 * LANES)));

/* Rows to columns, in each 128-bit quarter by itself. */
static inline TARGET_AVX512 void
transpose(word out[4], __m512i a, __m512i b, __m512i c, __m512i d)
{
	__m512i ab = _mm512_unpacklo_epi32(a, b), AB = _mm512_unpackhi_epi32(a, b);
	__m512i cd = _mm512_unpacklo_epi32(c, d), CD = _mm512_unpackhi_epi32(c, d);

	out[0] = (word)_mm512_unpacklo_epi64(ab, cd);
	out[1] = (word)_mm512_unpackhi_epi64(ab, cd);
	out[2] = (word)_mm512_unpacklo_epi64(AB, CD);
	out[3] = (word)_mm512_unpackhi_epi64(AB, CD);
}

static inline TARGET_AVX512 __m128i
load_quarter(const uint8_t *p)
{
	return _mm_loadu_si128((const __m128i *)p);
}

/* 16 bytes of the lanes i, i + 4, i + 8 and i + 12, so that transposing leaves all lanes in
 * order. */
static inline TARGET_AVX512 __m512i
load_row(const uint8_t *p, size_t stride)
{
	__m512i row = _mm512_castsi128_si512(load_quarter(p));

	row = _mm512_inserti32x4(row, load_quarter(p + 4 * stride), 1);
	row = _mm512_inserti32x4(row, load_quarter(p + 8 * stride), 2);
	return _mm512_inserti32x4(row, load_quarter(p + 12 * stride), 3);
}

static inline TARGET_AVX512 void
store_row(uint8_t *p, size_t stride, word row)
{
	__m512i r = (__m512i)row;

	_mm_storeu_si128((__m128i *)p, _mm512_castsi512_si128(r));
	_mm_storeu_si128((__m128i *)(p + 4 * stride), _mm512_extracti32x4_epi32(r, 1));
	_mm_storeu_si128((__m128i *)(p + 8 * stride), _mm512_extracti32x4_epi32(r, 2));
	_mm_storeu_si128((__m128i *)(p + 12 * stride), _mm512_extracti32x4_epi32(r, 3));
}

static inline TARGET_AVX512 void
load_words(word w[4], const uint8_t *p, size_t stride)
{
	transpose(w, load_row(p, stride), load_row(p + stride, stride),
	    load_row(p + 2 * stride, stride), load_row(p + 3 * stride, stride));
}

static inline TARGET_AVX512 void
store_words(const word w[4], uint8_t *p, size_t stride)
{
	word rows[4];

	transpose(rows, (__m512i)w[0], (__m512i)w[1], (__m512i)w[2], (__m512i)w[3]);
	store_row(p, stride, rows[0]);
	store_row(p + stride, stride, rows[1]);
	store_row(p + 2 * stride, stride, rows[2]);
	store_row(p + 3 * stride, stride, rows[3]);
}

static inline TARGET_AVX512 word
big_endian(word x)
{
	const __m512i order = _mm512_broadcast_i32x4(
	    _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203));

	return (word)_mm512_shuffle_epi8((__m512i)x, order);
}

#include "sha256_rounds.h"

static int
available(void)
{
	const uint32_t needed = CPU_AVX512 | CPU_AVX2;	/* AVX2 for the remainder */

	return (cpu_features() & needed) == needed;
}

const struct sha256_kernel sha256_avx512_x16 = {
	.kernel = { "avx512-x16", available },
	.lanes = LANES,
	.least = 9,			/* eight are AVX2's */
	.compress = compress,
	.remainder = &sha256_avx2_x8,
};

#else

const struct sha256_kernel sha256_avx512_x16 = { .kernel = { "avx512-x16", NULL } };

#endif
