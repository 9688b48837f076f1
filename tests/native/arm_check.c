/*
 * The kernels of an architecture that this machine is not: run by an emulator.
 *
 *     arm_check X Y BASE POWER
 *
 * runs every available kernel on official vectors and, in batches that break its lanes, against
 * the portable kernel; seals and opens packets; and computes Y = 2^(2^258 + X) and
 * POWER = BASE^(2^258 + X), all in hexadecimal digits.  Prints a line for each kernel and
 * for each failure; the exit status tells whether there were any.
 */

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/modexp/modexp.h"
#include "kernels/registry.h"
#include "kernels/sha256/sha256.h"
#include "protocol/packet.h"

enum { SHA256, AES256CTR, MODEXP, PRIMITIVES };	/* in registry.h's order */

#define BATCH_MAX 129
#define STRIDE (PACKET_BYTES + 1)		/* nothing is aligned */

static const size_t batches[] = { 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 47, 48, 49, 64, 129 };

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static int failures;
static uint8_t data[BATCH_MAX * STRIDE];

static void
check(int ok, const char *what)
{
	if (!ok) {
		printf("FAILED: %s\n", what);
		failures++;
	}
}

/* The bytes that the digits stand for; exactly so many. */
static void
unhex(const char *digits, uint8_t *bytes, size_t length)
{
	assert(strlen(digits) == 2 * length);
	for (size_t i = 0; i < length; i++) {
		const char digit[3] = { digits[2 * i], digits[2 * i + 1] };

		bytes[i] = (uint8_t)strtoul(digit, NULL, 16);
	}
}

static void
check_bytes(const uint8_t *found, const char *digits, size_t length, const char *what)
{
	uint8_t expected[GROUP14_BYTES];

	unhex(digits, expected, length);
	check(memcmp(found, expected, length) == 0, what);
}

static void
select_portable(void)
{
	for (size_t p = 0; p < PRIMITIVES; p++)
		kernel_select(p, kernel_count(p) - 1);
}

/* FIPS 180-4's examples; RFC 4231, cases 2 and 6. */
static void
sha256_vectors(void)
{
	static const char two_blocks[] = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
	static const char message[] = "Test Using Larger Than Block-Size Key - Hash Key First";
	static uint8_t million[1000000];
	uint8_t digest[32], key[131];

	sha256((const uint8_t *)"abc", 3, digest);
	check_bytes(digest, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", 32,
	    "SHA-256, one block");
	sha256((const uint8_t *)two_blocks, strlen(two_blocks), digest);
	check_bytes(digest, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1", 32,
	    "SHA-256, two blocks");
	memset(million, 'a', sizeof(million));
	sha256(million, sizeof(million), digest);
	check_bytes(digest, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0", 32,
	    "SHA-256, a million a's");
	hmac_sha256((const uint8_t *)"Jefe", 4, (const uint8_t *)"what do ya want for nothing?", 28,
	    digest);
	check_bytes(digest, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843", 32,
	    "HMAC, a short key");
	memset(key, 0xaa, sizeof(key));
	hmac_sha256(key, sizeof(key), (const uint8_t *)message, strlen(message), digest);
	check_bytes(digest, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54", 32,
	    "HMAC, a long key");
}

static void
sha256_batches(size_t kernel)
{
	static uint32_t found[BATCH_MAX][8], expected[BATCH_MAX][8];

	for (size_t i = 0; i < COUNT(batches); i++) {
		for (size_t j = 0; j < batches[i]; j++)
			memcpy(found[j], sha256_initial, sizeof(found[j]));
		memcpy(expected, found, sizeof(found));
		kernel_select(SHA256, kernel);
		sha256_compress_many(found, data, STRIDE, 3, batches[i]);
		select_portable();
		sha256_compress_many(expected, data, STRIDE, 3, batches[i]);
		check(memcmp(found, expected, sizeof(found)) == 0, "SHA-256 in batches");
	}
}

