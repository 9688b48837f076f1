/*
 * How fast is each kernel, and how fast is OpenSSL at the same?
 *
 *     kernels ROUNDS [NAME]...
 *
 * measures the workloads of those names, or all, and prints an object of JSON a line: one for each
 * batch size and kernel, and one for OpenSSL.  In every round everybody has their turn at
 * everything, so that other load and a changing clock meet all alike.  The figures are the medians
 * over the rounds, of the ratio to OpenSSL too.  Where both compute the same, the results are
 * compared first.
 */

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if !__has_include(<openssl/evp.h>)
#error "the headers of OpenSSL 3 are missing: on Debian, apt-get install libssl-dev"
#endif
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include "kernels/modexp/modexp.h"
#include "kernels/registry.h"
#include "kernels/sha256/sha256.h"
#include "protocol/packet.h"

#define TURN 3e-4			/* seconds; a turn is at least one batch */
#define BATCH_MAX 128
#define CONTESTANTS_MAX 512

enum { SHA256, AES256CTR, MODEXP, PRIMITIVES };	/* in registry.h's order */

/* What is worked on: whole messages, and packets, one behind the other. */
static uint8_t messages[BATCH_MAX * MESSAGE_MAX], packets[BATCH_MAX * PACKET_BYTES];

/* Where it goes. */
static uint8_t result[BATCH_MAX * PACKET_BYTES];

static struct packet_key key;
static uint8_t x[GROUP14_SECRET_BYTES];

/* OpenSSL's counterparts, made once. */
static EVP_MD_CTX *md;
static EVP_MAC_CTX *mac;
static EVP_CIPHER_CTX *cipher;
static BN_CTX *bn;
static BN_MONT_CTX *montgomery;
static BIGNUM *prime, *exponent, *base, *two, *power;

static void
fill(uint8_t *p, size_t length)
{
	for (size_t i = 0; i < length; i++)
		p[i] = (uint8_t)(i % 251);
}

static void
set_up(void)
{
	const OSSL_PARAM digest[] = {
		OSSL_PARAM_construct_utf8_string("digest", (char *)"SHA256", 0),
		OSSL_PARAM_construct_end(),
	};
	uint8_t E[32], H[32];
	int ok;

	fill(messages, sizeof(messages));
	fill(packets, sizeof(packets));
	fill(x, sizeof(x));
	memset(E, 0xe1, sizeof(E));
	memset(H, 0x41, sizeof(H));
	packet_key_init(&key, E, H);

	md = EVP_MD_CTX_new();
	mac = EVP_MAC_CTX_new(EVP_MAC_fetch(NULL, "HMAC", NULL));
	cipher = EVP_CIPHER_CTX_new();
	bn = BN_CTX_new();
	montgomery = BN_MONT_CTX_new();
	prime = BN_get_rfc3526_prime_2048(NULL);
	exponent = BN_bin2bn(x, sizeof(x), NULL);
	base = BN_bin2bn(messages, GROUP14_BYTES, NULL);
	two = BN_new();
	power = BN_new();
	ok = EVP_DigestInit_ex(md, EVP_sha256(), NULL) && EVP_MAC_init(mac, H, sizeof(H), digest) &&
	    EVP_EncryptInit_ex(cipher, EVP_aes_256_ctr(), NULL, E, NULL) &&
	    BN_MONT_CTX_set(montgomery, prime, bn) && BN_set_bit(exponent, 258) &&
	    BN_set_word(two, 2);
	if (!ok) {
		fprintf(stderr, "kernels: OpenSSL lacks something\n");
		exit(1);
	}
	BN_set_flags(exponent, BN_FLG_CONSTTIME);
}

/* The workloads: ours, with the kernels selected, and OpenSSL's. */

static void
our_sha256(size_t batch)
{
	static uint32_t states[BATCH_MAX][8];
	uint8_t padding[SHA256_BLOCK] = { 0 };

	sha256_pad(padding, 0, MESSAGE_MAX);
	for (size_t i = 0; i < batch; i++)
		memcpy(states[i], sha256_initial, sizeof(states[i]));
	sha256_compress_many(states, messages, MESSAGE_MAX, MESSAGE_MAX / SHA256_BLOCK, batch);
	sha256_compress_many(states, padding, 0, 1, batch);
	for (size_t i = 0; i < batch; i++)
		sha256_digest(states[i], result + i * SHA256_BYTES);
}

