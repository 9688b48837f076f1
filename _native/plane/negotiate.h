#ifndef PLANE_NEGOTIATE_H
#define PLANE_NEGOTIATE_H

/*
 * A handshake on an endpoint: what the machine (protocol/handshake.h) has to say is sent, and exactly
 * as many bytes are received as it wants, because what follows belongs to the relay.
 *
 * The owner holds what negotiate_begin() has returned, calls negotiate_step() at first and whenever
 * there are events of the endpoint, and ends with negotiate_finish() after NEGOTIATE_DONE or with
 * negotiate_abandon().
 */

#include "endpoint.h"
#include "failure.h"
#include "pipe.h"
#include "protocol/handshake.h"
#include "protocol/packet.h"

enum negotiate_result {
	NEGOTIATE_WAIT,			/* for events of the endpoint */
	NEGOTIATE_COMPUTE,		/* handshake_compute() is due, and takes long; then go on */
	NEGOTIATE_AUTHENTIC,		/* the peer has just proved that it holds the key: go on */
	NEGOTIATE_DONE,			/* there are keys, and everything has been sent */
	NEGOTIATE_FAILED		/* *failure says why */
};

/* Begin a handshake.  Returns NULL and writes *failure if there is no memory or no entropy. */
struct handshake *negotiate_begin(const struct plane_pipe_settings *settings,
    struct failure *failure);

/* Go on as far as that is possible now.  Writes *failure with NEGOTIATE_FAILED. */
enum negotiate_result negotiate_step(struct handshake *handshake, struct endpoint *crypt,
    struct failure *failure);

/* Expand the keys of a complete handshake, for what we seal and for what we open; erase and free it. */
void negotiate_finish(struct handshake *handshake, struct packet_key *sealing,
    struct packet_key *opening);

/* Erase and free a handshake, complete or not; NULL is fine. */
void negotiate_abandon(struct handshake *handshake);

#endif
