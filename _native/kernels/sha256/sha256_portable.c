/*
 * SHA-256 in plain C, one message at a time.  Additions, shifts and logic only:
 * its time depends on nothing but the number of blocks.
 */

#include "bytes.h"
#include "sha256_constants.h"
#include "sha256_kernel.h"

#define WORD_TARGET
#define LANES 1

typedef uint32_t word;

static inline void
load_words(word w[4], const uint8_t *p, size_t stride)
{
	(void)stride;
	memcpy(w, p, 16);
}

static inline void
store_words(const word w[4], uint8_t *p, size_t stride)
{
	(void)stride;
	memcpy(p, w, 16);
}

static inline word
big_endian(word x)
{
	return BIG_ENDIAN_32(x);
}

#include "sha256_rounds.h"

static int
available(void)
{
	return 1;
}

const struct sha256_kernel sha256_portable = {
	.kernel = { "portable", available },
	.lanes = LANES,
	.least = 1,
	.compress = compress,
};