static void
their_sha256(size_t batch)
{
	for (size_t i = 0; i < batch; i++) {
		EVP_DigestInit_ex(md, NULL, NULL);
		EVP_DigestUpdate(md, messages + i * MESSAGE_MAX, MESSAGE_MAX);
		EVP_DigestFinal_ex(md, result + i * SHA256_BYTES, NULL);
	}
}

static void
our_hmac(size_t batch)
{
	hmac_sha256_many(&key.hmac, 0, packets, PACKET_BYTES, PACKET_CIPHERTEXT, batch, result,
	    HMAC_SHA256_BYTES);
}

static void
their_hmac(size_t batch)
{
	for (size_t i = 0; i < batch; i++) {
		uint8_t *packet = packets + i * PACKET_BYTES;

		/* The number has to follow the ciphertext; nobody reads what is there. */
		store_be64(packet + PACKET_CIPHERTEXT, i);
		EVP_MAC_init(mac, NULL, 0, NULL);
		EVP_MAC_update(mac, packet, PACKET_CIPHERTEXT + 8);
		EVP_MAC_final(mac, result + i * HMAC_SHA256_BYTES, NULL, HMAC_SHA256_BYTES);
	}
}

static void
our_aes_ctr(size_t batch)
{
	aes256ctr_many(&key.aes, 0, 0, packets, PACKET_BYTES, result, PACKET_BYTES,
	    PACKET_CIPHERTEXT, batch);
}

static void
their_aes_ctr(size_t batch)
{
	uint8_t counter[16] = { 0 };
	int length;

	for (size_t i = 0; i < batch; i++) {
		store_be64(counter, i);
		EVP_EncryptInit_ex(cipher, NULL, NULL, NULL, counter);
		EVP_EncryptUpdate(cipher, result + i * PACKET_BYTES, &length,
		    packets + i * PACKET_BYTES, PACKET_CIPHERTEXT);
	}
}

static void
our_modexp(size_t batch)
{
	(void)batch;
	group14_power(messages, x, result);
}

static void
our_modexp_fixed_base(size_t batch)
{
	(void)batch;
	group14_power_of_generator(x, result);
}

static void
openssl_modexp(const BIGNUM *of)
{
	BN_mod_exp_mont_consttime(power, of, exponent, prime, bn, montgomery);
	BN_bn2binpad(power, result, GROUP14_BYTES);
}

static void
their_modexp(size_t batch)
{
	(void)batch;
	openssl_modexp(base);
}

static void
their_modexp_fixed_base(size_t batch)
{
	(void)batch;
	openssl_modexp(two);
}

static void
our_seal(size_t batch)
{
	packet_seal_many(&key, 0, messages, batch * MESSAGE_MAX, result);
}

/* The least that would do for a packet: its authentication, and its encryption. */
static void
their_packets(size_t batch)
{
	uint8_t counter[16] = { 0 };
	int length;

	for (size_t i = 0; i < batch; i++) {
		const uint8_t *packet = packets + i * PACKET_BYTES;
		uint8_t *to = result + i * PACKET_BYTES;

		EVP_MAC_init(mac, NULL, 0, NULL);
		EVP_MAC_update(mac, packet, PACKET_CIPHERTEXT);
		EVP_MAC_final(mac, to + PACKET_CIPHERTEXT, NULL, HMAC_SHA256_BYTES);
		store_be64(counter, i);
		EVP_EncryptInit_ex(cipher, NULL, NULL, NULL, counter);
		EVP_EncryptUpdate(cipher, to, &length, packet, PACKET_CIPHERTEXT);
	}
}

static void
our_open(size_t batch)
{
	static uint8_t sealed[BATCH_MAX * PACKET_BYTES];
	static size_t numbers;		/* how many of them there are */
	size_t length, opened;

	if (numbers < batch)
		numbers = packet_seal_many(&key, 0, messages, batch * MESSAGE_MAX, sealed);
	if (packet_open_many(&key, 0, sealed, batch, result, &length, &opened) != PACKET_OK)
		abort();
}

