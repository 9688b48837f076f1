#ifndef PACKET_H
#define PACKET_H

/*
 * Packets of the spiped protocol, sealed and opened in batches (DESIGN.md,
 * "Packets").
 *
 * A packet is PACKET_BYTES long:
 *
 *   AES-256-CTR(E, message || zeros to 1024 || be32(length))   1028 bytes
 *   HMAC-SHA256(H, ciphertext || be64(number))                   32 bytes
 *
 * where the CTR block i of packet `number` is be64(number) || be64(i).
 *
 * The caller owns every buffer; nothing here allocates, blocks or sets errno.
 * Time and memory accesses depend on the number of packets and on lengths,
 * never on keys or on plaintext.
 */

#include <stddef.h>
#include <stdint.h>

#include "hmac_sha256.h"
#include "kernels/aes256ctr/aes256ctr.h"

#define MESSAGE_MAX 1024		/* payload bytes in a packet */
#define PACKET_CIPHERTEXT 1028
#define PACKET_BYTES 1060

/* The keys of one direction, expanded. */
struct packet_key {
	struct aes256_key aes;
	struct hmac_sha256_key hmac;
};

/* Expand E (AES-256) and H (HMAC-SHA256), 32 bytes each, into *key. */
void packet_key_init(struct packet_key *key, const uint8_t E[32], const uint8_t H[32]);

/* Erase *key. */
void packet_key_wipe(struct packet_key *key);

/*
 * Seal length > 0 bytes of plaintext into ceil(length / 1024) packets, numbered
 * from `number` on; all but the last carry 1024 bytes.  packets has room for
 * all of them and does not overlap plaintext.  Returns the number of packets.
 */
size_t packet_seal_many(const struct packet_key *key, uint64_t number,
    const uint8_t *plaintext, size_t length, uint8_t *packets);

enum packet_status {
	PACKET_OK = 0,
	PACKET_BAD_TAG = -1,
	PACKET_BAD_LENGTH = -2		/* authentic, but its length is 0 or > 1024 */
};

/*
 * Open count > 0 packets, numbered from `number` on, up to the first bad one.
 * The messages of those before it are written to plaintext, one directly
 * behind the other; *length is their total length and *opened their number.
 * plaintext has room for count * 1024 bytes and does not overlap packets; of
 * its contents beyond *length nothing derived from a packet remains.  Nothing
 * of a packet is decrypted before its tag has been verified.  Returns PACKET_OK
 * if all were good, else what is wrong with packet *opened.
 */
int packet_open_many(const struct packet_key *key, uint64_t number,
    const uint8_t *packets, size_t count, uint8_t *plaintext, size_t *length, size_t *opened);

#endif
