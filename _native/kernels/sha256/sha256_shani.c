/*
 * SHA-256 by x86's SHA extensions (Intel SDM vol. 2, SHA256RNDS2, SHA256MSG1,
 * SHA256MSG2).
 *
 * SHA256RNDS2 does two rounds, and the next one has to wait for its result: a
 * single message leaves the unit idle half of the time, two advanced in turn a
 * fifth of it.  A third one gains little unless it fits into the registers: these
 * instructions reach sixteen of them, but AVX-512 has another sixteen to keep
 * schedules in.  A fourth gains nothing.
 */

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/target.h"
#include "sha256_constants.h"
#include "sha256_kernel.h"

#ifdef CPU_X86_64

#include <immintrin.h>

#define STREAM_FUNCTION static inline __attribute__((always_inline)) TARGET_SHANI

/* A message on its way through the rounds.  The instructions want the eight
 * working variables divided like this, a and c in the highest word. */
struct stream {
	__m128i abef, cdgh;
	__m128i abef_before, cdgh_before;	/* at the beginning of the block */
	__m128i w[4];				/* the next 16 words of its schedule */
};

/* state[0..3], state[4..7] to abef, cdgh. */
STREAM_FUNCTION void
load_state(struct stream *s, const uint32_t state[8])
{
	__m128i abcd = _mm_loadu_si128((const __m128i *)state);
	__m128i efgh = _mm_loadu_si128((const __m128i *)(state + 4));
	__m128i cdab = _mm_shuffle_epi32(abcd, 0xb1);
	__m128i hgfe = _mm_shuffle_epi32(efgh, 0x1b);

	s->abef = _mm_alignr_epi8(cdab, hgfe, 8);
	s->cdgh = _mm_blend_epi16(hgfe, cdab, 0xf0);
}

/* The inverse of load_state(). */
STREAM_FUNCTION void
store_state(const struct stream *s, uint32_t state[8])
{
	__m128i feba = _mm_shuffle_epi32(s->abef, 0x1b);
	__m128i dchg = _mm_shuffle_epi32(s->cdgh, 0xb1);

	_mm_storeu_si128((__m128i *)state, _mm_blend_epi16(feba, dchg, 0xf0));
	_mm_storeu_si128((__m128i *)(state + 4), _mm_alignr_epi8(dchg, feba, 8));
}

STREAM_FUNCTION __m128i
load_words(const uint8_t *p)
{
	const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);

	return _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)p), big_endian);
}

STREAM_FUNCTION void
begin_block(struct stream *s, const uint8_t *block)
{
	s->abef_before = s->abef;
	s->cdgh_before = s->cdgh;
	s->w[0] = load_words(block);
	s->w[1] = load_words(block + 16);
	s->w[2] = load_words(block + 32);
	s->w[3] = load_words(block + 48);
}

STREAM_FUNCTION void
end_block(struct stream *s)
{
	s->abef = _mm_add_epi32(s->abef, s->abef_before);
	s->cdgh = _mm_add_epi32(s->cdgh, s->cdgh_before);
}

STREAM_FUNCTION void
do_rounds(struct stream *s, size_t i)
{
	__m128i x = _mm_add_epi32(s->w[i / 4 % 4], _mm_load_si128((const __m128i *)(sha256_k + i)));

	s->cdgh = _mm_sha256rnds2_epu32(s->cdgh, s->abef, x);
	s->abef = _mm_sha256rnds2_epu32(s->abef, s->cdgh, _mm_shuffle_epi32(x, 0x0e));
}

/* If there are rounds 16 later, their words take the place of those of rounds i .. i + 3. */
STREAM_FUNCTION void
advance_schedule(struct stream *s, size_t i)
{
	__m128i *w0 = &s->w[i / 4 % 4], w1 = s->w[(i / 4 + 1) % 4];
	__m128i w2 = s->w[(i / 4 + 2) % 4], w3 = s->w[(i / 4 + 3) % 4], x;

	if (i + 16 < 64) {
		x = _mm_add_epi32(_mm_sha256msg1_epu32(*w0, w1), _mm_alignr_epi8(w3, w2, 4));
		*w0 = _mm_sha256msg2_epu32(x, w3);
	}
}

/* From here on a function that takes streams, a constant, works on s[0] .. s[streams - 1].  There
 * are no loops over them, because compilers keep in registers what has a constant index early. */

