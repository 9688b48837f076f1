/*
 * A handshake on an endpoint: draw secrets, send, receive, and hand over the keys.
 */
#ifdef __linux__

#include "negotiate.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "secret/secret.h"
#include "secret/secret_memory.h"
#include "secret/wipe.h"

static void
set_failure(struct failure *failure, enum plane_cause cause, int error)
{
	*failure = (struct failure){ .cause = cause, .error = error, .side = PLANE_SIDE_CRYPT };
}

/* Draw the secrets of a handshake and begin it.  Returns 0 or an errno value. */
static int
draw_and_init(struct handshake *handshake, const struct plane_pipe_settings *settings)
{
	uint8_t nonce[NONCE_BYTES], x[GROUP14_SECRET_BYTES];
	int error = random_fill(nonce, sizeof(nonce));

	if (error == 0 && !settings->weak)
		error = random_fill(x, sizeof(x));
	if (error == 0)
		handshake_init(handshake, settings->role, settings->K, nonce,
		    settings->weak ? NULL : x, settings->require_pfs);
	wipe(x, sizeof(x));
	return error;
}

struct handshake *
negotiate_begin(const struct plane_pipe_settings *settings, struct failure *failure)
{
	struct handshake *handshake = secret_alloc(sizeof(*handshake));
	int error = handshake == NULL ? ENOMEM : draw_and_init(handshake, settings);

	if (error == 0)
		return handshake;
	secret_free(handshake, sizeof(*handshake));
	set_failure(failure, PLANE_LOST, error);
	return NULL;
}

/* Send what there is to send, as much as goes.  Returns 0 and writes *failure if that has failed. */
static int
send_out(struct handshake *handshake, struct endpoint *crypt, struct failure *failure)
{
	while (handshake->out_length > 0) {
		ssize_t sent = send(crypt->fd, handshake->out, handshake->out_length, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			break;
		if (sent < 0) {
			set_failure(failure, PLANE_LOST, errno);
			return 0;
		}
		handshake->out_length -= (size_t)sent;
		memmove(handshake->out, handshake->out + sent, handshake->out_length);
	}
	return 1;
}

/* Receive some of what the machine wants.  Returns 1 if something has come, 0 if there is nothing
 * now; -1 and writes *failure if that has failed, or the machine refuses it. */
static int
receive_in(struct handshake *handshake, struct endpoint *crypt, struct failure *failure)
{
	static const enum plane_cause causes[] = {
		[-HANDSHAKE_NO_KEY] = PLANE_NO_KEY,
		[-HANDSHAKE_OUT_OF_RANGE] = PLANE_OUT_OF_RANGE,
		[-HANDSHAKE_NO_PFS] = PLANE_NO_PFS,
		[-HANDSHAKE_SAME_ROLE] = PLANE_SAME_ROLE,
	};
	uint8_t data[HELLO_BYTES];
	ssize_t got;
	int status;

	do {
		got = recv(crypt->fd, data, handshake_wanted(handshake), 0);
	} while (got < 0 && errno == EINTR);
	if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
		crypt->readable = 0;
		return 0;
	}
	if (got <= 0) {
		set_failure(failure, got == 0 ? PLANE_CLOSED : PLANE_LOST, got == 0 ? 0 : errno);
		return -1;
	}
	status = handshake_receive(handshake, data, (size_t)got);
	if (status != HANDSHAKE_OK) {
		set_failure(failure, causes[-status], 0);
		return -1;
	}
	return 1;
}

enum negotiate_result
negotiate_step(struct handshake *handshake, struct endpoint *crypt, struct failure *failure)
{
	int was_authentic = handshake_peer_is_authentic(handshake);
	int received;

	while (send_out(handshake, crypt, failure)) {
		if (handshake_is_computing(handshake)) {
			if (!handshake->weak)
				return NEGOTIATE_COMPUTE;
			handshake_compute(handshake);	/* there is nothing to it */
			continue;
		}
		if (handshake->step == STEP_DONE)
			return handshake->out_length == 0 ? NEGOTIATE_DONE : NEGOTIATE_WAIT;
		if (!crypt->readable)
			return NEGOTIATE_WAIT;
		received = receive_in(handshake, crypt, failure);
		if (received < 0)
			return NEGOTIATE_FAILED;
		if (received == 0)
			return NEGOTIATE_WAIT;
		if (!was_authentic && handshake_peer_is_authentic(handshake))
			return NEGOTIATE_AUTHENTIC;
	}
	return NEGOTIATE_FAILED;
}

void
negotiate_finish(struct handshake *handshake, struct packet_key *sealing,
    struct packet_key *opening)
{
	uint8_t (*ours)[32] = handshake->keys + (handshake->role == ROLE_C ? 0 : 2);
	uint8_t (*peers)[32] = handshake->keys + (handshake->role == ROLE_C ? 2 : 0);

	packet_key_init(sealing, ours[0], ours[1]);
	packet_key_init(opening, peers[0], peers[1]);
	negotiate_abandon(handshake);
}

void
negotiate_abandon(struct handshake *handshake)
{
	/* which erases it */
	secret_free(handshake, sizeof(*handshake));
}

#endif