/* FIPS 197, C.3, the block coming from the counter; SP 800-38A, F.5.5, the first two blocks. */
static void
aes256ctr_vectors(void)
{
	static const uint8_t zeros[16];
	struct aes256_key key;
	uint8_t secret[32], block[32];

	unhex("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", secret, 32);
	aes256_key_init(&key, secret);
	aes256ctr_many(&key, 0x0011223344556677, 0x8899aabbccddeeff, zeros, 0, block, 0, 16, 1);
	check_bytes(block, "8ea2b7ca516745bfeafc49904b496089", 16, "AES-256, FIPS 197");

	unhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4", secret, 32);
	aes256_key_init(&key, secret);
	unhex("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51", block, 32);
	aes256ctr_many(&key, 0xf0f1f2f3f4f5f6f7, 0xf8f9fafbfcfdfeff, block, 0, block, 0, 32, 1);
	check_bytes(block, "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5", 32,
	    "AES-256-CTR, SP 800-38A");
}

static void
aes256ctr_batches(size_t kernel)
{
	static uint8_t found[sizeof(data)], expected[sizeof(data)];
	static const size_t lengths[] = { 1, 15, 16, 17, 127, 128, 129, 1024, 1028 };
	struct aes256_key key;

	aes256_key_init(&key, data + 7);
	for (size_t i = 0; i < COUNT(batches); i++)
		for (size_t j = 0; j < COUNT(lengths); j++) {
			const uint64_t number = UINT64_MAX - 3, block = UINT64_MAX - 20;

			kernel_select(AES256CTR, kernel);
			aes256ctr_many(&key, number, block, data, STRIDE, found, STRIDE, lengths[j],
			    batches[i]);
			select_portable();
			aes256ctr_many(&key, number, block, data, STRIDE, expected, STRIDE, lengths[j],
			    batches[i]);
			check(memcmp(found, expected, sizeof(found)) == 0, "AES-256-CTR in batches");
		}
}

/* Sealed with the kernels selected, opened with the portable ones, and the other way round. */
static void
packets(const size_t kernels[PRIMITIVES])
{
	static uint8_t sealed[BATCH_MAX * PACKET_BYTES], opened[BATCH_MAX * MESSAGE_MAX];
	struct packet_key key;

	packet_key_init(&key, data, data + 32);
	for (size_t i = 0; i < COUNT(batches); i++)
		for (int theirs = 0; theirs < 2; theirs++) {
			size_t length = batches[i] * MESSAGE_MAX - 13 * i, total, good;

			select_portable();
			for (size_t p = 0; p < PRIMITIVES && !theirs; p++)
				kernel_select(p, kernels[p]);
			check(packet_seal_many(&key, 5, data, length, sealed) == batches[i], "sealing");
			select_portable();
			for (size_t p = 0; p < PRIMITIVES && theirs; p++)
				kernel_select(p, kernels[p]);
			check(packet_open_many(&key, 5, sealed, batches[i], opened, &total, &good) ==
			    PACKET_OK && good == batches[i], "opening");
			check(total == length && memcmp(opened, data, length) == 0, "what was opened");
			sealed[batches[i] * PACKET_BYTES - 1] ^= 0x80;
			check(packet_open_many(&key, 5, sealed, batches[i], opened, &total, &good) ==
			    PACKET_BAD_TAG && good == batches[i] - 1, "a forged tag");
		}
}

static void
powers(char **arguments)
{
	uint8_t x[GROUP14_SECRET_BYTES], base[GROUP14_BYTES], y[GROUP14_BYTES];

	unhex(arguments[0], x, sizeof(x));
	unhex(arguments[2], base, sizeof(base));
	group14_power_of_generator(x, y);
	check_bytes(y, arguments[1], sizeof(y), "a power of the generator");
	group14_power(base, x, y);
	check_bytes(y, arguments[3], sizeof(y), "a power");
}

int
main(int argc, char **argv)
{
	size_t best[PRIMITIVES];

	assert(argc == 5);
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i % 251);
	for (size_t p = 0; p < PRIMITIVES; p++) {
		best[p] = kernel_count(p);
		for (size_t k = kernel_count(p); k-- > 0;) {
			if (kernel_state(p, k) != KERNEL_AVAILABLE)
				continue;
			best[p] = k;
			check(kernel_selftest(p, k), "a kernel's own test");
			kernel_select(p, k);
			if (p == SHA256) {
				sha256_vectors();
				sha256_batches(k);
			} else if (p == AES256CTR) {
				aes256ctr_vectors();
				aes256ctr_batches(k);
			} else
				powers(argv + 1);
			printf("%s %s: checked\n", primitive_name(p), kernel_name(p, k));
		}
	}
	packets(best);
	return failures > 0;
}
