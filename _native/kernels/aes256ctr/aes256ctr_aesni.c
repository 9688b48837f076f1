/*
 * AES-256-CTR by AES-NI, eight blocks in flight.
 */

#include "aes256ctr_kernel.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/target.h"

#ifdef CPU_X86_64
#include <immintrin.h>

#define TARGET TARGET_AESNI
#define VECTORS 8

typedef uint64_t vector __attribute__((vector_size(16)));

/* The round key, for every block. */
static inline TARGET vector
broadcast(const uint8_t round[AES256_BLOCK])
{
	return (vector)_mm_loadu_si128((const __m128i *)round);
}

/* The bytes of every 64-bit integer in big-endian order. */
static inline TARGET vector
swap_bytes(vector x)
{
	const __m128i order = _mm_set_epi64x(0x08090a0b0c0d0e0f, 0x0001020304050607);

	return (vector)_mm_shuffle_epi8((__m128i)x, order);
}

static inline TARGET vector
aes_start(vector block, vector key)
{
	return block ^ key;
}

static inline TARGET vector
aes_round(vector block, vector before, vector key)
{
	(void)before;
	return (vector)_mm_aesenc_si128((__m128i)block, (__m128i)key);
}

static inline TARGET vector
aes_end(vector block, vector before, vector key)
{
	(void)before;
	return (vector)_mm_aesenclast_si128((__m128i)block, (__m128i)key);
}

#include "aes256ctr_vector.h"

static int
available(void)
{
	const uint32_t needed = CPU_AESNI | CPU_SSSE3_SSE41;

	return (cpu_features() & needed) == needed;
}

const struct aes256ctr_kernel aes256ctr_aesni = {
	.kernel = { .name = "aesni", .available = available },
	.lanes = LANES,
	.streams = streams,
	.encrypt = encrypt,
};

#else

const struct aes256ctr_kernel aes256ctr_aesni = { .kernel = { .name = "aesni" } };

#endif