struct workload {
	const char *name;
	unsigned int primitives;	/* whose kernels matter: bits */
	size_t batch_max;
	size_t bytes;			/* that a message counts for; 0: seconds are reported */
	size_t comparable;		/* bytes of a message's result that have to be equal */
	void (*ours)(size_t batch);
	void (*theirs)(size_t batch);
};

static const struct workload workloads[] = {
	{ "sha256", 1 << SHA256, BATCH_MAX, MESSAGE_MAX, SHA256_BYTES, our_sha256, their_sha256 },
	{ "hmac", 1 << SHA256, BATCH_MAX, PACKET_CIPHERTEXT, HMAC_SHA256_BYTES, our_hmac, their_hmac },
	{ "aes-ctr", 1 << AES256CTR, BATCH_MAX, PACKET_CIPHERTEXT, PACKET_BYTES, our_aes_ctr,
	    their_aes_ctr },
	{ "modexp", 1 << MODEXP, 1, 0, GROUP14_BYTES, our_modexp, their_modexp },
	{ "modexp-fixed-base", 1 << MODEXP, 1, 0, GROUP14_BYTES, our_modexp_fixed_base,
	    their_modexp_fixed_base },
	{ "seal", 1 << SHA256 | 1 << AES256CTR, BATCH_MAX, MESSAGE_MAX, 0, our_seal, their_packets },
	{ "open", 1 << SHA256 | 1 << AES256CTR, BATCH_MAX, MESSAGE_MAX, 0, our_open, their_packets },
};

static const size_t batches[] = { 1, 2, 3, 4, 8, 16, 48, 128 };

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* A choice of kernels, or OpenSSL, at one workload and one size of the batch. */
struct contestant {
	const struct workload *workload;
	size_t batch;
	void (*run)(size_t batch);
	size_t kernels[PRIMITIVES];
	const struct contestant *openssl;	/* at the same */
	size_t repeat;				/* batches in a turn */
	double *seconds;			/* for one batch, in every round */
};

static struct contestant contestants[CONTESTANTS_MAX];
static size_t contestant_count;

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static size_t
preferred(size_t primitive)
{
	size_t i = 0;

	while (kernel_state(primitive, i) != KERNEL_AVAILABLE)
		i++;
	return i;
}

static struct contestant *
enter(const struct contestant *contestant)
{
	assert(contestant_count < CONTESTANTS_MAX);
	contestants[contestant_count] = *contestant;
	return &contestants[contestant_count++];
}

/*
 * Enter OpenSSL, then all combinations in which at most one of the primitives that matter is not
 * served by its preferred kernel, then the portable ones together.
 */
static void
line_up(const struct workload *workload, size_t batch)
{
	struct contestant openssl = { .workload = workload, .batch = batch, .run = workload->theirs };
	struct contestant best, portable;
	size_t mattering = 0;

	for (size_t p = 0; p < PRIMITIVES; p++)
		openssl.kernels[p] = preferred(p);
	best = openssl;
	best.openssl = enter(&openssl);
	best.run = workload->ours;
	enter(&best);
	portable = best;
	for (size_t p = 0; p < PRIMITIVES; p++) {
		if (!(workload->primitives >> p & 1))
			continue;
		mattering++;
		portable.kernels[p] = kernel_count(p) - 1;
		for (size_t k = best.kernels[p] + 1; k < kernel_count(p); k++)
			if (kernel_state(p, k) == KERNEL_AVAILABLE)
				enter(&best)->kernels[p] = k;
	}
	if (mattering > 1)
		enter(&portable);
}

static void
select_kernels(const struct contestant *contestant)
{
	for (size_t p = 0; p < PRIMITIVES; p++)
		kernel_select(p, contestant->kernels[p]);
}

/* How long `repeat` batches take. */
static double
turn(const struct contestant *contestant, size_t repeat)
{
	double begin = now();

	for (size_t i = 0; i < repeat; i++)
		contestant->run(contestant->batch);
	return now() - begin;
}

