/*
 * Flows: what becomes of a connection after its handshake.  In the order in
 * which data goes: receive -> transform -> deliver -> end of a flow -> end of
 * the connection.
 */
#include "connection.h"

#ifdef __linux__

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/sockios.h>

#include "protocol/packet.h"

/* Failure. */

/* The endpoint `side` has failed: deliver what it gave, and then end. */
static void
lose(struct connection *connection, int side, int cause, int error)
{
	struct flow *delivered = &connection->flow[side];
	struct flow *abandoned = &connection->flow[!side];

	if (connection->lost == side)
		return;
	abandoned->state = FLOW_ENDED;
	free(abandoned->unsent);
	abandoned->unsent = NULL;
	if (connection->lost >= 0)
		return;			/* the other one had failed before: all is abandoned now */
	connection->lost = side;
	connection->cause = cause;
	connection->error = error;
	connection->endpoint[side].readable = 1;	/* one more look, at least */
	if (delivered->state == FLOW_ENDED)
		delivered->state = FLOW_ENDING;	/* what it gave may still be on its way */
}

/*
 * An error is reported once, by whatever asks first; a flow that has ended or
 * that waits for its sink does not ask.
 */
static void
check_error(struct connection *connection, int side)
{
	int error = endpoint_take_error(&connection->endpoint[side]);

	if (error != 0)
		lose(connection, side, PLANE_SOCKET_ERROR, error);
}

/* Receive. */

/*
 * Receive at most `room` bytes.  Returns their number; 0 if there is nothing now, or
 * nothing any more, in which case the flow has been set to end.
 */
static size_t
receive(struct connection *connection, int side, uint8_t *buffer, size_t room)
{
	struct endpoint *source = &connection->endpoint[side];
	ssize_t got;

	do {
		got = recv(source->fd, buffer, room, 0);
	} while (got < 0 && errno == EINTR);

	source->bulky = got > LIGHT_BYTES;
	if (got > 0) {
		/* A stream socket that gave less than there was room for is empty, and
		 * will raise an event when it is not: no need to ask it again. */
		if ((size_t)got < room && !source->closing && !source->ragged &&
		    connection->lost != side)
			source->readable = 0;
		return (size_t)got;
	}
	source->readable = 0;
	if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) && connection->lost != side)
		return 0;
	connection->flow[side].state = FLOW_ENDING;
	if (got < 0)
		lose(connection, side, PLANE_SOCKET_ERROR, errno);
	else if (side == CRYPT && connection->partial_length > 0)
		lose(connection, side, PLANE_TRUNCATED, 0);
	return 0;
}

/* Transform. */

static size_t
receive_and_seal(struct plane *plane, struct connection *connection)
{
	struct flow *flow = &connection->flow[PLAIN];
	size_t length = receive(connection, PLAIN, plane->received, BATCH_PLAIN);
	size_t packets;

	if (length == 0)
		return 0;
	packets = packet_seal_many(&flow->key, flow->number, plane->received, length, plane->transformed);
	flow->number += packets;
	flow->carried += length;
	plane->counters[PLANE_SEALED] += length;
	return packets * PACKET_BYTES;
}

static size_t
receive_and_open(struct plane *plane, struct connection *connection)
{
	struct flow *flow = &connection->flow[CRYPT];
	size_t have = connection->partial_length;
	size_t got, count, length, opened;
	int status;

	memcpy(plane->received, connection->partial, have);
	got = receive(connection, CRYPT, plane->received + have, BATCH_CRYPT - have);
	if (got == 0)
		return 0;
	have += got;
	count = have / PACKET_BYTES;
	connection->partial_length = (uint32_t)(have % PACKET_BYTES);
	memcpy(connection->partial, plane->received + count * PACKET_BYTES, connection->partial_length);
	if (count == 0)
		return 0;
	status = packet_open_many(&flow->key, flow->number, plane->received, count,
	    plane->transformed, &length, &opened);
	flow->number += opened;
	flow->carried += length;
	plane->counters[PLANE_OPENED] += length;
	if (status != PACKET_OK) {
		flow->state = FLOW_ENDING;
		lose(connection, CRYPT,
		    status == PACKET_BAD_TAG ? PLANE_BAD_TAG : PLANE_BAD_LENGTH, 0);
	}
	return length;
}

/* Deliver. */

/* Send as much as the sink takes.  Returns how much that was; a failed sink takes nothing. */
static size_t
deliver(struct connection *connection, int side, const uint8_t *data, size_t length)
{
	struct endpoint *sink = &connection->endpoint[!side];
	ssize_t sent;

	do {
		sent = send(sink->fd, data, length, MSG_NOSIGNAL);
	} while (sent < 0 && errno == EINTR);

	if (sent < 0) {
		sink->writable = 0;
		if (errno != EAGAIN && errno != EWOULDBLOCK)
			lose(connection, !side, PLANE_SOCKET_ERROR, errno);
		return 0;
	}
	sink->writable = (size_t)sent == length;
	if (connection->pipe->idle_ms != UINT64_MAX)
		connection->active_ms = now_ms();
	return (size_t)sent;
}

/* Keep what the sink did not take. */
static void
keep(struct connection *connection, int side, const uint8_t *data, size_t length)
{
	struct flow *flow = &connection->flow[side];

	flow->unsent = malloc(length);
	if (flow->unsent == NULL) {
		lose(connection, !side, PLANE_SOCKET_ERROR, ENOMEM);
		return;
	}
	memcpy(flow->unsent, data, length);
	flow->unsent_start = 0;
	flow->unsent_end = (uint32_t)length;
}

