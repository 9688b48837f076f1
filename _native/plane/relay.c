/*
 * Relaying: both flows, and what is left of them after a failure.
 */
#include "relay.h"

#ifdef __linux__

#include <sys/ioctl.h>

#include <linux/sockios.h>

#include "clock.h"

void
relay_begin(struct relay *relay, uint64_t now_ms)
{
	relay->flows.active_ms = now_ms;
}

/*
 * The system reports an error once, to the first call that asks; a flow that has ended or
 * that waits for its sink makes no call.
 */
static void
check_error(struct flows *flows, int side)
{
	int error = endpoint_take_error(&flows->endpoint[side]);

	if (error != 0)
		flows_fail(flows, side, PLANE_SOCKET_ERROR, error);
}

/* An endpoint has failed: has the rest been received, and is there time left to deliver it? */
static enum relay_result
drain(struct relay *relay)
{
	struct flows *flows = &relay->flows;
	int failed = flows_failed(flows);
	uint64_t now_ms = clock_now_ms();

	if (relay->deadline_ms == 0)
		relay->deadline_ms = clock_after(now_ms, flows->settings->timeout_ms);
	if (flows->flow[failed].state == FLOW_ENDING)
		endpoint_close(&flows->endpoint[failed]);
	if (now_ms >= relay->deadline_ms)
		return RELAY_ENDED;
	return flows_can_receive(flows, failed) ? RELAY_DRAINING_MORE : RELAY_DRAINING;
}

/* Move what the flow from endpoint `side` can move, and pass its end on. */
static inline void
step(struct flows *flows, int side, size_t packets, struct batch *batch, uint64_t *counters)
{
	struct flow *flow = &flows->flow[side];

	if (flow->unsent != NULL && flows->endpoint[!side].writable)
		flows_send_rest(flows, side);
	if (flows_can_receive(flows, side))
		flows_move(flows, side, packets, batch, counters);
	if (flow->state == FLOW_ENDING && flows_failed(flows) < 0)
		flows_finish(flows, side);
	check_error(flows, side);
}

/* How many bytes the system has still to deliver, or 0 if it cannot tell. */
static int
queued(const struct endpoint *endpoint)
{
	int bytes;

	return ioctl(endpoint->fd, SIOCOUTQ, &bytes) == 0 ? bytes : 0;
}

/*
 * A UNIX peer that has closed never reads again, so that with the flow from it, the flow to it ends.
 * Returns its side, or -1 if there is none for which the connection has to end.
 */
static inline int
left_side(const struct flows *flows)
{
	for (int side = PLAIN; side <= CRYPT; side++) {
		if (flows->endpoint[side].hung_up && flows->flow[side].state == FLOW_ENDED &&
		    flows->flow[!side].state != FLOW_ENDED && flows->flow[!side].unsent == NULL)
			return side;
	}
	return -1;
}

/*
 * Close the other socket only when its peer's system has what the peer on `side` gave before it left:
 * if more has come from there, closing resets, and would discard what is on its way.
 */
static enum relay_result
linger(struct relay *relay, int side)
{
	struct flows *flows = &relay->flows;
	const struct endpoint *sink = &flows->endpoint[!side];
	uint64_t now_ms;

	if (sink->local || queued(sink) == 0)
		return RELAY_ENDED;
	now_ms = clock_now_ms();
	if (relay->deadline_ms == 0)
		relay->deadline_ms = clock_after(now_ms, flows->settings->timeout_ms);
	return now_ms >= relay->deadline_ms ? RELAY_ENDED : RELAY_DRAINING;
}

enum relay_result
relay_step(struct relay *relay, size_t packets, struct batch *batch, uint64_t *counters)
{
	struct flows *flows = &relay->flows;
	const struct flow *flow = flows->flow;
	int left;

	step(flows, PLAIN, packets, batch, counters);
	step(flows, CRYPT, packets, batch, counters);
	if (flow[PLAIN].state == FLOW_ENDED && flow[CRYPT].state == FLOW_ENDED)
		return RELAY_ENDED;
	if (flows_failed(flows) >= 0)
		return drain(relay);
	left = left_side(flows);
	if (left >= 0)
		return linger(relay, left);
	return flows_can_receive(flows, PLAIN) || flows_can_receive(flows, CRYPT) ? RELAY_MORE :
	    RELAY_IDLE;
}

/* The same as relay_poll(), for a connection that a UNIX peer has left. */
static enum relay_result
poll_left(struct relay *relay, int side)
{
	check_error(&relay->flows, !side);
	return flows_failed(&relay->flows) < 0 ? linger(relay, side) : drain(relay);
}

enum relay_result
relay_poll(struct relay *relay)
{
	struct flows *flows = &relay->flows;
	int failed = flows_failed(flows);
	struct flow *flow;
	const struct endpoint *sink;

	if (failed < 0)
		return poll_left(relay, left_side(flows));
	flow = &flows->flow[failed];
	sink = &flows->endpoint[!failed];
	if (flow->unsent != NULL)
		flows_send_rest(flows, failed);
	check_error(flows, !failed);
	/* To a UNIX socket, everything that was sent has been delivered. */
	if (flow->state == FLOW_ENDED || (flow->state == FLOW_ENDING && flow->unsent == NULL &&
	    (sink->local || queued(sink) == 0)))
		return RELAY_ENDED;
	return drain(relay);
}

uint64_t
relay_silence_due(struct relay *relay)
{
	struct flows *flows = &relay->flows;
	uint64_t idle_ms = flows->settings->idle_ms;
	uint64_t idle_at_ms = clock_after(flows->active_ms, idle_ms);
	uint64_t now_ms = clock_now_ms();
	int before = relay->queued;

	if (now_ms < idle_at_ms)
		return idle_at_ms;
	relay->queued = queued(&flows->endpoint[PLAIN]) + queued(&flows->endpoint[CRYPT]);
	/* a slow peer is not silent */
	return relay->queued != before ? clock_after(now_ms, idle_ms) : 0;
}

#endif
