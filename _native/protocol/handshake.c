/*
 * The handshake.  In the order of its steps; sources: DESIGN.md, "Protocol".
 */
#include "handshake.h"

#include <assert.h>
#include <string.h>

#include "bytes.h"
#include "hmac_sha256.h"
#include "secret/secret.h"
#include "secret/wipe.h"

/* The transition table: the steps of each role in their order. */
static const enum step order[2][5] = {
	[ROLE_C] = { STEP_NONCE, STEP_COMMIT, STEP_PEER, STEP_AGREE, STEP_DONE },
	[ROLE_S] = { STEP_NONCE, STEP_PEER, STEP_COMMIT, STEP_AGREE, STEP_DONE },
};

/* p of RFC 3526's group 14, big-endian. */
static const uint8_t modulus[GROUP14_BYTES] = {
	0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xc9, 0x0f, 0xda, 0xa2,
	0x21, 0x68, 0xc2, 0x34, 0xc4, 0xc6, 0x62, 0x8b, 0x80, 0xdc, 0x1c, 0xd1,
	0x29, 0x02, 0x4e, 0x08, 0x8a, 0x67, 0xcc, 0x74, 0x02, 0x0b, 0xbe, 0xa6,
	0x3b, 0x13, 0x9b, 0x22, 0x51, 0x4a, 0x08, 0x79, 0x8e, 0x34, 0x04, 0xdd,
	0xef, 0x95, 0x19, 0xb3, 0xcd, 0x3a, 0x43, 0x1b, 0x30, 0x2b, 0x0a, 0x6d,
	0xf2, 0x5f, 0x14, 0x37, 0x4f, 0xe1, 0x35, 0x6d, 0x6d, 0x51, 0xc2, 0x45,
	0xe4, 0x85, 0xb5, 0x76, 0x62, 0x5e, 0x7e, 0xc6, 0xf4, 0x4c, 0x42, 0xe9,
	0xa6, 0x37, 0xed, 0x6b, 0x0b, 0xff, 0x5c, 0xb6, 0xf4, 0x06, 0xb7, 0xed,
	0xee, 0x38, 0x6b, 0xfb, 0x5a, 0x89, 0x9f, 0xa5, 0xae, 0x9f, 0x24, 0x11,
	0x7c, 0x4b, 0x1f, 0xe6, 0x49, 0x28, 0x66, 0x51, 0xec, 0xe4, 0x5b, 0x3d,
	0xc2, 0x00, 0x7c, 0xb8, 0xa1, 0x63, 0xbf, 0x05, 0x98, 0xda, 0x48, 0x36,
	0x1c, 0x55, 0xd3, 0x9a, 0x69, 0x16, 0x3f, 0xa8, 0xfd, 0x24, 0xcf, 0x5f,
	0x83, 0x65, 0x5d, 0x23, 0xdc, 0xa3, 0xad, 0x96, 0x1c, 0x62, 0xf3, 0x56,
	0x20, 0x85, 0x52, 0xbb, 0x9e, 0xd5, 0x29, 0x07, 0x70, 0x96, 0x96, 0x6d,
	0x67, 0x0c, 0x35, 0x4e, 0x4a, 0xbc, 0x98, 0x04, 0xf1, 0x74, 0x6c, 0x08,
	0xca, 0x18, 0x21, 0x7c, 0x32, 0x90, 0x5e, 0x46, 0x2e, 0x36, 0xce, 0x3b,
	0xe3, 0x9e, 0x77, 0x2c, 0x18, 0x0e, 0x86, 0x03, 0x9b, 0x27, 0x83, 0xa2,
	0xec, 0x07, 0xa2, 0x8f, 0xb5, 0xc5, 0x5d, 0xf0, 0x6f, 0x4c, 0x52, 0xc9,
	0xde, 0x2b, 0xcb, 0xf6, 0x95, 0x58, 0x17, 0x18, 0x39, 0x95, 0x49, 0x7c,
	0xea, 0x95, 0x6a, 0xe5, 0x15, 0xd2, 0x26, 0x18, 0x98, 0xfa, 0x05, 0x10,
	0x15, 0x72, 0x8e, 0x5a, 0x8a, 0xac, 0xaa, 0x68, 0xff, 0xff, 0xff, 0xff,
	0xff, 0xff, 0xff, 0xff,
};

static const uint8_t one[GROUP14_BYTES] = { [GROUP14_BYTES - 1] = 1 };

static void
advance(struct handshake *handshake)
{
	const enum step *at = order[handshake->role];

	while (*at != handshake->step)
		at++;
	handshake->step = at[1];
}

/*
 * `count` keys of 32 bytes from nonce_C || nonce_S || y, y being of y_length bytes
 * (0 or 256): PBKDF2-HMAC-SHA256 (RFC 8018) with one iteration, of which block i is
 * HMAC(K, salt || be32(i)).
 */
static void
derive(const struct handshake *handshake, const uint8_t *y, size_t y_length,
    uint8_t (*keys)[32], uint32_t count)
{
	uint8_t salt[2 * NONCE_BYTES + GROUP14_BYTES + 4];
	size_t length = 2 * NONCE_BYTES + y_length;

	memcpy(salt, handshake->nonce, 2 * NONCE_BYTES);
	if (y_length > 0)
		memcpy(salt + 2 * NONCE_BYTES, y, y_length);
	for (uint32_t i = 1; i <= count; i++) {
		store_be32(salt + length, i);
		hmac_sha256(handshake->K, 32, salt, length + 4, keys[i - 1]);
	}
	wipe(salt, sizeof(salt));
}

