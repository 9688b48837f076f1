#ifndef AES256CTR_KERNEL_H
#define AES256CTR_KERNEL_H

/*
 * What a kernel of AES-256-CTR provides, for aes256ctr.c, and the kernels that there are.
 *
 * A kernel works on `lanes` blocks at a time and never on less.  What is left of each stream is
 * gathered over all streams by the caller, so that e.g. the 65th blocks of 16 packets fill 16
 * lanes, and so that no kernel has to care about a partial block.
 */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "aes256_key.h"
#include "bytes.h"
#include "kernels/kernel.h"

#define AES256_BLOCK 16

/* The number of blocks handed to encrypt() at once at most; every kernel's lanes divide it. */
#define AES256CTR_LANES_MAX 16

struct aes256ctr_kernel {
	struct kernel kernel;
	size_t lanes;

	/* aes256ctr_many() for whole blocks, in multiples of lanes. */
	void (*streams)(const struct aes256_key *key, uint64_t number, uint64_t block,
	    const uint8_t *in, size_t in_stride, uint8_t *out, size_t out_stride,
	    size_t blocks, size_t count);

	/* Encrypt count blocks, a multiple of lanes, each by itself and in place. */
	void (*encrypt)(const struct aes256_key *key, uint8_t (*blocks)[AES256_BLOCK], size_t count);
};

extern const struct aes256ctr_kernel aes256ctr_vaes_avx512;
extern const struct aes256ctr_kernel aes256ctr_vaes_avx2;
extern const struct aes256ctr_kernel aes256ctr_aesni;
extern const struct aes256ctr_kernel aes256ctr_armce;
extern const struct aes256ctr_kernel aes256ctr_portable;

/* The counter block be64(number) || be64(index). */
static inline void
counter_block(uint8_t block[AES256_BLOCK], uint64_t number, uint64_t index)
{
	store_be64(block, number);
	store_be64(block + 8, index);
}

/* out = in ^ keystream, one block; out may be in. */
static inline void
xor_block(uint8_t *out, const uint8_t *in, const uint8_t keystream[AES256_BLOCK])
{
	uint64_t data[2], mask[2];

	memcpy(data, in, AES256_BLOCK);
	memcpy(mask, keystream, AES256_BLOCK);
	data[0] ^= mask[0];
	data[1] ^= mask[1];
	memcpy(out, data, AES256_BLOCK);
}

#endif
