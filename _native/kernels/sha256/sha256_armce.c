/*
 * SHA-256 by ARMv8's cryptographic extensions (Arm Architecture Reference
 * Manual, SHA256H, SHA256H2, SHA256SU0, SHA256SU1).
 *
 * Four rounds have to wait for the four before them, and the unit idles meanwhile: so two or three
 * messages are advanced in turn.  Three of them, with what they were at the beginning of a block,
 * fit into the 32 registers.
 */

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/target.h"
#include "sha256_constants.h"
#include "sha256_kernel.h"

#ifdef TARGET_ARMCE

#include <arm_neon.h>

#define STREAM_FUNCTION static inline __attribute__((always_inline)) TARGET_ARMCE

/* A message on its way through the rounds. */
struct stream {
	uint32x4_t abcd, efgh;
	uint32x4_t abcd_before, efgh_before;	/* at the beginning of the block */
	uint32x4_t w[4];		/* the next 16 words of its schedule */
};

STREAM_FUNCTION uint32x4_t
load_words(const uint8_t *p)
{
	return vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(p)));
}

STREAM_FUNCTION void
begin_block(struct stream *s, const uint8_t *block)
{
	s->abcd_before = s->abcd;
	s->efgh_before = s->efgh;
	s->w[0] = load_words(block);
	s->w[1] = load_words(block + 16);
	s->w[2] = load_words(block + 32);
	s->w[3] = load_words(block + 48);
}

STREAM_FUNCTION void
end_block(struct stream *s)
{
	s->abcd = vaddq_u32(s->abcd, s->abcd_before);
	s->efgh = vaddq_u32(s->efgh, s->efgh_before);
}

/* Rounds i .. i + 3, k being their constants.  If there are rounds 16 later, their words take the
 * place of those used here. */
STREAM_FUNCTION void
do_rounds(struct stream *s, size_t i, uint32x4_t k)
{
	uint32x4_t *w0 = &s->w[i / 4 % 4], w1 = s->w[(i / 4 + 1) % 4];
	uint32x4_t w2 = s->w[(i / 4 + 2) % 4], w3 = s->w[(i / 4 + 3) % 4];
	uint32x4_t x = vaddq_u32(*w0, k), abcd = s->abcd;

	s->abcd = vsha256hq_u32(abcd, s->efgh, x);
	s->efgh = vsha256h2q_u32(s->efgh, abcd, x);
	if (i + 16 < 64)
		*w0 = vsha256su1q_u32(vsha256su0q_u32(*w0, w1), w2, w3);
}

/* From here on a function that takes streams, a constant, works on s[0] .. s[streams - 1].  There
 * are no loops over them, because compilers keep in registers what has a constant index early. */

STREAM_FUNCTION void
four_rounds(struct stream *s, size_t streams, size_t i)
{
	const uint32x4_t k = vld1q_u32(sha256_k + i);

	do_rounds(&s[0], i, k);
	if (streams > 1)
		do_rounds(&s[1], i, k);
	if (streams > 2)
		do_rounds(&s[2], i, k);
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

STREAM_FUNCTION void
load_state(struct stream *s, const uint32_t state[8])
{
	s->abcd = vld1q_u32(state);
	s->efgh = vld1q_u32(state + 4);
}

STREAM_FUNCTION void
store_state(const struct stream *s, uint32_t state[8])
{
	vst1q_u32(state, s->abcd);
	vst1q_u32(state + 4, s->efgh);
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

static TARGET_ARMCE void
compress_1(uint32_t (*states)[8], const uint8_t *data, size_t stride, size_t blocks, size_t count)
{
	compress_streams(1, states, data, stride, blocks, count);
}

static TARGET_ARMCE void
compress_2(uint32_t (*states)[8], const uint8_t *data, size_t stride, size_t blocks, size_t count)
{
	compress_streams(2, states, data, stride, blocks, count);
}

static TARGET_ARMCE void
compress_3(uint32_t (*states)[8], const uint8_t *data, size_t stride, size_t blocks, size_t count)
{
	compress_streams(3, states, data, stride, blocks, count);
}

static int
available(void)
{
	return (cpu_features() & CPU_ARM_SHA2) != 0;
}

const struct sha256_kernel sha256_armce = {
	.kernel = { "armce", available },
	.lanes = 1,
	.least = 1,
	.compress = compress_1,
};

const struct sha256_kernel sha256_armce_x2 = {
	.kernel = { "armce-x2", available },
	.lanes = 2,
	.least = 2,
	.compress = compress_2,
	.remainder = &sha256_armce,
};

const struct sha256_kernel sha256_armce_x3 = {
	.kernel = { "armce-x3", available },
	.lanes = 3,
	.least = 3,
	.compress = compress_3,
	.remainder = &sha256_armce_x2,
};

#else

const struct sha256_kernel sha256_armce = { .kernel = { "armce", NULL } };
const struct sha256_kernel sha256_armce_x2 = { .kernel = { "armce-x2", NULL } };
const struct sha256_kernel sha256_armce_x3 = { .kernel = { "armce-x3", NULL } };

#endif
