#ifndef HANDSHAKE_H
#define HANDSHAKE_H

/*
 * The handshake (DESIGN.md, "Handshake") as a machine of its own: bytes in,
 * bytes out, no sockets and no randomness.  The counterpart of
 * spiped/proto/handshake.py, which is the one to read first.
 *
 * The owner sends what is in out, gives handshake_receive() at most
 * handshake_wanted() bytes, and calls handshake_compute() when that is due; and
 * calls handshake_wipe() at the end, whatever the end.
 */

#include <stddef.h>
#include <stdint.h>

#include "hmac_sha256.h"
#include "kernels/modexp/modexp.h"
#include "role.h"

#define NONCE_BYTES 32
#define HELLO_BYTES (GROUP14_BYTES + HMAC_SHA256_BYTES)	/* y || h */

enum step {
	STEP_NONCE,			/* receive the peer's nonce */
	STEP_COMMIT,			/* compute and send our y and its h */
	STEP_PEER,			/* receive the peer's y and h */
	STEP_AGREE,			/* compute y_SC and the session's keys */
	STEP_DONE
};

enum handshake_status {
	HANDSHAKE_OK = 0,
	HANDSHAKE_NO_KEY = -1,		/* the peer does not hold the key */
	HANDSHAKE_OUT_OF_RANGE = -2,	/* its y is not below p */
	HANDSHAKE_NO_PFS = -3,		/* it refuses forward secrecy, which we require */
	HANDSHAKE_SAME_ROLE = -4	/* it holds the key, but takes itself for C, as we do */
};

struct handshake {
	enum role role;
	enum step step;
	int weak;			/* send y = 1 */
	int require_pfs;
	uint8_t K[32];
	uint8_t nonce[2][NONCE_BYTES];	/* by role */
	uint8_t x[GROUP14_SECRET_BYTES];
	uint8_t dhmac[2][32];		/* by role */
	uint8_t y_peer[GROUP14_BYTES];
	size_t received;		/* bytes in in */
	uint8_t in[HELLO_BYTES];
	size_t out_length;		/* bytes to send, which the owner takes */
	uint8_t out[NONCE_BYTES + HELLO_BYTES];
	uint8_t keys[4][32];		/* E_C, H_C, E_S, H_S, when it is done */
};

/* Begin.  x is NULL on a weak side.  Our nonce is in out. */
void handshake_init(struct handshake *handshake, enum role role, const uint8_t K[32],
    const uint8_t nonce[NONCE_BYTES], const uint8_t *x, int require_pfs);

/* How many bytes the machine takes from the peer before its next step. */
size_t handshake_wanted(const struct handshake *handshake);

/* The next step is a computation (one exponentiation, or none on a weak side). */
int handshake_is_computing(const struct handshake *handshake);

/* What has been received of the peer in this handshake. */
enum heard {
	HEARD_NOTHING,
	HEARD_SOMETHING,		/* less than a nonce */
	HEARD_NONCE,
	HEARD_PROOF			/* that it holds the key */
};
enum heard handshake_heard(const struct handshake *handshake);

/* The peer has proved that it holds the key. */
int handshake_peer_is_authentic(const struct handshake *handshake);

/* Take 0 < length <= handshake_wanted() bytes from the peer.  Returns HANDSHAKE_OK, or why the
 * peer is refused, after which the machine is not used any more. */
int handshake_receive(struct handshake *handshake, const uint8_t *data, size_t length);

/* Do the computation that is due. */
void handshake_compute(struct handshake *handshake);

/* Erase everything. */
void handshake_wipe(struct handshake *handshake);

#endif