void
handshake_init(struct handshake *handshake, enum role role, const uint8_t K[32],
    const uint8_t nonce[NONCE_BYTES], const uint8_t *x, int require_pfs)
{
	memset(handshake, 0, sizeof(*handshake));
	handshake->role = role;
	handshake->step = STEP_NONCE;
	handshake->weak = x == NULL;
	handshake->require_pfs = require_pfs;
	memcpy(handshake->K, K, 32);
	memcpy(handshake->nonce[role], nonce, NONCE_BYTES);
	if (x != NULL)
		memcpy(handshake->x, x, GROUP14_SECRET_BYTES);
	memcpy(handshake->out, nonce, NONCE_BYTES);
	handshake->out_length = NONCE_BYTES;
}

size_t
handshake_wanted(const struct handshake *handshake)
{
	if (handshake->step == STEP_NONCE)
		return NONCE_BYTES - handshake->received;
	if (handshake->step == STEP_PEER)
		return HELLO_BYTES - handshake->received;
	return 0;
}

int
handshake_is_computing(const struct handshake *handshake)
{
	return handshake->step == STEP_COMMIT || handshake->step == STEP_AGREE;
}

enum heard
handshake_heard(const struct handshake *handshake)
{
	if (handshake_peer_is_authentic(handshake))
		return HEARD_PROOF;
	if (handshake->step != STEP_NONCE)
		return HEARD_NONCE;
	return handshake->received > 0 ? HEARD_SOMETHING : HEARD_NOTHING;
}

int
handshake_peer_is_authentic(const struct handshake *handshake)
{
	return handshake->step == STEP_AGREE || handshake->step == STEP_DONE ||
	    (handshake->role == ROLE_S && handshake->step == STEP_COMMIT);
}

/*
 * Has the peer authenticated y as C, which we are?  A peer that does that without seeing that we are C, too, has
 * taken its own nonce for nonce_C.
 */
static int
is_from_another_client(const struct handshake *handshake, const uint8_t *y, const uint8_t *h)
{
	struct handshake theirs = *handshake;
	uint8_t expected[32];
	int is_equal;

	if (handshake->role != ROLE_C)
		return 0;		/* S says nothing before C has proved itself */
	memcpy(theirs.nonce[ROLE_C], handshake->nonce[ROLE_S], NONCE_BYTES);
	memcpy(theirs.nonce[ROLE_S], handshake->nonce[ROLE_C], NONCE_BYTES);
	derive(&theirs, NULL, 0, theirs.dhmac, 2);
	hmac_sha256(theirs.dhmac[ROLE_C], 32, y, GROUP14_BYTES, expected);
	is_equal = equal_in_constant_time(h, expected, 32);
	wipe(&theirs, sizeof(theirs));
	wipe(expected, sizeof(expected));
	return is_equal;
}

/* PEER: validate y || h.  What the peer sent is not secret, so that refusals may differ in time. */
static int
take_peer(struct handshake *handshake)
{
	const uint8_t *y = handshake->in, *h = handshake->in + GROUP14_BYTES;
	uint8_t expected[32];
	int authentic;

	hmac_sha256(handshake->dhmac[!handshake->role], 32, y, GROUP14_BYTES, expected);
	authentic = equal_in_constant_time(h, expected, 32);
	wipe(expected, sizeof(expected));
	if (!authentic)
		return is_from_another_client(handshake, y, h) ? HANDSHAKE_SAME_ROLE : HANDSHAKE_NO_KEY;
	if (memcmp(y, modulus, GROUP14_BYTES) >= 0)
		return HANDSHAKE_OUT_OF_RANGE;
	if (handshake->require_pfs && memcmp(y, one, GROUP14_BYTES) == 0)
		return HANDSHAKE_NO_PFS;
	memcpy(handshake->y_peer, y, GROUP14_BYTES);
	return HANDSHAKE_OK;
}

int
handshake_receive(struct handshake *handshake, const uint8_t *data, size_t length)
{
	int status = HANDSHAKE_OK;

	assert(0 < length && length <= handshake_wanted(handshake));
	memcpy(handshake->in + handshake->received, data, length);
	handshake->received += length;
	if (handshake_wanted(handshake) > 0)
		return HANDSHAKE_OK;
	handshake->received = 0;
	if (handshake->step == STEP_NONCE) {
		memcpy(handshake->nonce[!handshake->role], handshake->in, NONCE_BYTES);
		derive(handshake, NULL, 0, handshake->dhmac, 2);
	} else
		status = take_peer(handshake);
	if (status == HANDSHAKE_OK)
		advance(handshake);
	return status;
}

void
handshake_compute(struct handshake *handshake)
{
	uint8_t y[GROUP14_BYTES];

	assert(handshake_is_computing(handshake));
	if (handshake->weak)
		memcpy(y, one, sizeof(y));
	else if (handshake->step == STEP_COMMIT)
		group14_power_of_generator(handshake->x, y);
	else
		group14_power(handshake->y_peer, handshake->x, y);

	if (handshake->step == STEP_COMMIT) {
		assert(handshake->out_length + HELLO_BYTES <= sizeof(handshake->out));
		memcpy(handshake->out + handshake->out_length, y, sizeof(y));
		hmac_sha256(handshake->dhmac[handshake->role], 32, y, sizeof(y),
		    handshake->out + handshake->out_length + GROUP14_BYTES);
		handshake->out_length += HELLO_BYTES;
	} else {
		derive(handshake, y, sizeof(y), handshake->keys, 4);
		wipe(handshake->x, sizeof(handshake->x));
		wipe(handshake->dhmac, sizeof(handshake->dhmac));
	}
	wipe(y, sizeof(y));
	advance(handshake);
}

void
handshake_wipe(struct handshake *handshake)
{
	wipe(handshake, sizeof(*handshake));
}
