/*
 * AES-256-CTR by the cryptographic extensions of ARMv8, eight blocks in flight.
 */

#include "aes256ctr_kernel.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/target.h"

#ifdef TARGET_ARMCE
#include <arm_neon.h>

#define TARGET TARGET_ARMCE
#define VECTORS 8

typedef uint64_t vector __attribute__((vector_size(16)));

/* The round key; there is one block in a vector. */
static inline TARGET vector
broadcast(const uint8_t round[AES256_BLOCK])
{
	return (vector)vld1q_u8(round);
}

/* The bytes of either 64-bit integer in big-endian order. */
static inline TARGET vector
swap_bytes(vector x)
{
	return (vector)vrev64q_u8((uint8x16_t)x);
}

/* AESE adds the key, then does SubBytes and ShiftRows; AESMC does MixColumns. */
static inline TARGET vector
aes_start(vector block, vector key)
{
	(void)key;
	return block;
}

static inline TARGET vector
aes_round(vector block, vector before, vector key)
{
	(void)key;
	return (vector)vaesmcq_u8(vaeseq_u8((uint8x16_t)block, (uint8x16_t)before));
}

static inline TARGET vector
aes_end(vector block, vector before, vector key)
{
	return (vector)vaeseq_u8((uint8x16_t)block, (uint8x16_t)before) ^ key;
}

#include "aes256ctr_vector.h"

static int
available(void)
{
	return (cpu_features() & CPU_ARM_AES) != 0;
}

const struct aes256ctr_kernel aes256ctr_armce = {
	.kernel = { .name = "armce", .available = available },
	.lanes = LANES,
	.streams = streams,
	.encrypt = encrypt,
};

#else

const struct aes256ctr_kernel aes256ctr_armce = { .kernel = { .name = "armce" } };

#endif
