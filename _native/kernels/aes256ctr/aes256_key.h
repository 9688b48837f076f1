#ifndef AES256_KEY_H
#define AES256_KEY_H

/*
 * The key of AES-256, expanded (FIPS 197, 5.2).
 */

#include <stdint.h>

#define AES256_ROUNDS 14

/* The 15 round keys, as FIPS 197 lists their bytes; every kernel uses this form. */
struct aes256_key {
	uint8_t round[AES256_ROUNDS + 1][16];
};

/* Expand a 32-byte key, in constant time. */
void aes256_key_init(struct aes256_key *key, const uint8_t secret[32]);

#endif
