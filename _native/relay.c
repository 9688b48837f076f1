/*
 * The data plane on epoll.  In the order in which data flows: events -> ready
 * queues -> receive -> transform -> deliver -> end of a flow -> end of a
 * connection.
 */
#include "relay.h"

#ifdef __linux__

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <linux/sockios.h>

#include "packet.h"
#include "wipe.h"

/* Packets in a batch: larger ones gain nothing measurable (DESIGN.md, "Measured"). */
#define BATCH_PACKETS 128
#define BATCH_PLAIN (BATCH_PACKETS * MESSAGE_MAX)
#define BATCH_CRYPT (BATCH_PACKETS * PACKET_BYTES)

#define EVENTS_PER_TURN 256

/* Events that are not of a relay; no relay has these addresses. */
#define TAG_CONTROL 0
#define TAG_LISTENER 2

/* How often we look whether a peer has acknowledged the rest; there is no event for it. */
#define DRAIN_POLL_MS 10

/* The two sockets of a connection, and the flow that reads from each. */
enum { PLAIN, CRYPT };

struct endpoint {
	int fd;
	unsigned readable : 1;		/* recv() may have something for us */
	unsigned writable : 1;		/* send() may take something */
	unsigned closing : 1;		/* the peer has sent its FIN: read on until it is reached */
	unsigned hung_up : 1;		/* the peer will never read again */
	unsigned failed : 1;		/* an error may be pending */
	unsigned local : 1;		/* a UNIX socket */
	unsigned ragged : 1;		/* a short read does not mean that it is empty */
};

enum flow_state {
	FLOW_OPEN,
	FLOW_ENDING,			/* nothing more to receive, perhaps something to send */
	FLOW_ENDED
};

struct flow {
	struct packet_key key;
	uint64_t number;		/* of the next packet */
	uint64_t carried;		/* payload bytes */
	uint8_t *unsent;		/* allocated while the sink is slow, else NULL */
	uint32_t unsent_start;
	uint32_t unsent_end;
	enum flow_state state;
};

struct link {
	struct link *next;
	struct link *previous;
};

struct relay {
	struct link link;		/* first, so that a link is its relay */
	struct link *list;		/* the one of the set's lists that it is in */
	uint64_t id;
	struct endpoint endpoint[2];
	struct flow flow[2];		/* flow[PLAIN] seals, flow[CRYPT] opens */
	int lost;			/* the endpoint that failed, or -1 */
	int cause;
	int error;
	uint64_t deadline_ms;		/* of draining */
	uint32_t partial_length;	/* of an incomplete packet from crypt */
	uint8_t partial[PACKET_BYTES];
};

struct relay_set {
	int epoll;
	int acceptable;			/* the listener had an event in the last turn */
	uint64_t drain_ms;
	uint64_t *total[2];		/* payload bytes by flow */
	struct link idle;		/* waiting for events */
	struct link ready;		/* have events, and little to move as far as we know */
	struct link bulk;		/* filled their last batch */
	struct link draining;		/* failed, delivering what was received before */
	struct link ended;		/* closed, to be reported */
	uint8_t received[BATCH_CRYPT];	/* what recv() gives */
	uint8_t transformed[BATCH_CRYPT];	/* what send() gets */
};

/* Lists. */

static void
list_init(struct link *list)
{
	list->next = list->previous = list;
}

static int
list_empty(const struct link *list)
{
	return list->next == list;
}

static void
list_append(struct link *list, struct link *link)
{
	link->next = list;
	link->previous = list->previous;
	list->previous->next = link;
	list->previous = link;
}

static void
list_remove(struct link *link)
{
	link->previous->next = link->next;
	link->next->previous = link->previous;
}

static void
move(struct relay *relay, struct link *list)
{
	list_remove(&relay->link);
	list_append(list, &relay->link);
	relay->list = list;
}

static struct relay *
list_first(struct link *list)
{
	assert(!list_empty(list));
	return (struct relay *)list->next;
}

static uint64_t
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Failure. */

/* The endpoint `side` has failed: deliver what it gave, and then end. */
static void
lose(struct relay *relay, int side, int cause, int error)
{
	struct flow *delivered = &relay->flow[side];
	struct flow *abandoned = &relay->flow[!side];

	if (relay->lost == side)
		return;
	abandoned->state = FLOW_ENDED;
	free(abandoned->unsent);
	abandoned->unsent = NULL;
	if (relay->lost >= 0)
		return;			/* the other one had failed before: all is abandoned now */
	relay->lost = side;
	relay->cause = cause;
	relay->error = error;
	relay->endpoint[side].readable = 1;	/* one more look, at least */
	if (delivered->state == FLOW_ENDED)
		delivered->state = FLOW_ENDING;	/* what it gave may still be on its way */
}