/* Rounds i .. i + 3. */
STREAM_FUNCTION void
four_rounds(struct stream *s, size_t streams, size_t i)
{
	do_rounds(&s[0], i);
	if (streams > 1)
		do_rounds(&s[1], i);
	if (streams > 2)
		do_rounds(&s[2], i);
	advance_schedule(&s[0], i);
	if (streams > 1)
		advance_schedule(&s[1], i);
	if (streams > 2)
		advance_schedule(&s[2], i);
}

STREAM_FUNCTION void
sixteen_rounds(struct stream *s, size_t streams, size_t i)
{
	four_rounds(s, streams, i);
	four_rounds(s, streams, i + 4);
	four_rounds(s, streams, i + 8);
	four_rounds(s, streams, i + 12);
}

/* Absorb a block each, the first at p, the next one stride bytes behind it. */
STREAM_FUNCTION void
compress_block(struct stream *s, size_t streams, const uint8_t *p, size_t stride)
{
	begin_block(&s[0], p);
	if (streams > 1)
		begin_block(&s[1], p + stride);
	if (streams > 2)
		begin_block(&s[2], p + 2 * stride);
	sixteen_rounds(s, streams, 0);
	sixteen_rounds(s, streams, 16);
	sixteen_rounds(s, streams, 32);
	sixteen_rounds(s, streams, 48);
	end_block(&s[0]);
	if (streams > 1)
		end_block(&s[1]);
	if (streams > 2)
		end_block(&s[2]);
}

/* A kernel's compress(). */
STREAM_FUNCTION void
compress_streams(size_t streams, uint32_t (*states)[8], const uint8_t *data, size_t stride,
    size_t blocks, size_t count)
{
	struct stream s[3];

	for (; count > 0; count -= streams) {
		load_state(&s[0], states[0]);
		if (streams > 1)
			load_state(&s[1], states[1]);
		if (streams > 2)
			load_state(&s[2], states[2]);
		for (size_t i = 0; i < blocks; i++)
			compress_block(s, streams, data + SHA256_BLOCK * i, stride);
		store_state(&s[0], states[0]);
		if (streams > 1)
			store_state(&s[1], states[1]);
		if (streams > 2)
			store_state(&s[2], states[2]);
		states += streams;
		data += streams * stride;
	}
}

static TARGET_SHANI void
compress_1(uint32_t (*states)[8], const uint8_t *data, size_t stride, size_t blocks, size_t count)
{
	compress_streams(1, states, data, stride, blocks, count);
}

static TARGET_SHANI void
compress_2(uint32_t (*states)[8], const uint8_t *data, size_t stride, size_t blocks, size_t count)
{
	compress_streams(2, states, data, stride, blocks, count);
}

static TARGET_SHANI void
compress_3_sse(uint32_t (*states)[8], const uint8_t *data, size_t stride, size_t blocks,
    size_t count)
{
	compress_streams(3, states, data, stride, blocks, count);
}

static TARGET_SHANI_AVX512 void
compress_3(uint32_t (*states)[8], const uint8_t *data, size_t stride, size_t blocks, size_t count)
{
	compress_streams(3, states, data, stride, blocks, count);
}

static int
available(void)
{
	const uint32_t needed = CPU_SSSE3_SSE41 | CPU_SHANI;

	return (cpu_features() & needed) == needed;
}

static int
available_with_avx512(void)
{
	return available() && (cpu_features() & CPU_AVX512) != 0;
}

const struct sha256_kernel sha256_shani = {
	.kernel = { "shani", available },
	.lanes = 1,
	.least = 1,
	.compress = compress_1,
};

const struct sha256_kernel sha256_shani_x2 = {
	.kernel = { "shani-x2", available },
	.lanes = 2,
	.least = 2,
	.compress = compress_2,
	.remainder = &sha256_shani,
};

const struct sha256_kernel sha256_shani_x3_sse = {
	.kernel = { "shani-x3-sse", available },
	.lanes = 3,
	.least = 3,
	.compress = compress_3_sse,
	.remainder = &sha256_shani_x2,
};

const struct sha256_kernel sha256_shani_x3 = {
	.kernel = { "shani-x3", available_with_avx512 },
	.lanes = 3,
	.least = 3,
	.compress = compress_3,
	.remainder = &sha256_shani_x2,
};

#else

const struct sha256_kernel sha256_shani = { .kernel = { "shani", NULL } };
const struct sha256_kernel sha256_shani_x2 = { .kernel = { "shani-x2", NULL } };
const struct sha256_kernel sha256_shani_x3_sse = { .kernel = { "shani-x3-sse", NULL } };
const struct sha256_kernel sha256_shani_x3 = { .kernel = { "shani-x3", NULL } };

#endif
