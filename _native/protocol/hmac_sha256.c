/*
 * HMAC-SHA256 (RFC 2104, FIPS 198-1): H(outer pad || H(inner pad || message)).
 *
 * The two pads are hashed once per key.  A message is then read where it lies,
 * block by block; only what is left of it, its number and the padding are put
 * together in a final block.  For a packet of 1028 bytes that makes 16 + 1
 * compressions inside and one outside.
 *
 * Messages are taken in groups, each of which goes through all three steps
 * before the next one begins: wide enough for every kernel's lanes, small
 * enough to stay on the stack.
 */
#include "hmac_sha256.h"

#include <string.h>

#include "bytes.h"
#include "kernels/sha256/sha256.h"
#include "secret/wipe.h"

static size_t
smaller(size_t a, size_t b)
{
	return a < b ? a : b;
}

/*
 * hmac_sha256_many(), where only the first `number_size` bytes of be64(number + i)
 * follow the messages: 8, or 0 for messages that have no number.
 */
static inline __attribute__((always_inline)) void
authenticate(const struct hmac_sha256_key *key, uint64_t number, size_t number_size,
    const uint8_t *messages, size_t stride, size_t length, size_t count,
    uint8_t *tags, size_t tag_stride)
{
	const size_t in_place = length - length % SHA256_BLOCK;
	const size_t rest = length - in_place;
	const size_t tail = rest + number_size;
	const size_t size = sha256_final_size(tail);
	const size_t width = smaller(count, SHA256_GROUP);
	uint32_t states[SHA256_GROUP][8];
	uint8_t last[SHA256_GROUP * 2 * SHA256_BLOCK];
	uint8_t outer[SHA256_GROUP][SHA256_BLOCK];

	/* What is the same for all messages of the call. */
	memset(last, 0, width * size);
	memset(outer, 0, width * sizeof(outer[0]));
	for (size_t i = 0; i < width; i++) {
		sha256_pad(last + i * size, tail, SHA256_BLOCK + length + number_size);
		sha256_pad(outer[i], SHA256_BYTES, SHA256_BLOCK + SHA256_BYTES);
	}

	while (count > 0) {
		const size_t n = smaller(count, SHA256_GROUP);

		for (size_t i = 0; i < n; i++)
			memcpy(states[i], key->inner, sizeof(states[i]));
		sha256_compress_many(states, messages, stride, in_place / SHA256_BLOCK, n);

		for (size_t i = 0; i < n; i++) {
			uint8_t *p = last + i * size;

			if (rest > 0)
				memcpy(p, messages + i * stride + in_place, rest);
			if (number_size > 0)
				store_be64(p + rest, number + i);
		}
		sha256_compress_many(states, last, size, size / SHA256_BLOCK, n);

		for (size_t i = 0; i < n; i++) {
			sha256_digest(states[i], outer[i]);
			memcpy(states[i], key->outer, sizeof(states[i]));
		}
		sha256_compress_many(states, outer[0], sizeof(outer[0]), 1, n);

		for (size_t i = 0; i < n; i++)
			sha256_digest(states[i], tags + i * tag_stride);
		number += n;
		messages += n * stride;
		tags += n * tag_stride;
		count -= n;
	}
	wipe(states, width * sizeof(states[0]));
	wipe(last, width * size);
	wipe(outer, width * sizeof(outer[0]));
	wipe_stack();
}

void
hmac_sha256_many(const struct hmac_sha256_key *key, uint64_t number,
    const uint8_t *messages, size_t stride, size_t length, size_t count,
    uint8_t *tags, size_t tag_stride)
{
	authenticate(key, number, 8, messages, stride, length, count, tags, tag_stride);
}

void
hmac_sha256_key_init(struct hmac_sha256_key *key, const uint8_t *secret, size_t length)
{
	uint8_t pads[2][SHA256_BLOCK] = { { 0 } };
	uint32_t states[2][8];

	if (length > SHA256_BLOCK)
		sha256(secret, length, pads[0]);
	else if (length > 0)
		memcpy(pads[0], secret, length);
	for (size_t i = 0; i < SHA256_BLOCK; i++) {
		pads[1][i] = pads[0][i] ^ 0x5c;
		pads[0][i] ^= 0x36;
	}
	memcpy(states[0], sha256_initial, sizeof(states[0]));
	memcpy(states[1], sha256_initial, sizeof(states[1]));
	sha256_compress_many(states, pads[0], sizeof(pads[0]), 1, 2);
	memcpy(key->inner, states[0], sizeof(key->inner));
	memcpy(key->outer, states[1], sizeof(key->outer));
	wipe(states, sizeof(states));
	wipe(pads, sizeof(pads));
	wipe_stack();
}

void
hmac_sha256(const uint8_t *secret, size_t secret_length,
    const uint8_t *data, size_t length, uint8_t tag[HMAC_SHA256_BYTES])
{
	struct hmac_sha256_key key;

	hmac_sha256_key_init(&key, secret, secret_length);
	authenticate(&key, 0, 0, data, 0, length, 1, tag, 0);
	wipe(&key, sizeof(key));
}