/* Receive. */

/*
 * Receive at most `room` bytes.  Returns their number; 0 if there is nothing now, or
 * nothing any more, in which case the flow has been set to end.
 */
static size_t
receive(struct relay *relay, int side, uint8_t *buffer, size_t room)
{
	struct endpoint *source = &relay->endpoint[side];
	ssize_t got;

	do {
		got = recv(source->fd, buffer, room, 0);
	} while (got < 0 && errno == EINTR);

	if (got > 0) {
		/* A stream socket that gave less than there was room for is empty, and
		 * will raise an event when it is not: no need to ask it again. */
		if ((size_t)got < room && !source->closing && !source->ragged)
			source->readable = 0;
		return (size_t)got;
	}
	source->readable = 0;
	if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) && relay->lost != side)
		return 0;
	relay->flow[side].state = FLOW_ENDING;
	if (got < 0)
		lose(relay, side, RELAY_SOCKET_ERROR, errno);
	else if (side == CRYPT && relay->partial_length > 0)
		lose(relay, side, RELAY_TRUNCATED, 0);
	return 0;
}

/* Transform. */

static size_t
receive_and_seal(struct relay_set *set, struct relay *relay)
{
	struct flow *flow = &relay->flow[PLAIN];
	size_t length = receive(relay, PLAIN, set->received, BATCH_PLAIN);
	size_t packets;

	if (length == 0)
		return 0;
	packets = packet_seal_many(&flow->key, flow->number, set->received, length, set->transformed);
	flow->number += packets;
	flow->carried += length;
	*set->total[PLAIN] += length;
	return packets * PACKET_BYTES;
}

static size_t
receive_and_open(struct relay_set *set, struct relay *relay)
{
	struct flow *flow = &relay->flow[CRYPT];
	size_t have = relay->partial_length;
	size_t got, count, length, opened;
	int status;

	memcpy(set->received, relay->partial, have);
	got = receive(relay, CRYPT, set->received + have, BATCH_CRYPT - have);
	if (got == 0)
		return 0;
	have += got;
	count = have / PACKET_BYTES;
	relay->partial_length = (uint32_t)(have % PACKET_BYTES);
	memcpy(relay->partial, set->received + count * PACKET_BYTES, relay->partial_length);
	if (count == 0)
		return 0;
	status = packet_open_many(&flow->key, flow->number, set->received, count,
	    set->transformed, &length, &opened);
	flow->number += opened;
	flow->carried += length;
	*set->total[CRYPT] += length;
	if (status != PACKET_OK) {
		flow->state = FLOW_ENDING;
		lose(relay, CRYPT,
		    status == PACKET_BAD_TAG ? RELAY_BAD_TAG : RELAY_BAD_LENGTH, 0);
	}
	return length;
}

/* Deliver. */

/* Send as much as the sink takes.  Returns how much that was; a failed sink takes nothing. */
static size_t
deliver(struct relay *relay, int side, const uint8_t *data, size_t length)
{
	struct endpoint *sink = &relay->endpoint[!side];
	ssize_t sent;

	do {
		sent = send(sink->fd, data, length, MSG_NOSIGNAL);
	} while (sent < 0 && errno == EINTR);

	if (sent < 0) {
		sink->writable = 0;
		if (errno != EAGAIN && errno != EWOULDBLOCK)
			lose(relay, !side, RELAY_SOCKET_ERROR, errno);
		return 0;
	}
	sink->writable = (size_t)sent == length;
	return (size_t)sent;
}

/* Keep what the sink did not take. */
static void
keep(struct relay *relay, int side, const uint8_t *data, size_t length)
{
	struct flow *flow = &relay->flow[side];

	flow->unsent = malloc(length);
	if (flow->unsent == NULL) {
		lose(relay, !side, RELAY_SOCKET_ERROR, ENOMEM);
		return;
	}
	memcpy(flow->unsent, data, length);
	flow->unsent_start = 0;
	flow->unsent_end = (uint32_t)length;
}

