/*
 * libFuzzer target: packet_open_many() on whatever a peer may send.
 *
 * The input is a header, of which `struct recipe` tells, and a body.  In the mode RAW the body is
 * the packets.  Their tags being what they are, that tests little more than their rejection
 * (the seeds apart); so in the mode SEALED the body tells of a plaintext, which is sealed under the
 * input's key, and of mutations to the packets, also by someone who has the key.
 *
 * Either way, what packet_open_many() makes of the packets must be what a packet-by-packet reading
 * of the format on the portable kernels makes of them, to the last byte of the plaintext buffer.
 * Buffers are allocated to their exact size, for AddressSanitizer to watch their ends.
 */

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "kernels/registry.h"
#include "protocol/packet.h"

#define PACKETS_MAX 100			/* more than two groups */
#define UNTOUCHED 0x5a

enum { SHA256, AES256CTR };		/* the primitives, in registry.h's order */
enum { RAW, SEALED, MODES };

struct recipe {
	uint8_t mode, sha256_kernel, aes256ctr_kernel;
	uint8_t number[8], E[32], H[32];
};

/* How a sealed batch begins: the length of the plaintext, how often that is halved (because large
 * batches take long), and how many mutations follow.  The text itself repeats what comes behind
 * those, so that inputs are short and batches need not be. */
struct batch {
	uint8_t length[4], halvings, mutations;
};

/* A change to a packet of a sealed batch. */
struct mutation {
	uint8_t kind, packet;
	uint8_t argument[4];
};

enum {
	FLIP,				/* argument: be16(offset), mask */
	EXCHANGE,			/* argument: the other packet */
	REPEAT,				/* over another packet; argument: the other packet */
	FORGE_LENGTH,			/* argument: be32(length), sealed with the right key */
	KINDS
};

#define MUTATIONS_MAX 7

struct outcome {
	int status;
	size_t length, opened;
};

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

static void
select_portable(void)
{
	kernel_select(SHA256, kernel_count(SHA256) - 1);
	kernel_select(AES256CTR, kernel_count(AES256CTR) - 1);
}

/* Select the kernel that `wish` points to, or the next one that this CPU can run. */
static void
select_wished(size_t primitive, uint8_t wish)
{
	size_t count = kernel_count(primitive), i = wish % count;

	while (kernel_state(primitive, i) != KERNEL_AVAILABLE)
		i = (i + 1) % count;
	kernel_select(primitive, i);
}

static void *
allocate(size_t size)
{
	void *p = malloc(size);

	assert(p != NULL);
	memset(p, UNTOUCHED, size);
	return p;
}

static uint8_t *
packet_at(uint8_t *packets, size_t i)
{
	return packets + i * PACKET_BYTES;
}

/* The tag that a packet should have, computed over one contiguous string. */
static void
authenticate(const struct recipe *recipe, uint64_t number, const uint8_t *packet, uint8_t tag[32])
{
	uint8_t data[PACKET_CIPHERTEXT + 8];

	memcpy(data, packet, PACKET_CIPHERTEXT);
	store_be64(data + PACKET_CIPHERTEXT, number);
	hmac_sha256(recipe->H, sizeof(recipe->H), data, sizeof(data), tag);
}

/* The format, packet by packet. */
static struct outcome
open_slowly(const struct recipe *recipe, uint64_t number, const uint8_t *packets, size_t count,
    uint8_t *plaintext)
{
	struct outcome outcome = { PACKET_OK, 0, 0 };
	struct aes256_key key;

	aes256_key_init(&key, recipe->E);
	for (; outcome.opened < count; outcome.opened++, packets += PACKET_BYTES) {
		uint8_t tag[32], data[PACKET_CIPHERTEXT];
		uint32_t length;

		authenticate(recipe, number + outcome.opened, packets, tag);
		if (memcmp(tag, packets + PACKET_CIPHERTEXT, sizeof(tag)) != 0) {
			outcome.status = PACKET_BAD_TAG;
			break;
		}
		aes256ctr_many(&key, number + outcome.opened, 0, packets, 0, data, 0,
		    PACKET_CIPHERTEXT, 1);
		length = load_be32(data + MESSAGE_MAX);
		if (length == 0 || length > MESSAGE_MAX) {
			outcome.status = PACKET_BAD_LENGTH;
			break;
		}
		memcpy(plaintext + outcome.length, data, length);
		outcome.length += length;
	}
	return outcome;
}

/* Open the packets with the kernels wished for, and compare. */
static struct outcome
check(const struct recipe *recipe, uint64_t number, const uint8_t *packets, size_t count,
    uint8_t *plaintext)
{
	uint8_t *expected = allocate(count * MESSAGE_MAX);
	struct packet_key key;
	struct outcome outcome, wanted;

	select_portable();
	wanted = open_slowly(recipe, number, packets, count, expected);

	select_wished(SHA256, recipe->sha256_kernel);
	select_wished(AES256CTR, recipe->aes256ctr_kernel);
	packet_key_init(&key, recipe->E, recipe->H);
	outcome.status = packet_open_many(&key, number, packets, count, plaintext,
	    &outcome.length, &outcome.opened);
	packet_key_wipe(&key);

	assert(outcome.status == wanted.status);
	assert(outcome.opened == wanted.opened);
	assert(outcome.length == wanted.length);
	assert((outcome.status == PACKET_OK) == (outcome.opened == count));
	/* The untouched rest included. */
	assert(memcmp(plaintext, expected, count * MESSAGE_MAX) == 0);
	free(expected);
	return outcome;
}

