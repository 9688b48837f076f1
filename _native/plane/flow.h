#ifndef PLANE_FLOW_H
#define PLANE_FLOW_H

/*
 * The two flows of an established connection: data from one endpoint, sealed or opened, to the other.
 *
 * flow[PLAIN] reads from the plain endpoint and seals, flow[CRYPT] reads from the crypt one and opens.
 * When an endpoint fails, nothing more is sent to it, but what it gave before is still delivered.
 */

#include <stddef.h>
#include <stdint.h>

#include "endpoint.h"
#include "entry.h"
#include "failure.h"
#include "pipe.h"
#include "protocol/packet.h"

/* Packets in a batch: larger ones gain nothing measurable (DESIGN.md, "Measured"). */
#define BATCH_PACKETS 128
#define BATCH_PLAIN (BATCH_PACKETS * MESSAGE_MAX)
#define BATCH_CRYPT (BATCH_PACKETS * PACKET_BYTES)

/* What is moved at once of a connection that has little to move, as far as is known. */
#define LIGHT_PACKETS 16

/* Where a batch is worked on, shared by all connections of a plane: its contents last for one call. */
struct batch {
	uint8_t received[BATCH_CRYPT];	/* what recv() gives */
	uint8_t transformed[BATCH_CRYPT];	/* what send() gets */
};

enum flow_state {
	FLOW_OPEN,
	FLOW_ENDING,			/* nothing more to receive, perhaps something to send */
	FLOW_ENDED
};

struct flow {
	struct packet_key key;
	uint64_t number;		/* of the next packet */
	uint8_t *unsent;		/* allocated while the sink is slow, else NULL */
	uint32_t unsent_start;
	uint32_t unsent_end;
	enum flow_state state;
};

struct flows {
	struct flow flow[2];
	struct endpoint *endpoint;	/* the connection's two */
	struct plane_entry *entry;	/* where what is carried is told */
	const struct plane_pipe_settings *settings;
	uint64_t active_ms;		/* when something was carried, if there is a limit to silence */
	struct failure failure;		/* of an endpoint; PLANE_CLEAN if none has failed */
	uint32_t partial_length;	/* of an incomplete packet from crypt */
	uint8_t partial[PACKET_BYTES];
};

/* Make the flows between two endpoints, without keys yet, in memory that is zero. */
void flows_init(struct flows *flows, struct endpoint endpoint[2], struct plane_entry *entry,
    const struct plane_pipe_settings *settings);

/* Erase the keys and what is unsent. */
void flows_release(struct flows *flows);

/*
 * Endpoint `side` has failed: the flow to it ends at once, and the flow from it when what it gave has
 * been delivered.  If both endpoints fail, the first failure counts, and nothing more is delivered.
 */
void flows_fail(struct flows *flows, int side, enum plane_cause cause, int error);

/* Give the memory of a batch back to the system until it is used again. */
void batch_give_back(struct batch *batch);

/* Move at most so many packets (<= BATCH_PACKETS) from endpoint `side` to the other, and count what they
 * carry.  flows_can_receive() holds. */
void flows_move(struct flows *flows, int side, size_t packets, struct batch *batch,
    uint64_t *counters);

/* Send what is unsent of the flow from endpoint `side`, of which there must be something. */
void flows_send_rest(struct flows *flows, int side);

/* Pass the end of a flow on that is FLOW_ENDING, once everything before it has been sent. */
void flows_finish(struct flows *flows, int side);

/* The place of the endpoint that has failed, or -1. */
static inline int
flows_failed(const struct flows *flows)
{
	return (int)flows->failure.side - (int)PLANE_SIDE_PLAIN;
}

/* 1 if there may be something that the flow from endpoint `side` can move now, else 0. */
static inline int
flows_can_receive(const struct flows *flows, int side)
{
	const struct flow *flow = &flows->flow[side];

	return flow->state == FLOW_OPEN && flow->unsent == NULL && flows->endpoint[side].readable;
}

#endif
