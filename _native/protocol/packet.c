/*
 * Packets, sealed and opened a few at a time.
 *
 * Ciphers and hashes both want many packets at once, and the second of the two wants to find the
 * packets still in a near cache: so a batch goes through both in groups, of the size that the hash
 * likes best.  Data is touched by the cipher and by the hash once each, and nowhere else.
 */
#include "packet.h"

#include <string.h>

#include "bytes.h"
#include "kernels/sha256/sha256.h"
#include "secret/secret.h"
#include "secret/wipe.h"

#define GROUP SHA256_GROUP
#define TRAILER (PACKET_CIPHERTEXT - MESSAGE_MAX)	/* be32(length) */
#define TRAILER_BLOCK (MESSAGE_MAX / 16)		/* the counter block that encrypts it */
#define TAG (PACKET_BYTES - PACKET_CIPHERTEXT)

void
packet_key_init(struct packet_key *key, const uint8_t E[32], const uint8_t H[32])
{
	aes256_key_init(&key->aes, E);
	hmac_sha256_key_init(&key->hmac, H, 32);
	wipe_stack();
}

void
packet_key_wipe(struct packet_key *key)
{
	wipe(key, sizeof(*key));
}

/* Encrypt count full messages; each goes straight from the plaintext into its packet. */
static void
encrypt_full(const struct packet_key *key, uint64_t number, const uint8_t *messages, size_t count,
    uint8_t *packets)
{
	uint8_t trailer[TRAILER];

	store_be32(trailer, MESSAGE_MAX);
	aes256ctr_many(&key->aes, number, 0, messages, MESSAGE_MAX, packets, PACKET_BYTES,
	    MESSAGE_MAX, count);
	aes256ctr_many(&key->aes, number, TRAILER_BLOCK, trailer, 0, packets + MESSAGE_MAX,
	    PACKET_BYTES, TRAILER, count);
}

/* Encrypt a message shorter than the packet, in place because of its padding. */
static void
encrypt_short(const struct packet_key *key, uint64_t number, const uint8_t *message, size_t length,
    uint8_t *packet)
{
	memcpy(packet, message, length);
	memset(packet + length, 0, MESSAGE_MAX - length);
	store_be32(packet + MESSAGE_MAX, (uint32_t)length);
	aes256ctr_many(&key->aes, number, 0, packet, PACKET_BYTES, packet, PACKET_BYTES,
	    PACKET_CIPHERTEXT, 1);
}

size_t
packet_seal_many(const struct packet_key *key, uint64_t number,
    const uint8_t *plaintext, size_t length, uint8_t *packets)
{
	size_t sealed = 0;

	while (length > 0) {
		size_t full = length / MESSAGE_MAX < GROUP ? length / MESSAGE_MAX : GROUP;
		size_t count = full;

		encrypt_full(key, number, plaintext, full, packets);
		plaintext += full * MESSAGE_MAX;
		length -= full * MESSAGE_MAX;
		if (full < GROUP && length > 0) {
			encrypt_short(key, number + full, plaintext, length,
			    packets + full * PACKET_BYTES);
			length = 0;
			count++;
		}
		hmac_sha256_many(&key->hmac, number, packets, PACKET_BYTES, PACKET_CIPHERTEXT,
		    count, packets + PACKET_CIPHERTEXT, PACKET_BYTES);
		packets += count * PACKET_BYTES;
		number += count;
		sealed += count;
	}
	wipe_stack();
	return sealed;
}

/* How many of the first packets of a group have good tags? */
static size_t
verify(const struct packet_key *key, uint64_t number, const uint8_t *packets, size_t count)
{
	uint8_t tags[GROUP][TAG];
	size_t good = 0;

	hmac_sha256_many(&key->hmac, number, packets, PACKET_BYTES, PACKET_CIPHERTEXT, count,
	    tags[0], TAG);
	while (good < count && equal_in_constant_time(tags[good],
	    packets + good * PACKET_BYTES + PACKET_CIPHERTEXT, TAG))
		good++;
	/* The tag that a forged packet should have had must not be left in memory. */
	wipe(tags, count * sizeof(tags[0]));
	return good;
}

/*
 * Decrypt a group of verified packets up to the first one of a bad length, adding what they carry
 * to *length.  The lengths come first, so that exactly the messages are decrypted, no padding, and
 * nothing has to be erased.  Returns the number of messages.
 */
static size_t
decrypt(const struct packet_key *key, uint64_t number, const uint8_t *packets, size_t count,
    uint8_t *plaintext, size_t *length)
{
	uint8_t trailers[GROUP][TRAILER];
	size_t done = 0;

	aes256ctr_many(&key->aes, number, TRAILER_BLOCK, packets + MESSAGE_MAX, PACKET_BYTES,
	    trailers[0], TRAILER, TRAILER, count);
	while (done < count) {
		uint32_t bytes = load_be32(trailers[done]);
		size_t run = 1;

		if (bytes == 0 || bytes > MESSAGE_MAX)
			break;
		if (bytes == MESSAGE_MAX)
			while (done + run < count && load_be32(trailers[done + run]) == MESSAGE_MAX)
				run++;
		aes256ctr_many(&key->aes, number + done, 0, packets + done * PACKET_BYTES,
		    PACKET_BYTES, plaintext + *length, MESSAGE_MAX, bytes, run);
		*length += bytes * run;
		done += run;
	}
	return done;
}

int
packet_open_many(const struct packet_key *key, uint64_t number,
    const uint8_t *packets, size_t count, uint8_t *plaintext, size_t *length, size_t *opened)
{
	int status = PACKET_OK;

	*length = 0;
	*opened = 0;
	while (status == PACKET_OK && *opened < count) {
		const uint8_t *group = packets + *opened * PACKET_BYTES;
		size_t size = count - *opened < GROUP ? count - *opened : GROUP;
		size_t good = verify(key, number + *opened, group, size);
		size_t done = decrypt(key, number + *opened, group, good, plaintext, length);

		*opened += done;
		if (done < good)
			status = PACKET_BAD_LENGTH;
		else if (good < size)
			status = PACKET_BAD_TAG;
	}
	wipe_stack();
	return status;
}