static void
deliver_unsent(struct relay *relay, int side)
{
	struct flow *flow = &relay->flow[side];

	flow->unsent_start += (uint32_t)deliver(relay, side, flow->unsent + flow->unsent_start,
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
can_receive(const struct relay *relay, int side)
{
	const struct flow *flow = &relay->flow[side];

	return flow->state == FLOW_OPEN && flow->unsent == NULL && relay->endpoint[side].readable;
}

/* Move one batch from endpoint `side` to the other. */
static void
pump(struct relay_set *set, struct relay *relay, int side)
{
	struct flow *flow = &relay->flow[side];
	size_t length, sent;

	if (flow->unsent != NULL && relay->endpoint[!side].writable)
		deliver_unsent(relay, side);
	if (!can_receive(relay, side))
		return;

	length = side == PLAIN ? receive_and_seal(set, relay) : receive_and_open(set, relay);
	if (length > 0) {
		sent = deliver(relay, side, set->transformed, length);
		if (sent < length && flow->state != FLOW_ENDED)
			keep(relay, side, set->transformed + sent, length - sent);
	}
}

/* Pass the end of a flow on, once everything before it has been sent. */
static void
finish_flow(struct relay *relay, int side)
{
	struct flow *flow = &relay->flow[side];

	if (flow->state != FLOW_ENDING || flow->unsent != NULL)
		return;
	flow->state = FLOW_ENDED;
	/* If the peer was faster and is gone, its reset is noticed on its own. */
	if (shutdown(relay->endpoint[!side].fd, SHUT_WR) != 0 && errno != ENOTCONN &&
	    errno != ECONNRESET && errno != EPIPE)
		lose(relay, !side, RELAY_SOCKET_ERROR, errno);
}

/* Ends of connections. */

static void
close_endpoint(struct endpoint *endpoint)
{
	if (endpoint->fd >= 0)
		close(endpoint->fd);
	endpoint->fd = -1;
}

static void
end(struct relay_set *set, struct relay *relay)
{
	static const struct linger graceful = { .l_onoff = 0, .l_linger = 0 };

	for (int side = PLAIN; side <= CRYPT; side++) {
		/* Sockets come to us so that closing them resets; only here is that taken back. */
		if (relay->cause == RELAY_CLEAN)
			setsockopt(relay->endpoint[side].fd, SOL_SOCKET, SO_LINGER,
			    &graceful, sizeof(graceful));
		close_endpoint(&relay->endpoint[side]);
		free(relay->flow[side].unsent);
		relay->flow[side].unsent = NULL;
		packet_key_wipe(&relay->flow[side].key);
	}
	move(relay, &set->ended);
}

/* Start to deliver the rest of a failed connection. */
static void
drain(struct relay_set *set, struct relay *relay)
{
	close_endpoint(&relay->endpoint[relay->lost]);
	relay->deadline_ms = now_ms() + set->drain_ms;
	move(relay, &set->draining);
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

static void
drain_all(struct relay_set *set)
{
	struct link *link, *next;
	uint64_t now = now_ms();

	for (link = set->draining.next; link != &set->draining; link = next) {
		struct relay *relay = (struct relay *)link;
		struct flow *flow = &relay->flow[relay->lost];
		struct endpoint *sink = &relay->endpoint[!relay->lost];

		next = link->next;
		if (flow->unsent != NULL)
			deliver_unsent(relay, relay->lost);
		if (now >= relay->deadline_ms || flow->state == FLOW_ENDED ||
		    (flow->unsent == NULL && acknowledged(sink)))
			end(set, relay);
	}
}

/* See what has become of a relay, and move it to the list where it belongs. */
static void
settle(struct relay_set *set, struct relay *relay)
{
	for (int side = PLAIN; side <= CRYPT; side++) {
		/* A UNIX peer that has closed will never read again. */
		if (relay->endpoint[side].hung_up && relay->flow[side].state == FLOW_ENDED &&
		    relay->flow[!side].unsent == NULL)
			relay->flow[!side].state = FLOW_ENDED;
	}
	if (relay->flow[PLAIN].state == FLOW_ENDED && relay->flow[CRYPT].state == FLOW_ENDED)
		end(set, relay);
	else if (relay->lost >= 0 && relay->flow[relay->lost].state == FLOW_ENDING)
		drain(set, relay);
	else if (can_receive(relay, PLAIN) || can_receive(relay, CRYPT))
		move(relay, &set->bulk);
	else
		move(relay, &set->idle);
}

/*
 * An error is reported once, by whatever asks first; a flow that has ended or
 * that waits for its sink does not ask.
 */
static void
check_error(struct relay *relay, int side)
{
	struct endpoint *endpoint = &relay->endpoint[side];
	socklen_t size = sizeof(int);
	int error = 0;

	if (!endpoint->failed)
		return;
	endpoint->failed = 0;
	if (getsockopt(endpoint->fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error != 0)
		lose(relay, side, RELAY_SOCKET_ERROR, error);
}

/* Serve one connection: a batch in each direction. */
static void
serve(struct relay_set *set, struct relay *relay)
{
	for (int side = PLAIN; side <= CRYPT; side++) {
		pump(set, relay, side);
		if (relay->lost < 0)
			finish_flow(relay, side);
		check_error(relay, side);
	}
	settle(set, relay);
}

/* Events. */

static void
take_event(struct relay_set *set, struct relay *relay, int side, uint32_t events)
{
	struct endpoint *endpoint = &relay->endpoint[side];

	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR | EPOLLPRI))
		endpoint->readable = 1;
	if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
		endpoint->writable = 1;
	if (events & (EPOLLRDHUP | EPOLLHUP))
		endpoint->closing = 1;
	if (events & EPOLLHUP)
		endpoint->hung_up = 1;
	if (events & EPOLLERR)
		endpoint->failed = 1;
	if (events & EPOLLPRI)		/* urgent data cuts reads short */
		endpoint->ragged = 1;
	if (relay->list == &set->idle)
		move(relay, &set->ready);
}

/*
 * Wait at most wait_ms, and serve what is ready.  Returns 1 if the caller is
 * wanted: the control descriptor or the listener is readable, or a signal has
 * arrived.
 */
static int
turn(struct relay_set *set, int wait_ms)
{
	struct epoll_event events[EVENTS_PER_TURN];
	int count = epoll_wait(set->epoll, events, EVENTS_PER_TURN, wait_ms);
	int wanted = count < 0;

	set->acceptable = 0;
	/* All events are taken before any relay is served, so that none can be of one that has
	 * ended in the meantime. */
	for (int i = 0; i < count; i++) {
		uintptr_t tagged = (uintptr_t)events[i].data.u64;

		if (tagged == TAG_CONTROL)
			wanted = 1;
		else if (tagged == TAG_LISTENER)
			wanted = set->acceptable = 1;
		else
			take_event(set, (struct relay *)(tagged & ~(uintptr_t)1),
			    (int)(tagged & 1), events[i].events);
	}
	while (!list_empty(&set->ready))
		serve(set, list_first(&set->ready));
	if (!list_empty(&set->bulk))
		serve(set, list_first(&set->bulk));
	return wanted;
}

size_t
relay_run(struct relay_set *set, int64_t timeout_ms, int *acceptable,
    struct relay_ended *ended, size_t room)
{
	uint64_t deadline = timeout_ms > 0 ? now_ms() + (uint64_t)timeout_ms : 0;
	size_t count = 0;

	for (;;) {
		int64_t wait = timeout_ms;
		int wanted;

		if (timeout_ms > 0) {
			uint64_t now = now_ms();

			wait = now < deadline ? (int64_t)(deadline - now) : 0;
		}
		if (!list_empty(&set->bulk) || !list_empty(&set->ended))
			wanted = turn(set, 0);
		else if (!list_empty(&set->draining) && (wait < 0 || wait > DRAIN_POLL_MS))
			wanted = turn(set, DRAIN_POLL_MS);
		else
			wanted = turn(set, wait > INT_MAX ? INT_MAX : (int)wait);
		if (!list_empty(&set->draining))
			drain_all(set);
		if (wanted || !list_empty(&set->ended) || wait == 0)
			break;
	}

	*acceptable = set->acceptable;
	while (count < room && !list_empty(&set->ended)) {
		struct relay *relay = list_first(&set->ended);

		ended[count++] = (struct relay_ended){
			.id = relay->id,
			.sealed = relay->flow[PLAIN].carried,
			.opened = relay->flow[CRYPT].carried,
			.cause = relay->cause,
			.error = relay->error,
		};
		list_remove(&relay->link);
		free(relay);
	}
	return count;
}

/* Beginning and end. */

int
relay_supported(void)
{
	return 1;
}

struct relay_set *
relay_set_new(int control, uint64_t drain_ms, uint64_t *sealed, uint64_t *opened)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u64 = TAG_CONTROL };
	struct relay_set *set = malloc(sizeof(*set));
	int saved;

	if (set == NULL)
		return NULL;
	set->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (set->epoll < 0 || epoll_ctl(set->epoll, EPOLL_CTL_ADD, control, &event) != 0) {
		saved = errno;
		if (set->epoll >= 0)
			close(set->epoll);
		free(set);
		errno = saved;
		return NULL;
	}
	set->drain_ms = drain_ms;
	set->total[PLAIN] = sealed;
	set->total[CRYPT] = opened;
	list_init(&set->idle);
	list_init(&set->ready);
	list_init(&set->bulk);
	list_init(&set->draining);
	list_init(&set->ended);
	return set;
}

