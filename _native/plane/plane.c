/*
 * The data plane on epoll: its lists, events and turns, and the beginning and
 * end of connections.  What happens in between is in connect.c, negotiate.c and
 * relay.c.
 */
#include "plane.h"

#ifdef __linux__

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "connection.h"
#include "protocol/handshake.h"
#include "secret/secret_memory.h"
#include "secret/wipe.h"

#define EVENTS_PER_TURN 256

/* How often we look whether a peer has acknowledged the rest; there is no event for it. */
#define DRAIN_POLL_MS 10

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

static struct connection *
list_first(struct link *list)
{
	assert(!list_empty(list));
	return (struct connection *)list->next;
}

void
connection_move(struct connection *connection, struct link *list)
{
	list_remove(&connection->link);
	list_append(list, &connection->link);
	connection->list = list;
}

uint64_t
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

uint64_t
due_in(uint64_t ms)
{
	return ms == UINT64_MAX ? ms : now_ms() + ms;
}

void
plane_count(struct plane *plane, enum plane_counter counter, uint64_t change)
{
	__atomic_fetch_add(&plane->counters[counter], change, __ATOMIC_SEQ_CST);
}

/* Endpoints. */

int
endpoint_open(struct plane *plane, struct connection *connection, int side, int fd, int domain)
{
	struct epoll_event event = {
		.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET,
		.data.u64 = (uintptr_t)connection | (unsigned)side,
	};

	if (epoll_ctl(plane->epoll, EPOLL_CTL_ADD, fd, &event) != 0)
		return errno;
	/* A message with descriptors attached ends a read from a UNIX socket early. */
	connection->endpoint[side] = (struct endpoint){
		.fd = fd,
		.local = domain == AF_UNIX,
		.ragged = domain == AF_UNIX,
	};
	return 0;
}

int
endpoint_take_error(struct endpoint *endpoint)
{
	socklen_t size = sizeof(int);
	int error = 0;

	if (!endpoint->failed)
		return 0;
	endpoint->failed = 0;
	if (getsockopt(endpoint->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0)
		return endpoint->fd < 0 ? 0 : errno;
	return error;
}

void
endpoint_close(struct endpoint *endpoint)
{
	if (endpoint->fd >= 0)
		close(endpoint->fd);
	*endpoint = (struct endpoint){ .fd = -1 };	/* nor are its events those of the next */
}

/* Beginning and end of connections. */

/* The family of an accepted socket, of whose peer we may know the address. */
static int
domain_of(int fd, const struct sockaddr_storage *peer, size_t peer_length)
{
	socklen_t size = sizeof(int);
	int domain = 0;

	if (peer_length >= sizeof(peer->ss_family))
		return peer->ss_family;
	getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size);
	return domain;
}

int
connection_begin(struct plane *plane, uint64_t id, int accepted, struct plane_pipe *pipe,
    const struct sockaddr_storage *peer, size_t peer_length, struct connection **begun)
{
	struct connection *connection = secret_alloc(sizeof(*connection));
	int error;

	if (connection == NULL)
		return ENOMEM;
	connection->id = id;
	connection->pipe = pipe;
	connection->endpoint[PLAIN].fd = connection->endpoint[CRYPT].fd = -1;
	connection->lost = -1;
	connection->attempt_timer.kind = TIMER_ATTEMPT;
	connection->patience.kind = TIMER_PATIENCE;
	if (peer != NULL && peer_length <= sizeof(connection->peer)) {	/* else a UNIX path: nobody */
		memcpy(&connection->peer, peer, peer_length);
		connection->peer_length = (uint32_t)peer_length;
	}
	/* two for each connection, one for the listening socket */
	error = timers_reserve(&plane->timers, 2 * (plane->connections + 1) + 1);
	if (error == 0)
		error = endpoint_open(plane, connection, accepted_side(connection), accepted,
		    domain_of(accepted, peer, peer_length));
	if (error != 0) {
		secret_free(connection, sizeof(*connection));
		return error;
	}
	connection->targets = pipe->targets;	/* of now, whenever it is that they are wanted */
	connection->targets->users++;
	plane->connections++;
	connection->list = &plane->idle;
	list_append(connection->list, &connection->link);
	list_append(&plane->strangers, &connection->stranger);
	plane_count(plane, PLANE_STRANGERS, 1);
	if (pipe->role == ROLE_C)
		connect_begin(plane, connection);
	else
		negotiate_begin(plane, connection);
	*begun = connection;
	return 0;
}

