/*
 * Does anything secret decide a branch or an address?
 *
 * Memcheck follows every bit that is derived from undefined memory and reports when a
 * conditional jump or an address depends on one.  So every secret is declared undefined
 * before it goes in, and what comes out is declared defined, being public, before it is
 * looked at.  (The method is Langley's "ctgrind", 2010.)
 *
 *     valgrind --error-exitcode=9 ct_check           must report nothing
 *     valgrind --error-exitcode=9 ct_check leak      must report an error: can this fail?
 *
 * All kernels are run that Valgrind's processor has; the others are named as not checked.
 *
 * Two results derived from secrets are public, and the code branches on them: whether a tag
 * is right, and the length of an authentic message.  Here, and nowhere in the code itself,
 * they are declared defined: this program is linked with
 * -Wl,--wrap=equal_in_constant_time,--wrap=aes256ctr_many, which lets the wrappers below stand
 * between packet.c and these two functions.
 */

#include <stdio.h>
#include <string.h>

#include <valgrind/memcheck.h>

#include "kernels/modexp/modexp.h"
#include "kernels/registry.h"
#include "kernels/sha256/sha256.h"
#include "protocol/hmac_sha256.h"
#include "protocol/packet.h"
#include "secret/secret.h"

#define PACKETS 19			/* a full group of packet.c's, and a broken one */

static void
secret(const void *p, size_t length)
{
	VALGRIND_MAKE_MEM_UNDEFINED(p, length);
}

static void
public(const void *p, size_t length)
{
	VALGRIND_MAKE_MEM_DEFINED(p, length);
}

int __real_equal_in_constant_time(const uint8_t *a, const uint8_t *b, size_t length);
int __wrap_equal_in_constant_time(const uint8_t *a, const uint8_t *b, size_t length);
void __real_aes256ctr_many(const struct aes256_key *key, uint64_t number, uint64_t block,
    const uint8_t *in, size_t in_stride, uint8_t *out, size_t out_stride,
    size_t length, size_t count);
void __wrap_aes256ctr_many(const struct aes256_key *key, uint64_t number, uint64_t block,
    const uint8_t *in, size_t in_stride, uint8_t *out, size_t out_stride,
    size_t length, size_t count);

/* Public: whether a tag is right.  The connection ends if it is not. */
int
__wrap_equal_in_constant_time(const uint8_t *a, const uint8_t *b, size_t length)
{
	int equal = __real_equal_in_constant_time(a, b, length);

	public(&equal, sizeof(equal));
	return equal;
}

/* Public: the length of a message, the last four bytes of the plaintext.  It shows in how
 * much is passed on.  Only a call for just these bytes is about them. */
void
__wrap_aes256ctr_many(const struct aes256_key *key, uint64_t number, uint64_t block,
    const uint8_t *in, size_t in_stride, uint8_t *out, size_t out_stride,
    size_t length, size_t count)
{
	__real_aes256ctr_many(key, number, block, in, in_stride, out, out_stride, length, count);
	if (block == MESSAGE_MAX / 16 && length == PACKET_CIPHERTEXT - MESSAGE_MAX)
		for (size_t i = 0; i < count; i++)
			public(out + i * out_stride, length);
}

static void
fill(uint8_t *p, size_t length)
{
	for (size_t i = 0; i < length; i++)
		p[i] = (uint8_t)(i % 251);
}

/* An outcome that differs from the one expected would mean that less was run than is meant. */
static int
expect(const char *what, int as_expected)
{
	if (!as_expected)
		fprintf(stderr, "ct_check: %s\n", what);
	return as_expected;
}

/* The exponent and either base. */
static int
check_modexp(void)
{
	uint8_t x[GROUP14_SECRET_BYTES], base[GROUP14_BYTES], y[GROUP14_BYTES];
	uint8_t shared[2][GROUP14_BYTES];

	fill(x, sizeof(x));
	secret(x, sizeof(x));
	group14_power_of_generator(x, y);
	memset(base, 0, sizeof(base));
	base[GROUP14_BYTES - 1] = 2;
	secret(base, sizeof(base));
	group14_power(base, x, shared[0]);
	public(y, sizeof(y));
	public(shared, sizeof(shared));
	return expect("2 to the power of x differs", memcmp(y, shared[0], sizeof(y)) == 0);
}

