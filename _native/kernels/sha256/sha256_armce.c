/*
 * SHA-256 by ARMv8's cryptographic extensions (Arm Architecture Reference
 * Manual, SHA256H, SHA256H2, SHA256SU0, SHA256SU1).
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
	uint32x4_t w[4];		/* the next 16 words of its schedule */
};

STREAM_FUNCTION uint32x4_t
load_words(const uint8_t *p)
{
	return vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(p)));
}

/* Rounds i .. i + 3.  If there are rounds 16 later, their words take the place
 * of those used here. */
STREAM_FUNCTION void
four_rounds(struct stream *s, size_t i)
{
	uint32x4_t *w0 = &s->w[i / 4 % 4], w1 = s->w[(i / 4 + 1) % 4];
	uint32x4_t w2 = s->w[(i / 4 + 2) % 4], w3 = s->w[(i / 4 + 3) % 4];
	uint32x4_t x = vaddq_u32(*w0, vld1q_u32(sha256_k + i)), abcd = s->abcd;

	s->abcd = vsha256hq_u32(abcd, s->efgh, x);
	s->efgh = vsha256h2q_u32(s->efgh, abcd, x);
	if (i + 16 < 64)
		*w0 = vsha256su1q_u32(vsha256su0q_u32(*w0, w1), w2, w3);
}

STREAM_FUNCTION void
sixteen_rounds(struct stream *s, size_t i)
{
	four_rounds(s, i);
	four_rounds(s, i + 4);
	four_rounds(s, i + 8);
	four_rounds(s, i + 12);
}

STREAM_FUNCTION void
compress_block(struct stream *s, const uint8_t *block)
{
	const uint32x4_t abcd = s->abcd, efgh = s->efgh;

	s->w[0] = load_words(block);
	s->w[1] = load_words(block + 16);
	s->w[2] = load_words(block + 32);
	s->w[3] = load_words(block + 48);
	sixteen_rounds(s, 0);
	sixteen_rounds(s, 16);
	sixteen_rounds(s, 32);
	sixteen_rounds(s, 48);
	s->abcd = vaddq_u32(s->abcd, abcd);
	s->efgh = vaddq_u32(s->efgh, efgh);
}

static TARGET_ARMCE void
compress(uint32_t (*states)[8], const uint8_t *data, size_t stride, size_t blocks, size_t count)
{
	struct stream s;

	for (size_t i = 0; i < count; i++) {
		s.abcd = vld1q_u32(states[i]);
		s.efgh = vld1q_u32(states[i] + 4);
		for (size_t j = 0; j < blocks; j++)
			compress_block(&s, data + i * stride + j * SHA256_BLOCK);
		vst1q_u32(states[i], s.abcd);
		vst1q_u32(states[i] + 4, s.efgh);
	}
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
	.compress = compress,
};

#else

const struct sha256_kernel sha256_armce = { .kernel = { "armce", NULL } };

#endif
