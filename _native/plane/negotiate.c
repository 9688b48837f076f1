/*
 * Handshakes on the sockets of the data plane.  What the machine says is sent,
 * what it wants is received and not a byte more: what follows belongs to the
 * relay.
 */
#ifdef __linux__

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "connection.h"
#include "protocol/handshake.h"
#include "secret/secret.h"
#include "secret/secret_memory.h"
#include "secret/wipe.h"

/* Draw the secrets of a handshake and begin it.  Returns 0 or an errno value. */
static int
draw_and_init(struct handshake *handshake, const struct plane_pipe *pipe)
{
	uint8_t nonce[NONCE_BYTES], x[GROUP14_SECRET_BYTES];
	int error = random_fill(nonce, sizeof(nonce));

	if (error == 0 && !pipe->weak)
		error = random_fill(x, sizeof(x));
	if (error == 0)
		handshake_init(handshake, pipe->role, pipe->K, nonce, pipe->weak ? NULL : x,
		    pipe->require_pfs);
	wipe(x, sizeof(x));
	return error;
}

void
negotiate_begin(struct plane *plane, struct connection *connection)
{
	struct handshake *handshake = secret_alloc(sizeof(*handshake));
	int error = handshake == NULL ? ENOMEM : draw_and_init(handshake, connection->pipe);

	if (error != 0) {
		secret_free(handshake, sizeof(*handshake));
		connection_fail(plane, connection, PLANE_LOST, error);
		return;
	}
	connection->handshake = handshake;
	timer_set(&plane->timers, &connection->patience, due_in(connection->pipe->timeout_ms));
	connection_move(connection, &plane->ready);	/* there is a nonce to be sent */
}

/* Send what there is to send.  Returns 0 if the connection has ended over it. */
static int
send_out(struct plane *plane, struct connection *connection)
{
	struct handshake *handshake = connection->handshake;
	struct endpoint *crypt = &connection->endpoint[CRYPT];

	while (handshake->out_length > 0) {
		ssize_t sent = send(crypt->fd, handshake->out, handshake->out_length, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			break;
		if (sent < 0) {
			connection_fail(plane, connection, PLANE_LOST, errno);
			return 0;
		}
		handshake->out_length -= (size_t)sent;
		memmove(handshake->out, handshake->out + sent, handshake->out_length);
	}
	return 1;
}

/* Receive what the machine wants.  Returns 0 if there is nothing now, or the connection has ended. */
static int
receive_in(struct plane *plane, struct connection *connection)
{
	static const int causes[] = {
		[-HANDSHAKE_NO_KEY] = PLANE_NO_KEY,
		[-HANDSHAKE_OUT_OF_RANGE] = PLANE_OUT_OF_RANGE,
		[-HANDSHAKE_NO_PFS] = PLANE_NO_PFS,
	};
	struct handshake *handshake = connection->handshake;
	struct endpoint *crypt = &connection->endpoint[CRYPT];
	int was_authentic = handshake_peer_is_authentic(handshake);
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
		connection_fail(plane, connection, got == 0 ? PLANE_CLOSED : PLANE_LOST, got == 0 ? 0 : errno);
		return 0;
	}
	status = handshake_receive(handshake, data, (size_t)got);
	if (status != HANDSHAKE_OK) {
		connection_fail(plane, connection, causes[-status], 0);
		return 0;
	}
	if (!was_authentic && handshake_peer_is_authentic(handshake)) {
		connection_vouch(plane, connection);
		if (connection->endpoint[PLAIN].fd < 0)
			connect_begin(plane, connection);
	}
	return !connection_has_ended(plane, connection);
}

/* The handshake is complete: keep what it was for. */
static void
complete(struct plane *plane, struct connection *connection)
{
	struct handshake *handshake = connection->handshake;
	uint8_t (*ours)[32] = handshake->keys + (handshake->role == ROLE_C ? 0 : 2);
	uint8_t (*peers)[32] = handshake->keys + (handshake->role == ROLE_C ? 2 : 0);

	packet_key_init(&connection->flow[PLAIN].key, ours[0], ours[1]);
	packet_key_init(&connection->flow[CRYPT].key, peers[0], peers[1]);
	handshake_wipe(handshake);
	secret_free(handshake, sizeof(*handshake));
	connection->handshake = NULL;
	connection->keyed = 1;
	timer_clear(&plane->timers, &connection->patience);
	connection_establish(plane, connection);
}

void
negotiate(struct plane *plane, struct connection *connection)
{
	struct handshake *handshake = connection->handshake;
	struct endpoint *crypt = &connection->endpoint[CRYPT];
	int error = endpoint_take_error(crypt);

	if (error != 0) {
		connection_fail(plane, connection, PLANE_LOST, error);
		return;
	}
	connection_move(connection, &plane->idle);
	while (send_out(plane, connection)) {
		if (handshake_is_computing(handshake) && !handshake->weak) {
			connection_move(connection, &plane->computing);
			return;
		}
		if (handshake_is_computing(handshake)) {	/* weak: there is nothing to it */
			handshake_compute(handshake);
		} else if (handshake->step == STEP_DONE) {
			if (handshake->out_length == 0)
				complete(plane, connection);
			return;
		} else if (!crypt->readable || !receive_in(plane, connection)) {
			return;
		}
	}
}

#endif