int
relay_watch_listener(struct relay_set *set, int listener)
{
	struct epoll_event event = {
		.events = EPOLLIN | EPOLLEXCLUSIVE,
		.data.u64 = TAG_LISTENER,
	};

	return epoll_ctl(set->epoll, EPOLL_CTL_ADD, listener, &event) == 0 ? 0 : errno;
}

void
relay_unwatch_listener(struct relay_set *set, int listener)
{
	epoll_ctl(set->epoll, EPOLL_CTL_DEL, listener, NULL);
}

void
relay_yield_listener(struct relay_set *set, int listener)
{
	relay_unwatch_listener(set, listener);
	relay_watch_listener(set, listener);
}

void
relay_set_free(struct relay_set *set)
{
	assert(list_empty(&set->idle) && list_empty(&set->ready) && list_empty(&set->bulk));
	assert(list_empty(&set->draining) && list_empty(&set->ended));
	close(set->epoll);
	wipe(set, sizeof(*set));	/* the batch buffers hold plaintext */
	free(set);
}

int
relay_adopt(struct relay_set *set, uint64_t id, int plain, int crypt,
    const uint8_t E_seal[32], const uint8_t H_seal[32],
    const uint8_t E_open[32], const uint8_t H_open[32])
{
	struct relay *relay = calloc(1, sizeof(*relay));
	const int fds[2] = { plain, crypt };

	if (relay == NULL)
		return ENOMEM;
	for (int side = PLAIN; side <= CRYPT; side++) {
		struct endpoint *endpoint = &relay->endpoint[side];
		struct epoll_event event = {
			.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET,
			.data.u64 = (uintptr_t)relay | (unsigned)side,
		};
		socklen_t size = sizeof(int);
		int domain = 0;

		endpoint->fd = fds[side];
		getsockopt(fds[side], SOL_SOCKET, SO_DOMAIN, &domain, &size);
		/* A message with descriptors attached ends a read from a UNIX socket early. */
		endpoint->local = endpoint->ragged = domain == AF_UNIX;
		if (epoll_ctl(set->epoll, EPOLL_CTL_ADD, fds[side], &event) != 0) {
			int error = errno;

			if (side == CRYPT)
				epoll_ctl(set->epoll, EPOLL_CTL_DEL, plain, NULL);
			free(relay);
			return error;
		}
	}
	packet_key_init(&relay->flow[PLAIN].key, E_seal, H_seal);
	packet_key_init(&relay->flow[CRYPT].key, E_open, H_open);
	relay->id = id;
	relay->lost = -1;
	list_append(&set->idle, &relay->link);
	relay->list = &set->idle;
	return 0;
}

