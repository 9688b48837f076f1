#ifndef HMAC_SHA256_H
#define HMAC_SHA256_H

/*
 * HMAC-SHA256 (RFC 2104, FIPS 198-1), with the key's two pads hashed once.
 */

#include <stddef.h>
#include <stdint.h>

#define HMAC_SHA256_BYTES 32

/* SHA-256 chaining values after the inner and the outer padded key. */
struct hmac_sha256_key {
	uint32_t inner[8];
	uint32_t outer[8];
};

/* Expand a key of any length into *key. */
void hmac_sha256_key_init(struct hmac_sha256_key *key, const uint8_t *secret, size_t length);

/* tag = HMAC-SHA256(secret, data).  Erases what it derives from the secret. */
void hmac_sha256(const uint8_t *secret, size_t secret_length,
    const uint8_t *data, size_t length, uint8_t tag[HMAC_SHA256_BYTES]);

/*
 * Many messages of equal length under one key, each followed by its number:
 * for every i < count,
 *
 *   tags[i * tag_stride ..] = HMAC(key, messages[i * stride .. + length] || be64(number + i))
 *
 * The tags may lie in the gaps between the messages.
 */
void hmac_sha256_many(const struct hmac_sha256_key *key, uint64_t number,
    const uint8_t *messages, size_t stride, size_t length, size_t count,
    uint8_t *tags, size_t tag_stride);

#endif
