/*
 * AES-256-CTR by VAES on 256-bit vectors, sixteen blocks in flight.
 */

#include "aes256ctr_kernel.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/target.h"

#ifdef CPU_X86_64
#include <immintrin.h>

#define TARGET TARGET_VAES_AVX2
#define VECTORS 8

typedef uint64_t vector __attribute__((vector_size(32)));

/* The round key, for every block. */
static inline TARGET vector
broadcast(const uint8_t round[AES256_BLOCK])
{
	return (vector)_mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)round));
}

/* The bytes of every 64-bit integer in big-endian order. */
static inline TARGET vector
swap_bytes(vector x)
{
	const __m128i order = _mm_set_epi64x(0x08090a0b0c0d0e0f, 0x0001020304050607);

	return (vector)_mm256_shuffle_epi8((__m256i)x, _mm256_broadcastsi128_si256(order));
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
	return (vector)_mm256_aesenc_epi128((__m256i)block, (__m256i)key);
}

static inline TARGET vector
aes_end(vector block, vector before, vector key)
{
	(void)before;
	return (vector)_mm256_aesenclast_epi128((__m256i)block, (__m256i)key);
}

#include "aes256ctr_vector.h"

static int
available(void)
{
	const uint32_t needed = CPU_VAES | CPU_AVX2 | CPU_AESNI;

	return (cpu_features() & needed) == needed;
}

const struct aes256ctr_kernel aes256ctr_vaes_avx2 = {
	.kernel = { .name = "vaes-avx2", .available = available },
	.lanes = LANES,
	.streams = streams,
	.encrypt = encrypt,
};

#else

const struct aes256ctr_kernel aes256ctr_vaes_avx2 = { .kernel = { .name = "vaes-avx2" } };

#endif