void
connection_vouch(struct plane *plane, struct connection *connection)
{
	if (connection->stranger.next == NULL)
		return;
	list_remove(&connection->stranger);
	connection->stranger.next = NULL;
	plane_count(plane, PLANE_STRANGERS, (uint64_t)-1);
}

void
connection_establish(struct plane *plane, struct connection *connection)
{
	struct endpoint *plain = &connection->endpoint[PLAIN];

	if (!connection->keyed || plain->fd < 0 || plain->connecting)
		return;
	connection->relaying = 1;
	plane_count(plane, PLANE_ESTABLISHED, 1);
	connection->active_ms = now_ms();
	timer_set(&plane->timers, &connection->patience, due_in(connection->pipe->idle_ms));
	connection_move(connection, &plane->ready);
}

/* Close the sockets and erase the secrets. */
static void
release(struct plane *plane, struct connection *connection)
{
	static const struct linger graceful = { .l_onoff = 0, .l_linger = 0 };

	for (int side = PLAIN; side <= CRYPT; side++) {
		/* Sockets come to us so that closing them resets; only here is that taken back. */
		if (connection->cause == PLANE_CLEAN)
			setsockopt(connection->endpoint[side].fd, SOL_SOCKET, SO_LINGER,
			    &graceful, sizeof(graceful));
		endpoint_close(&connection->endpoint[side]);
		free(connection->flow[side].unsent);
		connection->flow[side].unsent = NULL;
		packet_key_wipe(&connection->flow[side].key);
	}
	if (connection->handshake != NULL)
		handshake_wipe(connection->handshake);
	secret_free(connection->handshake, sizeof(*connection->handshake));
	connection->handshake = NULL;
	connection_vouch(plane, connection);
	timer_clear(&plane->timers, &connection->attempt_timer);
	timer_clear(&plane->timers, &connection->patience);
}

/* Forget a connection that has ended. */
static void
forget(struct plane *plane, struct connection *connection)
{
	targets_release(connection->targets);
	list_remove(&connection->link);
	secret_free(connection, sizeof(*connection));
	plane->connections--;
	plane_count(plane, PLANE_ACTIVE, (uint64_t)-1);
	accept_made_room(plane);
}

void
connection_end(struct plane *plane, struct connection *connection)
{
	release(plane, connection);
	connection_move(connection, &plane->ended);
}

void
connection_fail(struct plane *plane, struct connection *connection, int cause, int error)
{
	connection->cause = cause;
	connection->error = error;
	connection_end(plane, connection);
}

int
connection_has_ended(const struct plane *plane, const struct connection *connection)
{
	return connection->list == &plane->ended;
}

int
plane_carry(struct plane *plane, uint64_t id, int accepted, struct plane_pipe *pipe)
{
	struct connection *connection;
	int error;

	plane_count(plane, PLANE_ACTIVE, 1);
	error = connection_begin(plane, id, accepted, pipe, NULL, 0, &connection);
	if (error != 0)
		plane_count(plane, PLANE_ACTIVE, (uint64_t)-1);
	return error;
}

void
plane_abort_all(struct plane *plane)
{
	struct link *const lists[] = {
		&plane->idle, &plane->ready, &plane->computing, &plane->bulk, &plane->draining,
	};

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		while (!list_empty(lists[i]))
			connection_fail(plane, list_first(lists[i]), PLANE_ABORTED, 0);
	}
}

/* Forget those of whose end nobody wants to hear. */
static void
forget_untold(struct plane *plane)
{
	struct link *link, *next;

	if (plane->accepting.service.tell_clean)
		return;
	for (link = plane->ended.next; link != &plane->ended; link = next) {
		struct connection *connection = (struct connection *)link;

		next = link->next;
		if (connection->cause == PLANE_CLEAN && connection->id == 0) {
			plane_count(plane, PLANE_ENDED_CLEAN, 1);
			forget(plane, connection);
		}
	}
}