static void
fuzz_raw(const struct recipe *recipe, uint64_t number, const uint8_t *body, size_t size)
{
	size_t count = size / PACKET_BYTES < PACKETS_MAX ? size / PACKET_BYTES : PACKETS_MAX;
	uint8_t *packets, *plaintext;

	if (count == 0)
		return;
	packets = allocate(count * PACKET_BYTES);
	plaintext = allocate(count * MESSAGE_MAX);
	memcpy(packets, body, count * PACKET_BYTES);
	check(recipe, number, packets, count, plaintext);
	free(packets);
	free(plaintext);
}

/* Give packet i a trailer of its sender's choice, and the tag that belongs to it. */
static void
forge_length(const struct recipe *recipe, uint64_t number, uint8_t *packet, const uint8_t be32[4])
{
	struct aes256_key key;

	aes256_key_init(&key, recipe->E);
	aes256ctr_many(&key, number, MESSAGE_MAX / 16, be32, 0, packet + MESSAGE_MAX, 0, 4, 1);
	authenticate(recipe, number, packet, packet + PACKET_CIPHERTEXT);
}

/* Change the batch. */
static void
mutate(const struct recipe *recipe, uint64_t number, uint8_t *packets, size_t count,
    const struct mutation *mutation)
{
	size_t i = mutation->packet % count, other = mutation->argument[0] % count;
	size_t offset = (size_t)(mutation->argument[0] << 8 | mutation->argument[1]) % PACKET_BYTES;
	uint8_t saved[PACKET_BYTES];

	switch (mutation->kind % KINDS) {
	case FLIP:
		packet_at(packets, i)[offset] ^= mutation->argument[2];
		break;
	case EXCHANGE:
		memcpy(saved, packet_at(packets, i), sizeof(saved));
		memmove(packet_at(packets, i), packet_at(packets, other), sizeof(saved));
		memcpy(packet_at(packets, other), saved, sizeof(saved));
		break;
	case REPEAT:
		memmove(packet_at(packets, other), packet_at(packets, i), sizeof(saved));
		break;
	case FORGE_LENGTH:
		forge_length(recipe, number + i, packet_at(packets, i), mutation->argument);
		break;
	}
}

/* length bytes, which repeat the text, or are zeros if that is empty. */
static uint8_t *
repeat(const uint8_t *text, size_t size, size_t length)
{
	uint8_t *message = allocate(length);

	for (size_t i = 0; i < length; i++)
		message[i] = size > 0 ? text[i % size] : 0;
	return message;
}

/*
 * The body: struct batch, its mutations, the text.
 *
 * Without the key, no packet can be made that opens: so the first packet that differs from what
 * was sealed, and has not been forged with the key, is where opening stops at the latest.
 */
static void
fuzz_sealed(const struct recipe *recipe, uint64_t number, const uint8_t *body, size_t size)
{
	size_t count, sealed, length, intact = 0;
	uint8_t *message, *packets, *original, *plaintext;
	struct batch batch;
	struct mutation mutations[MUTATIONS_MAX];
	struct packet_key key;
	struct outcome outcome;
	uint8_t forged[PACKETS_MAX] = { 0 };

	if (size < sizeof(batch))
		return;
	memcpy(&batch, body, sizeof(batch));
	batch.mutations %= MUTATIONS_MAX + 1;
	body += sizeof(batch);
	size -= sizeof(batch);
	if (size < batch.mutations * sizeof(mutations[0]))
		return;
	memcpy(mutations, body, batch.mutations * sizeof(mutations[0]));
	body += batch.mutations * sizeof(mutations[0]);
	size -= batch.mutations * sizeof(mutations[0]);

	length = 1 + (load_be32(batch.length) % (PACKETS_MAX * MESSAGE_MAX) >> batch.halvings % 8);
	count = (length + MESSAGE_MAX - 1) / MESSAGE_MAX;
	message = repeat(body, size, length);
	packets = allocate(count * PACKET_BYTES);
	original = allocate(count * PACKET_BYTES);
	plaintext = allocate(count * MESSAGE_MAX);

	select_wished(SHA256, recipe->sha256_kernel);
	select_wished(AES256CTR, recipe->aes256ctr_kernel);
	packet_key_init(&key, recipe->E, recipe->H);
	sealed = packet_seal_many(&key, number, message, length, packets);
	assert(sealed == count);
	memcpy(original, packets, count * PACKET_BYTES);
	for (size_t i = 0; i < batch.mutations; i++) {
		mutate(recipe, number, packets, count, &mutations[i]);
		if (mutations[i].kind % KINDS == FORGE_LENGTH)
			forged[mutations[i].packet % count] = 1;
	}
	while (intact < count && memcmp(packet_at(packets, intact), packet_at(original, intact),
	    PACKET_BYTES) == 0)
		intact++;

	outcome = check(recipe, number, packets, count, plaintext);
	assert(outcome.opened >= intact);
	if (intact < count && !forged[intact])
		assert(outcome.status == PACKET_BAD_TAG && outcome.opened == intact);
	length = intact * MESSAGE_MAX < length ? intact * MESSAGE_MAX : length;
	assert(outcome.length >= length && memcmp(plaintext, message, length) == 0);

	free(message);
	free(packets);
	free(original);
	free(plaintext);
}

int
LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
	struct recipe recipe;
	uint64_t number;

	if (size < sizeof(recipe))
		return 0;
	memcpy(&recipe, input, sizeof(recipe));
	number = (uint64_t)load_be32(recipe.number) << 32 | load_be32(recipe.number + 4);
	if (recipe.mode % MODES == RAW)
		fuzz_raw(&recipe, number, input + sizeof(recipe), size - sizeof(recipe));
	else
		fuzz_sealed(&recipe, number, input + sizeof(recipe), size - sizeof(recipe));
	return 0;
}
