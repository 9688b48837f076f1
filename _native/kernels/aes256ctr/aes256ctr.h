#ifndef AES256CTR_H
#define AES256CTR_H

/*
 * AES-256 in counter mode (FIPS 197, SP 800-38A), many streams at once.
 */

#include <stddef.h>
#include <stdint.h>

/* The 15 round keys, as FIPS 197 lists their bytes; every kernel uses this form. */
struct aes256_key {
	uint8_t round[15][16];
};

/* Expand a 32-byte key. */
void aes256_key_init(struct aes256_key *key, const uint8_t secret[32]);

/*
 * For every i < count, encrypt (or decrypt: it is the same) the `length` bytes
 * at in[i * in_stride ..] to out[i * out_stride ..], with the counter blocks
 * be64(number + i) || be64(block), be64(number + i) || be64(block + 1), ...
 *
 * in and out may be the same buffer with the same stride; otherwise they do
 * not overlap.  An in_stride of 0 encrypts the same bytes for every i.
 */
void aes256ctr_many(const struct aes256_key *key, uint64_t number, uint64_t block,
    const uint8_t *in, size_t in_stride, uint8_t *out, size_t out_stride,
    size_t length, size_t count);

#endif