/* Take the oldest ending, and forget the connection with it. */
static void
take_ending(struct plane *plane, struct plane_ending *ending)
{
	struct connection *connection = list_first(&plane->ended);

	ending->id = connection->id;
	ending->role = connection->pipe->role;
	ending->sealed = connection->flow[PLAIN].carried;
	ending->opened = connection->flow[CRYPT].carried;
	ending->cause = connection->cause;
	ending->error = connection->error;
	ending->peer.length = connection->peer_length;
	memcpy(ending->peer.bytes, &connection->peer, connection->peer_length);
	ending->target.length = 0;
	if ((ending->cause == PLANE_UNREACHED || ending->cause == PLANE_UNANSWERED) &&
	    connection->attempt < connection->targets->count)
		ending->target = connection->targets->address[connection->attempt];
	forget(plane, connection);
}

/* Events. */

static void
take_event(struct plane *plane, struct connection *connection, int side, uint32_t events)
{
	struct endpoint *endpoint = &connection->endpoint[side];
	int bulky;

	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR | EPOLLPRI))
		endpoint->readable = 1;
	if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
		endpoint->writable = 1;
	if (events & (EPOLLRDHUP | EPOLLHUP))
		endpoint->closing = 1;
	if ((events & EPOLLHUP) && endpoint->local)
		endpoint->gone = 1;
	if (events & EPOLLERR)
		endpoint->failed = 1;
	if (events & EPOLLPRI)		/* urgent data cuts reads short */
		endpoint->ragged = 1;
	bulky = connection->endpoint[PLAIN].bulky || connection->endpoint[CRYPT].bulky;
	if (connection->list == &plane->idle)
		connection_move(connection, bulky ? &plane->bulk : &plane->ready);
	/* Whoever is asked again only to be sure need not wait among the bulky for that. */
	else if (connection->list == &plane->bulk && !bulky)
		connection_move(connection, &plane->ready);
}

/* Serve one connection, whatever it is about. */
static void
serve(struct plane *plane, struct connection *connection)
{
	struct endpoint *plain = &connection->endpoint[PLAIN];
	struct endpoint *crypt = &connection->endpoint[CRYPT];
	int error;

	if (connection->relaying) {
		relay_serve(plane, connection);
		return;
	}
	connection_move(connection, &plane->idle);
	if (plain->connecting || crypt->connecting)
		connect_go_on(plane, connection);
	if (connection->relaying || connection_has_ended(plane, connection))
		return;
	if (!plain->connecting && (error = endpoint_take_error(plain)) != 0)
		connection_fail(plane, connection, PLANE_PLAIN_LOST, error);
	else if (connection->handshake != NULL)
		negotiate(plane, connection);
	else if (!crypt->connecting && (error = endpoint_take_error(crypt)) != 0)
		connection_fail(plane, connection, PLANE_LOST, error);
}

/* Do the exponentiation for which a handshake waits, and go on. */
static void
compute(struct plane *plane, struct connection *connection)
{
	handshake_compute(connection->handshake);
	serve(plane, connection);
}

/* Has a handshake taken too long, or has nothing been carried for too long? */
static void
check_patience(struct plane *plane, struct connection *connection)
{
	uint64_t idle_until;

	if (!connection->relaying) {
		connection_fail(plane, connection, PLANE_TOO_SLOW, 0);
		return;
	}
	idle_until = connection->active_ms + connection->pipe->idle_ms;
	if (now_ms() < idle_until)
		timer_set(&plane->timers, &connection->patience, idle_until);
	else if (relay_has_moved(connection))	/* a slow peer is not a silent one */
		timer_set(&plane->timers, &connection->patience, due_in(connection->pipe->idle_ms));
	else
		connection_fail(plane, connection, PLANE_IDLE, 0);
}