/* Data of every length around a block, as a key file has it, and keys of HMAC. */
static int
check_hash(void)
{
	static const size_t lengths[] = { 0, 1, 31, 55, 56, 63, 64, 65, 119, 120, 128, 200, 1000 };
	uint8_t data[1000], digest[SHA256_BYTES], tag[HMAC_SHA256_BYTES], again[HMAC_SHA256_BYTES];
	int ok = 1;

	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		fill(data, sizeof(data));
		secret(data, sizeof(data));
		sha256(data, lengths[i], digest);
		hmac_sha256(digest, sizeof(digest), data, lengths[i], tag);
		hmac_sha256(data, lengths[i], digest, sizeof(digest), again);
		ok &= expect("equal tags", !equal_in_constant_time(tag, again, sizeof(tag)));
	}
	return ok;
}

/* Keys and plaintext, in batches of every size; then a forged tag, and an impossible length. */
static int
check_packets(void)
{
	static uint8_t plaintext[PACKETS * MESSAGE_MAX], opened[PACKETS * MESSAGE_MAX];
	static uint8_t packets[PACKETS * PACKET_BYTES];
	uint8_t E[32], H[32];
	struct packet_key key;
	size_t length, count, good;
	int ok = 1;

	fill(E, sizeof(E));
	fill(H, sizeof(H));
	secret(E, sizeof(E));
	secret(H, sizeof(H));
	packet_key_init(&key, E, H);

	for (size_t n = 1; n <= PACKETS; n++) {
		size_t size = n * MESSAGE_MAX - 3 * n;

		fill(plaintext, size);
		secret(plaintext, size);
		count = packet_seal_many(&key, n, plaintext, size, packets);
		public(packets, count * PACKET_BYTES);	/* that is what sealing them is for */
		ok &= expect("opening fails", packet_open_many(&key, n, packets, count, opened,
		    &length, &good) == PACKET_OK && good == count && length == size);
		public(opened, size);
		public(plaintext, size);
		ok &= expect("opened to something else", memcmp(plaintext, opened, size) == 0);
	}

	packets[(PACKETS - 1) * PACKET_BYTES - 1] ^= 1;
	ok &= expect("a forged tag passes", packet_open_many(&key, PACKETS, packets, PACKETS,
	    opened, &length, &good) == PACKET_BAD_TAG && good == PACKETS - 2);

	/* A length of 1025 instead of 1021, and the tag that goes with it. */
	count = packet_seal_many(&key, 0, plaintext, 1021, packets);
	public(packets, count * PACKET_BYTES);
	packets[MESSAGE_MAX + 2] ^= (1021 >> 8) ^ (1025 >> 8);
	packets[MESSAGE_MAX + 3] ^= (1021 & 0xff) ^ (1025 & 0xff);
	hmac_sha256_many(&key.hmac, 0, packets, PACKET_BYTES, PACKET_CIPHERTEXT, 1,
	    packets + PACKET_CIPHERTEXT, PACKET_BYTES);
	public(packets, PACKET_BYTES);
	ok &= expect("a length of 1025 passes", packet_open_many(&key, 0, packets, 1,
	    opened, &length, &good) == PACKET_BAD_LENGTH && good == 0);
	packet_key_wipe(&key);
	return ok;
}

/* What is checked of each primitive; in the order of registry.h. */
static int (*const checks[][2])(void) = {
	{ check_hash, check_packets },
	{ check_packets, NULL },
	{ check_modexp, NULL },
};

/* Deliberately wrong: a table that is read at a secret index. */
static int
leak(void)
{
	static const uint8_t table[256] = { 99, 124, 119, 123 };
	uint8_t index = 3, found;

	secret(&index, sizeof(index));
	found = ((const volatile uint8_t *)table)[index];
	public(&found, sizeof(found));
	return expect("the table is wrong", found == 123);
}

int
main(int argc, char **argv)
{
	int ok = 1;

	if (!RUNNING_ON_VALGRIND) {
		fprintf(stderr, "ct_check: this finds nothing unless it runs under valgrind\n");
		return 2;
	}
	if (argc > 1)
		return strcmp(argv[1], "leak") == 0 && leak() ? 0 : 1;

	for (size_t p = 0; p < primitive_count(); p++)
		for (size_t k = 0; k < kernel_count(p); k++) {
			int run = kernel_state(p, k) == KERNEL_AVAILABLE;
			size_t former = kernel_selected(p);

			printf("%s %s: %s\n", primitive_name(p), kernel_name(p, k),
			    run ? "checked" : "not checked");
			if (!run)
				continue;
			kernel_select(p, k);
			for (size_t i = 0; i < 2; i++)
				if (checks[p][i] != NULL)
					ok &= checks[p][i]();
			kernel_select(p, former);
		}
	return ok ? 0 : 1;
}