void
relay_abort_all(struct relay_set *set)
{
	struct link *const lists[] = { &set->idle, &set->ready, &set->bulk, &set->draining };

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		while (!list_empty(lists[i])) {
			struct relay *relay = list_first(lists[i]);

			relay->cause = RELAY_ABORTED;
			end(set, relay);
		}
	}
}

#else /* not Linux: the portable data plane serves */

#include <stdlib.h>

int
relay_supported(void)
{
	return 0;
}

struct relay_set *
relay_set_new(int control, uint64_t drain_ms, uint64_t *sealed, uint64_t *opened)
{
	(void)control, (void)drain_ms, (void)sealed, (void)opened;
	abort();
}

void
relay_set_free(struct relay_set *set)
{
	(void)set;
	abort();
}

int
relay_watch_listener(struct relay_set *set, int listener)
{
	(void)set, (void)listener;
	abort();
}

void
relay_unwatch_listener(struct relay_set *set, int listener)
{
	(void)set, (void)listener;
	abort();
}

void
relay_yield_listener(struct relay_set *set, int listener)
{
	(void)set, (void)listener;
	abort();
}

int
relay_adopt(struct relay_set *set, uint64_t id, int plain, int crypt,
    const uint8_t E_seal[32], const uint8_t H_seal[32],
    const uint8_t E_open[32], const uint8_t H_open[32])
{
	(void)set, (void)id, (void)plain, (void)crypt;
	(void)E_seal, (void)H_seal, (void)E_open, (void)H_open;
	abort();
}

size_t
relay_run(struct relay_set *set, int64_t timeout_ms, int *acceptable,
    struct relay_ended *ended, size_t room)
{
	(void)set, (void)timeout_ms, (void)acceptable, (void)ended, (void)room;
	abort();
}

void
relay_abort_all(struct relay_set *set)
{
	(void)set;
	abort();
}

#endif