/* What is due has come. */
static void
run_timers(struct plane *plane)
{
	struct timer *timer = timers_first(&plane->timers);
	uint64_t now = timer != NULL ? now_ms() : 0;

	for (; timer != NULL && timer->due_ms <= now; timer = timers_first(&plane->timers)) {
		char *address = (char *)timer;

		timer_clear(&plane->timers, timer);
		if (timer->kind == TIMER_PAUSE)
			accept_again(plane);
		else if (timer->kind == TIMER_ATTEMPT)
			connect_timed_out(plane, (struct connection *)(void *)(address -
			    offsetof(struct connection, attempt_timer)));
		else
			check_patience(plane, (struct connection *)(void *)(address -
			    offsetof(struct connection, patience)));
	}
}

/* Wait at most wait_ms, and serve what is ready.  Returns a set of enum plane_wanted. */
static int
turn(struct plane *plane, int wait_ms)
{
	struct epoll_event events[EVENTS_PER_TURN];
	int count = epoll_wait(plane->epoll, events, EVENTS_PER_TURN, wait_ms);
	int wanted = count < 0 ? PLANE_INTERRUPTED : 0;

	/* All events are taken before anything is served, so that none can be of a connection
	 * that has ended in the meantime. */
	for (int i = 0; i < count; i++) {
		uintptr_t tagged = (uintptr_t)events[i].data.u64;

		if (tagged == TAG_CONTROL)
			wanted |= PLANE_CONTROL;
		else if (tagged == TAG_LISTENER)
			plane->accepting.acceptable = 1;
		else if (tagged == TAG_NUDGE)
			accept_nudged(plane);
		else
			take_event(plane, (struct connection *)(tagged & ~(uintptr_t)1),
			    (int)(tagged & 1), events[i].events);
	}
	if (plane->accepting.acceptable)
		accept_some(plane);
	while (!list_empty(&plane->ready))
		serve(plane, list_first(&plane->ready));
	if (!list_empty(&plane->bulk)) {
		serve(plane, list_first(&plane->bulk));
		/* Whoever is woken for a small message should not have to wait for a tick of
		 * the system's clock until it is our time that is up. */
		sched_yield();
	}
	if (!list_empty(&plane->computing))
		compute(plane, list_first(&plane->computing));
	if (!list_empty(&plane->draining) && now_ms() >= plane->drain_due_ms) {
		relay_drain_all(plane);
		plane->drain_due_ms = due_in(DRAIN_POLL_MS);
	}
	run_timers(plane);
	forget_untold(plane);
	wanted |= plane->accepting.wanted;
	plane->accepting.wanted = 0;
	return wanted;
}

/* There is something to do that no event will announce. */
static int
is_busy(const struct plane *plane)
{
	return !list_empty(&plane->ready) || !list_empty(&plane->bulk) ||
	    !list_empty(&plane->computing) || !list_empty(&plane->ended);
}

/* How long to wait for events, if the caller would wait until `deadline`. */
static int
time_to_wait(const struct plane *plane, uint64_t deadline)
{
	const struct timer *timer = timers_first(&plane->timers);
	uint64_t now;

	if (is_busy(plane))
		return 0;
	if (timer != NULL && timer->due_ms < deadline)
		deadline = timer->due_ms;
	if (deadline == UINT64_MAX && list_empty(&plane->draining))
		return -1;
	now = now_ms();
	if (!list_empty(&plane->draining) && deadline > plane->drain_due_ms)
		deadline = plane->drain_due_ms;
	if (deadline <= now)
		return 0;
	return deadline - now < INT_MAX ? (int)(deadline - now) : INT_MAX;
}

size_t
plane_run(struct plane *plane, int64_t timeout_ms, int *wanted,
    struct plane_ending *endings, size_t room)
{
	uint64_t deadline = timeout_ms < 0 ? UINT64_MAX : timeout_ms == 0 ? 0 :
	    now_ms() + (uint64_t)timeout_ms;
	size_t count = 0;

	do {
		*wanted = turn(plane, time_to_wait(plane, deadline));
	} while (*wanted == 0 && list_empty(&plane->ended) &&
	    (deadline == UINT64_MAX || (deadline > 0 && now_ms() < deadline)));

	while (count < room && !list_empty(&plane->ended))
		take_ending(plane, &endings[count++]);
	return count;
}

/* Addresses and pipes. */

