/*
 * Moving data through a flow, in the order in which it goes: receive, transform, deliver, end.
 */
#include "flow.h"

#ifdef __linux__

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "counters.h"
#include "secret/wipe.h"

/* What is unsent of flow[CRYPT] is plaintext. */
static void
free_unsent(struct flows *flows, int side)
{
	struct flow *flow = &flows->flow[side];

	if (side == CRYPT && flow->unsent != NULL)
		wipe(flow->unsent, flow->unsent_end);
	free(flow->unsent);
	flow->unsent = NULL;
	flows->entry->unsent[side] = 0;
}

void
flows_init(struct flows *flows, struct endpoint endpoint[2], struct plane_entry *entry,
    const struct plane_pipe_settings *settings)
{
	flows->endpoint = endpoint;
	flows->entry = entry;
	flows->settings = settings;
}

void
flows_release(struct flows *flows)
{
	for (int side = PLAIN; side <= CRYPT; side++) {
		free_unsent(flows, side);
		packet_key_wipe(&flows->flow[side].key);
	}
}

/* Failure. */

void
flows_fail(struct flows *flows, int side, enum plane_cause cause, int error)
{
	struct flow *delivered = &flows->flow[side];
	int failed = flows_failed(flows);

	if (failed == side)
		return;
	flows->flow[!side].state = FLOW_ENDED;
	free_unsent(flows, !side);
	if (failed >= 0)
		return;			/* the other one had failed before: nothing is left to deliver */
	flows->failure = (struct failure){ .cause = cause, .error = error, .side = side_of(side) };
	flows->endpoint[side].readable = 1;	/* one more look, at least */
	if (delivered->state == FLOW_ENDED)
		delivered->state = FLOW_ENDING;	/* what it gave may still be on its way */
}

/* Receive. */

/*
 * Receive at most `room` bytes.  Returns their number; 0 if there is nothing now, or
 * nothing any more, in which case the flow has been set to end.
 */
static size_t
receive(struct flows *flows, int side, uint8_t *buffer, size_t room)
{
	struct endpoint *source = &flows->endpoint[side];
	int emptied;
	ssize_t got = endpoint_receive(source, buffer, room, &emptied);

	source->bulky = got > LIGHT_PACKETS * PACKET_BYTES;
	if (got > 0) {
		if (emptied && flows_failed(flows) != side)
			source->readable = 0;
		return (size_t)got;
	}
	source->readable = 0;
	if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) && flows_failed(flows) != side)
		return 0;
	flows->flow[side].state = FLOW_ENDING;
	if (got < 0)
		flows_fail(flows, side, PLANE_SOCKET_ERROR, errno);
	else if (side == CRYPT && flows->partial_length > 0)
		flows_fail(flows, side, PLANE_TRUNCATED, 0);
	return 0;
}

/* Transform. */

static size_t
receive_and_seal(struct flows *flows, size_t most, struct batch *batch, uint64_t *counters)
{
	struct flow *flow = &flows->flow[PLAIN];
	size_t length = receive(flows, PLAIN, batch->received, most * MESSAGE_MAX);
	size_t packets;

	if (length == 0)
		return 0;
	packets = packet_seal_many(&flow->key, flow->number, batch->received, length,
	    batch->transformed);
	flow->number += packets;
	flows->entry->sealed += length;
	counters[PLANE_SEALED] += length;
	counters[PLANE_SEALED_PACKETS] += packets;
	return packets * PACKET_BYTES;
}

static size_t
receive_and_open(struct flows *flows, size_t most, struct batch *batch, uint64_t *counters)
{
	struct flow *flow = &flows->flow[CRYPT];
	size_t have = flows->partial_length;
	size_t got, count, length, opened;
	int status;

	memcpy(batch->received, flows->partial, have);
	got = receive(flows, CRYPT, batch->received + have, most * PACKET_BYTES - have);
	if (got == 0)
		return 0;
	have += got;
	count = have / PACKET_BYTES;
	flows->partial_length = (uint32_t)(have % PACKET_BYTES);
	memcpy(flows->partial, batch->received + count * PACKET_BYTES, flows->partial_length);
	if (count == 0)
		return 0;
	status = packet_open_many(&flow->key, flow->number, batch->received, count,
	    batch->transformed, &length, &opened);
	flow->number += opened;
	flows->entry->opened += length;
	counters[PLANE_OPENED] += length;
	counters[PLANE_OPENED_PACKETS] += opened;
	if (status != PACKET_OK) {
		flow->state = FLOW_ENDING;
		flows_fail(flows, CRYPT,
		    status == PACKET_BAD_TAG ? PLANE_BAD_TAG : PLANE_BAD_LENGTH, 0);
	}
	return length;
}

