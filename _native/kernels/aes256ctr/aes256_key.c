/*
 * The key of AES-256, expanded by the bitsliced S-box.
 */
#include "aes256_key.h"

#include <string.h>

#include "aes256_sbox.h"
#include "secret/wipe.h"

/* SubWord() of FIPS 197, 5.2. */
static void
sub_word(uint8_t word[4])
{
	slice q[8];

#pragma GCC unroll 8
	for (int b = 0; b < 8; b++) {
		uint64_t bits = 0;

		for (int i = 0; i < 4; i++)
			bits |= (uint64_t)((word[i] >> b) & 1) << i;
		q[b] = (slice){ bits, 0 };
	}
	sub_bytes(q);
	for (int i = 0; i < 4; i++) {
		word[i] = 0x63;
#pragma GCC unroll 8
		for (int b = 0; b < 8; b++)
			word[i] ^= (uint8_t)(((q[b][0] >> i) & 1) << b);
	}
	wipe(q, sizeof(q));
}

/* KeyExpansion() of FIPS 197, 5.2, with Nk = 8. */
void
aes256_key_init(struct aes256_key *key, const uint8_t secret[32])
{
	uint8_t (*w)[4] = (uint8_t (*)[4])key->round;
	uint8_t temp[4];

	memcpy(w, secret, 32);
	for (int i = 8; i < 4 * (AES256_ROUNDS + 1); i++) {
		memcpy(temp, w[i - 1], 4);
		if (i % 8 == 0) {
			const uint8_t first = temp[0];

			memmove(temp, temp + 1, 3);
			temp[3] = first;
		}
		if (i % 4 == 0)
			sub_word(temp);
		if (i % 8 == 0)
			temp[0] ^= (uint8_t)(1 << (i / 8 - 1));
		for (int j = 0; j < 4; j++)
			w[i][j] = w[i - 8][j] ^ temp[j];
	}
	wipe(temp, sizeof(temp));
}
