#ifndef SHA256_H
#define SHA256_H

/*
 * SHA-256 (FIPS 180-4).
 */

#include <stddef.h>
#include <stdint.h>

#include "bytes.h"
#include "kernels/kernel.h"
#include "sha256_constants.h"

/* digest = SHA-256(data). */
void sha256(const uint8_t *data, size_t length, uint8_t digest[SHA256_BYTES]);

/* A number of messages that every kernel takes without a remainder: batches are best cut into
 * groups of this size. */
#define SHA256_GROUP 48

/*
 * Feed `blocks` blocks of 64 bytes to each of `count` independent chaining values:
 * states[i] absorbs data[i * stride .. + 64 * blocks].
 */
void sha256_compress_many(uint32_t (*states)[8], const uint8_t *data, size_t stride,
    size_t blocks, size_t count);

/* How many bytes, one block or two, the last `tail` bytes of a message, fewer
 * than 120, make up together with the padding. */
static inline size_t
sha256_final_size(size_t tail)
{
	return tail + 1 + 8 <= SHA256_BLOCK ? SHA256_BLOCK : 2 * SHA256_BLOCK;
}

/* Pad (FIPS 180-4, 5.1.1) a message of `length` bytes, the last `tail` of which
 * have their place at the start of `final`; that is sha256_final_size(tail)
 * bytes long and otherwise zero. */
static inline void
sha256_pad(uint8_t *final, size_t tail, uint64_t length)
{
	final[tail] = 0x80;
	store_be64(final + sha256_final_size(tail) - 8, length * 8);
}

/* Its kernels, for the registry. */
extern const struct primitive sha256_primitive;

/* digest = the chaining value, in the order in which it is published. */
static inline void
sha256_digest(const uint32_t state[8], uint8_t digest[SHA256_BYTES])
{
	for (size_t i = 0; i < 8; i++)
		store_be32(digest + 4 * i, state[i]);
}

#endif