/* Deliver. */

/* Send as much as the sink takes.  Returns how much that was; a failed sink takes nothing. */
static size_t
deliver(struct flows *flows, int side, const uint8_t *data, size_t length)
{
	struct endpoint *sink = &flows->endpoint[!side];
	ssize_t sent;

	do {
		sent = send(sink->fd, data, length, MSG_NOSIGNAL);
	} while (sent < 0 && errno == EINTR);

	if (sent < 0) {
		sink->writable = 0;
		if (errno != EAGAIN && errno != EWOULDBLOCK)
			flows_fail(flows, !side, PLANE_SOCKET_ERROR, errno);
		return 0;
	}
	sink->writable = (size_t)sent == length;
	if (flows->settings->idle_ms != UINT64_MAX)
		flows->active_ms = clock_now_ms();
	return (size_t)sent;
}

/* Store what the sink did not take. */
static void
store_unsent(struct flows *flows, int side, const uint8_t *data, size_t length)
{
	struct flow *flow = &flows->flow[side];

	flow->unsent = malloc(length);
	if (flow->unsent == NULL) {
		flows_fail(flows, !side, PLANE_SOCKET_ERROR, ENOMEM);
		return;
	}
	memcpy(flow->unsent, data, length);
	flow->unsent_start = 0;
	flow->unsent_end = (uint32_t)length;
	flows->entry->unsent[side] = (uint32_t)length;
}

void
flows_send_rest(struct flows *flows, int side)
{
	struct flow *flow = &flows->flow[side];

	flow->unsent_start += (uint32_t)deliver(flows, side, flow->unsent + flow->unsent_start,
	    flow->unsent_end - flow->unsent_start);
	/* a sink that has failed has freed the buffer */
	if (flow->unsent == NULL)
		return;
	flows->entry->unsent[side] = flow->unsent_end - flow->unsent_start;
	if (flow->unsent_start == flow->unsent_end)
		free_unsent(flows, side);
}

void
flows_move(struct flows *flows, int side, size_t packets, struct batch *batch, uint64_t *counters)
{
	struct flow *flow = &flows->flow[side];
	size_t length, sent;

	length = side == PLAIN ? receive_and_seal(flows, packets, batch, counters) :
	    receive_and_open(flows, packets, batch, counters);
	if (length > 0) {
		sent = deliver(flows, side, batch->transformed, length);
		if (sent < length && flow->state != FLOW_ENDED)
			store_unsent(flows, side, batch->transformed + sent, length - sent);
	}
}

/* End. */

void
flows_finish(struct flows *flows, int side)
{
	struct flow *flow = &flows->flow[side];

	if (flow->unsent != NULL)
		return;
	flow->state = FLOW_ENDED;
	flows->entry->state = ENTRY_HALF_CLOSED;
	if (flows->flow[!side].state == FLOW_ENDED)
		return;			/* closing the sockets, which is next, has the same effect */
	/* If the peer has reset the connection meanwhile, an event tells that. */
	if (shutdown(flows->endpoint[!side].fd, SHUT_WR) != 0 && errno != ENOTCONN &&
	    errno != ECONNRESET && errno != EPIPE)
		flows_fail(flows, !side, PLANE_SOCKET_ERROR, errno);
}

/* The memory of a batch. */

void
batch_give_back(struct batch *batch)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	uintptr_t begin = ((uintptr_t)batch + page - 1) / page * page;
	uintptr_t end = (uintptr_t)(batch + 1) / page * page;

	wipe(batch, sizeof(*batch));	/* whole pages alone can be given back */
	madvise((void *)begin, end - begin, MADV_DONTNEED);
}

#endif