/* Compare with OpenSSL's result, which comes first, and find out how much a turn can hold. */
static void
warm_up(struct contestant *contestant)
{
	static uint8_t expected[sizeof(result)];
	const struct workload *workload = contestant->workload;
	double least = TURN;

	select_kernels(contestant);
	memset(result, 0, sizeof(result));
	contestant->run(contestant->batch);
	if (contestant->openssl == NULL)
		memcpy(expected, result, sizeof(result));
	else if (memcmp(result, expected, contestant->batch * workload->comparable) != 0) {
		fprintf(stderr, "kernels: %s: not OpenSSL's result\n", workload->name);
		exit(1);
	}
	for (size_t i = 0; i < 5; i++) {
		double seconds = turn(contestant, 1);

		if (seconds < least)
			least = seconds;
	}
	contestant->repeat = (size_t)(TURN / least);
}

static int
compare(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* Leaves the values in order. */
static double
median(double *values, size_t count)
{
	qsort(values, count, sizeof(*values), compare);
	return (values[(count - 1) / 2] + values[count / 2]) / 2;
}

/* The names of the kernels that matter. */
static void
print_kernels(const struct contestant *contestant)
{
	const char *separator = "";

	for (size_t p = 0; p < PRIMITIVES; p++)
		if (contestant->workload->primitives >> p & 1) {
			printf("%s%s", separator, kernel_name(p, contestant->kernels[p]));
			separator = " ";
		}
}

static void
print_figures(const struct contestant *contestant, size_t rounds)
{
	const struct workload *workload = contestant->workload;
	double *scratch = calloc(rounds, sizeof(double)), seconds, ratio = 1;

	assert(scratch != NULL);
	if (contestant->openssl != NULL) {
		for (size_t i = 0; i < rounds; i++)
			scratch[i] = contestant->openssl->seconds[i] / contestant->seconds[i];
		ratio = median(scratch, rounds);
	}
	memcpy(scratch, contestant->seconds, rounds * sizeof(double));
	seconds = median(scratch, rounds);
	free(scratch);

	printf("{\"name\": \"%s\", \"kernel\": \"", workload->name);
	if (contestant->openssl == NULL)
		printf("openssl");
	else
		print_kernels(contestant);
	printf("\", \"batch\": %zu, ", contestant->batch);
	if (workload->bytes > 0)
		printf("\"bytes_per_second\": %.0f",
		    (double)(workload->bytes * contestant->batch) / seconds);
	else
		printf("\"seconds\": %.9f", seconds);
	printf(", \"vs_openssl\": %.3f}\n", ratio);
}

static int
wanted(const char *name, int argc, char **argv)
{
	for (int i = 2; i < argc; i++)
		if (strcmp(argv[i], name) == 0)
			return 1;
	return argc <= 2;
}

int
main(int argc, char **argv)
{
	long rounds = argc > 1 ? strtol(argv[1], NULL, 10) : 0;

	if (rounds < 1) {
		fprintf(stderr, "usage: kernels ROUNDS [NAME]...\n");
		return 1;
	}
	set_up();
	for (size_t i = 0; i < COUNT(workloads); i++)
		for (size_t j = 0; j < COUNT(batches); j++)
			if (wanted(workloads[i].name, argc, argv) &&
			    batches[j] <= workloads[i].batch_max)
				line_up(&workloads[i], batches[j]);
	for (size_t i = 0; i < contestant_count; i++) {
		contestants[i].seconds = calloc((size_t)rounds, sizeof(double));
		assert(contestants[i].seconds != NULL);
		warm_up(&contestants[i]);
	}
	for (size_t round = 0; round < (size_t)rounds; round++)
		for (size_t i = 0; i < contestant_count; i++) {
			struct contestant *c = &contestants[i];

			select_kernels(c);
			c->seconds[round] = turn(c, c->repeat) / (double)c->repeat;
		}
	for (size_t i = 0; i < contestant_count; i++)
		print_figures(&contestants[i], (size_t)rounds);
	return 0;
}
