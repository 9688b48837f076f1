#ifndef AES256CTR_H
#define AES256CTR_H

/*
 * AES-256 in counter mode (FIPS 197, SP 800-38A), many streams at once.
 */

#include <stddef.h>
#include <stdint.h>

#include "aes256_key.h"
#include "kernels/kernel.h"

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

/* Its kernels, for the registry. */
extern const struct primitive aes256ctr_primitive;

#endif