static void
deliver_unsent(struct connection *connection, int side)
{
	struct flow *flow = &connection->flow[side];

	flow->unsent_start += (uint32_t)deliver(connection, side, flow->unsent + flow->unsent_start,
	    flow->unsent_end - flow->unsent_start);
	/* a sink that fails takes the buffer with it */
	if (flow->unsent != NULL && flow->unsent_start == flow->unsent_end) {
		free(flow->unsent);
		flow->unsent = NULL;
	}
}

/* Flows. */

/* There may be something that this flow can move now. */
static int
can_receive(const struct connection *connection, int side)
{
	const struct flow *flow = &connection->flow[side];

	return flow->state == FLOW_OPEN && flow->unsent == NULL && connection->endpoint[side].readable;
}

/* Move one batch from endpoint `side` to the other. */
static void
pump(struct plane *plane, struct connection *connection, int side)
{
	struct flow *flow = &connection->flow[side];
	size_t length, sent;

	if (flow->unsent != NULL && connection->endpoint[!side].writable)
		deliver_unsent(connection, side);
	if (!can_receive(connection, side))
		return;

	length = side == PLAIN ? receive_and_seal(plane, connection) : receive_and_open(plane, connection);
	if (length > 0) {
		sent = deliver(connection, side, plane->transformed, length);
		if (sent < length && flow->state != FLOW_ENDED)
			keep(connection, side, plane->transformed + sent, length - sent);
	}
}

/* Pass the end of a flow on, once everything before it has been sent. */
static void
finish_flow(struct connection *connection, int side)
{
	struct flow *flow = &connection->flow[side];

	if (flow->state != FLOW_ENDING || flow->unsent != NULL)
		return;
	flow->state = FLOW_ENDED;
	if (connection->flow[!side].state == FLOW_ENDED)
		return;			/* closing the sockets, which is next, says the same */
	/* If the peer was faster and is gone, its reset is noticed on its own. */
	if (shutdown(connection->endpoint[!side].fd, SHUT_WR) != 0 && errno != ENOTCONN &&
	    errno != ECONNRESET && errno != EPIPE)
		lose(connection, !side, PLANE_SOCKET_ERROR, errno);
}

/* Go on delivering the rest of a failed connection, as long as its time lasts. */
static void
drain(struct plane *plane, struct connection *connection)
{
	uint64_t now = now_ms();

	if (connection->deadline_ms == 0) {
		connection->deadline_ms = due_in(connection->pipe->timeout_ms);
		timer_clear(&plane->timers, &connection->patience);	/* with silence */
	}
	if (connection->flow[connection->lost].state == FLOW_ENDING)
		endpoint_close(&connection->endpoint[connection->lost]);
	if (now >= connection->deadline_ms)
		connection_end(plane, connection);
	else if (can_receive(connection, connection->lost))
		connection_move(connection, &plane->bulk);
	else if (connection->list != &plane->draining)
		connection_move(connection, &plane->draining);
}

int
relay_has_moved(struct connection *connection)
{
	int before = connection->queued;
	int queued;

	connection->queued = 0;
	for (int side = PLAIN; side <= CRYPT; side++) {
		if (ioctl(connection->endpoint[side].fd, SIOCOUTQ, &queued) == 0)
			connection->queued += queued;
	}
	return connection->queued != before;
}

/* Has the peer's system received everything?  Of UNIX sockets that is always true. */
static int
acknowledged(const struct endpoint *endpoint)
{
	int pending;

	if (endpoint->local)
		return 1;
	return ioctl(endpoint->fd, SIOCOUTQ, &pending) != 0 || pending == 0;
}

void
relay_drain_all(struct plane *plane)
{
	struct link *link, *next;

	for (link = plane->draining.next; link != &plane->draining; link = next) {
		struct connection *connection = (struct connection *)link;
		struct flow *flow = &connection->flow[connection->lost];
		struct endpoint *sink = &connection->endpoint[!connection->lost];

		next = link->next;
		if (flow->unsent != NULL)
			deliver_unsent(connection, connection->lost);
		check_error(connection, !connection->lost);
		if (flow->state == FLOW_ENDED ||
		    (flow->state == FLOW_ENDING && flow->unsent == NULL && acknowledged(sink)))
			connection_end(plane, connection);
		else
			drain(plane, connection);
	}
}

/* See what has become of a relay, and move it to the list where it belongs. */
static void
settle(struct plane *plane, struct connection *connection)
{
	for (int side = PLAIN; side <= CRYPT; side++) {
		if (connection->endpoint[side].gone && connection->flow[side].state == FLOW_ENDED &&
		    connection->flow[!side].unsent == NULL)
			connection->flow[!side].state = FLOW_ENDED;
	}
	if (connection->flow[PLAIN].state == FLOW_ENDED && connection->flow[CRYPT].state == FLOW_ENDED)
		connection_end(plane, connection);
	else if (connection->lost >= 0)
		drain(plane, connection);
	else if (can_receive(connection, PLAIN) || can_receive(connection, CRYPT))
		connection_move(connection, &plane->bulk);
	else
		connection_move(connection, &plane->idle);
}

/* Serve one connection: a batch in each direction. */
void
relay_serve(struct plane *plane, struct connection *connection)
{
	for (int side = PLAIN; side <= CRYPT; side++) {
		pump(plane, connection, side);
		if (connection->lost < 0)
			finish_flow(connection, side);
		check_error(connection, side);
	}
	settle(plane, connection);
}

#endif