void
plane_address(struct plane_address *address, int family, const uint8_t *bytes, size_t length,
    uint16_t port, uint32_t flow, uint32_t scope)
{
	union {
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
		struct sockaddr_un un;
	} socket_address;

	memset(&socket_address, 0, sizeof(socket_address));
	if (family == AF_INET) {
		socket_address.in.sin_family = AF_INET;
		socket_address.in.sin_port = htons(port);
		assert(length == sizeof(socket_address.in.sin_addr));
		memcpy(&socket_address.in.sin_addr, bytes, length);
		address->length = sizeof(socket_address.in);
	} else if (family == AF_INET6) {
		socket_address.in6.sin6_family = AF_INET6;
		socket_address.in6.sin6_port = htons(port);
		socket_address.in6.sin6_flowinfo = htonl(flow);
		socket_address.in6.sin6_scope_id = scope;
		assert(length == sizeof(socket_address.in6.sin6_addr));
		memcpy(&socket_address.in6.sin6_addr, bytes, length);
		address->length = sizeof(socket_address.in6);
	} else {
		socket_address.un.sun_family = AF_UNIX;
		assert(length < sizeof(socket_address.un.sun_path));
		memcpy(socket_address.un.sun_path, bytes, length);
		address->length = (uint32_t)(offsetof(struct sockaddr_un, sun_path) + length + 1);
	}
	memcpy(address->bytes, &socket_address, address->length);
}

struct plane_pipe *
plane_pipe_new(enum role role, const uint8_t K[32], int weak, int require_pfs, int keepalive,
    uint64_t timeout_ms, uint64_t idle_ms, const struct plane_address *bind)
{
	struct plane_pipe *pipe = calloc(1, sizeof(*pipe));

	if (pipe == NULL)
		return NULL;
	pipe->role = role;
	pipe->weak = weak;
	pipe->require_pfs = require_pfs;
	pipe->keepalive = keepalive;
	pipe->timeout_ms = timeout_ms;
	pipe->idle_ms = idle_ms;
	if (bind != NULL)
		pipe->bind = *bind;
	pipe->K = K;
	if (plane_pipe_retarget(pipe, NULL, 0) != 0) {
		plane_pipe_free(pipe);
		return NULL;
	}
	return pipe;
}

int
plane_pipe_retarget(struct plane_pipe *pipe, const struct plane_address *targets, size_t count)
{
	struct targets *list = malloc(sizeof(*list) + count * sizeof(list->address[0]));

	if (list == NULL)
		return ENOMEM;
	list->users = 1;
	list->count = count;
	if (count > 0)
		memcpy(list->address, targets, count * sizeof(list->address[0]));
	targets_release(pipe->targets);
	pipe->targets = list;
	return 0;
}

void
plane_pipe_free(struct plane_pipe *pipe)
{
	targets_release(pipe->targets);
	free(pipe);
}

/* Beginning and end of the plane. */

int
plane_supported(void)
{
	return 1;
}

struct plane *
plane_new(int control, uint64_t *counters)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u64 = TAG_CONTROL };
	struct plane *plane = malloc(sizeof(*plane));
	int saved;

	if (plane == NULL)
		return NULL;
	plane->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (plane->epoll < 0 || epoll_ctl(plane->epoll, EPOLL_CTL_ADD, control, &event) != 0) {
		saved = errno;
		if (plane->epoll >= 0)
			close(plane->epoll);
		free(plane);
		errno = saved;
		return NULL;
	}
	plane->counters = counters;
	plane->connections = 0;
	plane->drain_due_ms = 0;
	plane->accepting = (struct accepting){ .service.listener = -1 };
	plane->timers = (struct timers){ 0 };
	list_init(&plane->idle);
	list_init(&plane->ready);
	list_init(&plane->computing);
	list_init(&plane->bulk);
	list_init(&plane->draining);
	list_init(&plane->ended);
	list_init(&plane->strangers);
	return plane;
}

void
plane_free(struct plane *plane)
{
	assert(plane->connections == 0);
	timers_free(&plane->timers);
	close(plane->epoll);
	wipe(plane, sizeof(*plane));	/* the batch buffers hold plaintext */
	free(plane);
}

#endif
