/*
 * The data plane on epoll: its lists, events and turns, and the beginning and
 * end of connections.  What happens in between is in negotiate.c and relay.c.
 */
#include "plane.h"

#ifdef __linux__

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "connection.h"
#include "secret.h"
#include "secret_memory.h"
#include "wipe.h"

#define EVENTS_PER_TURN 256

/* Events that are not of a connection; no connection has these addresses. */
#define TAG_CONTROL 0
#define TAG_LISTENER 2

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

/* Endpoints. */

/* Take over a socket.  Returns 0 or an errno value. */
static int
endpoint_open(struct plane *plane, struct connection *connection, int side, int fd)
{
	struct endpoint *endpoint = &connection->endpoint[side];
	struct epoll_event event = {
		.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET,
		.data.u64 = (uintptr_t)connection | (unsigned)side,
	};
	socklen_t size = sizeof(int);
	int domain = 0;

	if (epoll_ctl(plane->epoll, EPOLL_CTL_ADD, fd, &event) != 0)
		return errno;
	getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size);
	/* A message with descriptors attached ends a read from a UNIX socket early. */
	endpoint->local = endpoint->ragged = domain == AF_UNIX;
	endpoint->fd = fd;
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
		return 0;
	return error;
}

void
endpoint_close(struct endpoint *endpoint)
{
	if (endpoint->fd >= 0)
		close(endpoint->fd);
	endpoint->fd = -1;
}

/* Beginning and end of connections. */

/* Draw the secrets of a handshake and begin it.  Returns 0 or an errno value. */
static int
handshake_begin(struct handshake *handshake, enum role role, const uint8_t K[32], int weak,
    int require_pfs)
{
	uint8_t nonce[NONCE_BYTES], x[GROUP14_SECRET_BYTES];
	int error = random_fill(nonce, sizeof(nonce));

	if (error == 0 && !weak)
		error = random_fill(x, sizeof(x));
	if (error == 0)
		handshake_init(handshake, role, K, nonce, weak ? NULL : x, require_pfs);
	wipe(x, sizeof(x));
	return error;
}

struct connection *
plane_negotiate(struct plane *plane, uint64_t id, int crypt, enum role role,
    const uint8_t K[32], int weak, int require_pfs)
{
	struct connection *connection = secret_alloc(sizeof(*connection));
	struct handshake *handshake = secret_alloc(sizeof(*handshake));
	int error = ENOMEM;

	if (connection != NULL && handshake != NULL)
		error = handshake_begin(handshake, role, K, weak, require_pfs);
	if (error == 0)
		error = endpoint_open(plane, connection, CRYPT, crypt);
	if (error != 0) {
		if (handshake != NULL)
			handshake_wipe(handshake);
		secret_free(handshake, sizeof(*handshake));
		secret_free(connection, sizeof(*connection));
		errno = error;
		return NULL;
	}
	connection->id = id;
	connection->handshake = handshake;
	connection->lost = -1;
	connection->endpoint[PLAIN].fd = -1;
	connection->list = &plane->ready;	/* there is a nonce to be sent */
	list_append(connection->list, &connection->link);
	return connection;
}

int
plane_relay(struct plane *plane, struct connection *connection, int plain)
{
	int error;

	if (connection->list == &plane->ended) {
		close(plain);
		return 0;
	}
	error = endpoint_open(plane, connection, PLAIN, plain);
	if (error == 0)			/* what has arrived meanwhile raises no event any more */
		connection_move(connection, &plane->ready);
	return error;
}

/* Take a connection out of those of which there is news. */
static void
forget_news(struct plane *plane, struct connection *connection)
{
	struct connection *previous = NULL;

	for (struct connection *c = plane->first_news; c != connection; c = c->next_news)
		previous = c;
	if (previous != NULL)
		previous->next_news = connection->next_news;
	else
		plane->first_news = connection->next_news;
	if (plane->last_news == connection)
		plane->last_news = previous;
}

/* Close the sockets and erase the secrets. */
static void
release(struct connection *connection)
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
}

void
connection_end(struct plane *plane, struct connection *connection)
{
	release(connection);
	connection_move(connection, &plane->ended);
	connection_report(plane, connection, PLANE_ENDED);
}

void
plane_cancel(struct plane *plane, struct connection *connection)
{
	assert(connection->endpoint[PLAIN].fd < 0);
	connection->cause = PLANE_ABORTED;
	release(connection);
	list_remove(&connection->link);
	if (connection->news != 0)
		forget_news(plane, connection);
	secret_free(connection, sizeof(*connection));
}

void
plane_abort_all(struct plane *plane)
{
	struct link *const lists[] = {
		&plane->idle, &plane->ready, &plane->computing, &plane->bulk, &plane->draining,
	};

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		while (!list_empty(lists[i])) {
			struct connection *connection = list_first(lists[i]);

			connection->cause = PLANE_ABORTED;
			connection->error = 0;
			connection_end(plane, connection);
		}
	}
}

/* News. */

void
connection_report(struct plane *plane, struct connection *connection, int news)
{
	if (connection->news == 0) {
		connection->next_news = NULL;
		if (plane->last_news != NULL)
			plane->last_news->next_news = connection;
		else
			plane->first_news = connection;
		plane->last_news = connection;
	}
	connection->news |= news;
}

/* Take the oldest news; a connection that has ended is freed with it. */
static struct plane_event
take_news(struct plane *plane)
{
	struct connection *connection = plane->first_news;
	struct plane_event event = {
		.id = connection->id,
		.sealed = connection->flow[PLAIN].carried,
		.opened = connection->flow[CRYPT].carried,
		.news = connection->news,
		.cause = connection->cause,
		.error = connection->error,
	};

	plane->first_news = connection->next_news;
	if (plane->first_news == NULL)
		plane->last_news = NULL;
	connection->news = 0;
	if (event.news & PLANE_ENDED) {
		list_remove(&connection->link);
		secret_free(connection, sizeof(*connection));
	}
	return event;
}

/* Events. */

static void
take_event(struct plane *plane, struct connection *connection, int side, uint32_t events)
{
	struct endpoint *endpoint = &connection->endpoint[side];

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
	/* Whoever is asked again only to be sure need not wait among the bulky for that. */
	if (connection->list == &plane->idle || (connection->list == &plane->bulk &&
	    !connection->endpoint[PLAIN].bulky && !connection->endpoint[CRYPT].bulky))
		connection_move(connection, &plane->ready);
}

/* Serve one connection, whatever it is about. */
static void
serve(struct plane *plane, struct connection *connection)
{
	struct endpoint *crypt = &connection->endpoint[CRYPT];

	if (connection->handshake != NULL) {
		negotiate(plane, connection);
	} else if (connection->endpoint[PLAIN].fd >= 0 || connection->lost >= 0) {
		relay_serve(plane, connection);
	} else {			/* ready, but there is nobody to relay to yet */
		connection_move(connection, &plane->idle);
		connection->error = endpoint_take_error(crypt);
		if (connection->error != 0) {
			connection->cause = PLANE_LOST;
			connection_end(plane, connection);
		}
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
			wanted |= PLANE_ACCEPTABLE;
		else
			take_event(plane, (struct connection *)(tagged & ~(uintptr_t)1),
			    (int)(tagged & 1), events[i].events);
	}
	while (!list_empty(&plane->ready))
		serve(plane, list_first(&plane->ready));
	if (!list_empty(&plane->bulk))
		serve(plane, list_first(&plane->bulk));
	if (!list_empty(&plane->computing))
		negotiate_compute(plane, list_first(&plane->computing));
	if (!list_empty(&plane->draining))
		relay_drain_all(plane);
	return wanted;
}

/* There is something to do that no event will announce. */
static int
is_busy(const struct plane *plane)
{
	return !list_empty(&plane->ready) || !list_empty(&plane->bulk) ||
	    !list_empty(&plane->computing) || plane->first_news != NULL;
}

size_t
plane_run(struct plane *plane, int64_t timeout_ms, int *wanted,
    struct plane_event *events, size_t room)
{
	uint64_t deadline = timeout_ms > 0 ? now_ms() + (uint64_t)timeout_ms : 0;
	size_t count = 0;
	int due;

	do {
		int64_t wait = timeout_ms < 0 ? INT_MAX : timeout_ms;

		if (timeout_ms > 0) {
			uint64_t now = now_ms();

			wait = now < deadline ? (int64_t)(deadline - now) : 0;
		}
		due = wait == 0;
		if (is_busy(plane))
			wait = 0;
		else if (!list_empty(&plane->draining) && wait > DRAIN_POLL_MS)
			wait = DRAIN_POLL_MS;
		else if (wait >= INT_MAX)
			wait = timeout_ms < 0 ? -1 : INT_MAX;
		*wanted = turn(plane, (int)wait);
	} while (!due && *wanted == 0 && plane->first_news == NULL);

	while (count < room && plane->first_news != NULL)
		events[count++] = take_news(plane);
	return count;
}

/* Beginning and end of the plane. */

int
plane_supported(void)
{
	return 1;
}

struct plane *
plane_new(int control, uint64_t drain_ms, uint64_t *sealed, uint64_t *opened)
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
	plane->drain_ms = drain_ms;
	plane->total[PLAIN] = sealed;
	plane->total[CRYPT] = opened;
	plane->first_news = plane->last_news = NULL;
	list_init(&plane->idle);
	list_init(&plane->ready);
	list_init(&plane->computing);
	list_init(&plane->bulk);
	list_init(&plane->draining);
	list_init(&plane->ended);
	return plane;
}

void
plane_free(struct plane *plane)
{
	assert(list_empty(&plane->idle) && list_empty(&plane->ready) && list_empty(&plane->bulk));
	assert(list_empty(&plane->computing) && list_empty(&plane->draining));
	assert(list_empty(&plane->ended));
	close(plane->epoll);
	wipe(plane, sizeof(*plane));	/* the batch buffers hold plaintext */
	free(plane);
}

int
plane_watch_listener(struct plane *plane, int listener)
{
	struct epoll_event event = {
		.events = EPOLLIN | EPOLLEXCLUSIVE,
		.data.u64 = TAG_LISTENER,
	};

	return epoll_ctl(plane->epoll, EPOLL_CTL_ADD, listener, &event) == 0 ? 0 : errno;
}

void
plane_unwatch_listener(struct plane *plane, int listener)
{
	epoll_ctl(plane->epoll, EPOLL_CTL_DEL, listener, NULL);
}

void
plane_yield_listener(struct plane *plane, int listener)
{
	plane_unwatch_listener(plane, listener);
	plane_watch_listener(plane, listener);
}

#else /* not Linux: the portable data plane serves */

#include <stdlib.h>

int
plane_supported(void)
{
	return 0;
}

struct plane *
plane_new(int control, uint64_t drain_ms, uint64_t *sealed, uint64_t *opened)
{
	(void)control, (void)drain_ms, (void)sealed, (void)opened;
	abort();
}

void
plane_free(struct plane *plane)
{
	(void)plane;
	abort();
}

int
plane_watch_listener(struct plane *plane, int listener)
{
	(void)plane, (void)listener;
	abort();
}

void
plane_unwatch_listener(struct plane *plane, int listener)
{
	(void)plane, (void)listener;
	abort();
}

void
plane_yield_listener(struct plane *plane, int listener)
{
	(void)plane, (void)listener;
	abort();
}

struct connection *
plane_negotiate(struct plane *plane, uint64_t id, int crypt, enum role role,
    const uint8_t K[32], int weak, int require_pfs)
{
	(void)plane, (void)id, (void)crypt, (void)role, (void)K, (void)weak, (void)require_pfs;
	abort();
}

int
plane_relay(struct plane *plane, struct connection *connection, int plain)
{
	(void)plane, (void)connection, (void)plain;
	abort();
}

void
plane_cancel(struct plane *plane, struct connection *connection)
{
	(void)plane, (void)connection;
	abort();
}

size_t
plane_run(struct plane *plane, int64_t timeout_ms, int *wanted,
    struct plane_event *events, size_t room)
{
	(void)plane, (void)timeout_ms, (void)wanted, (void)events, (void)room;
	abort();
}

void
plane_abort_all(struct plane *plane)
{
	(void)plane;
	abort();
}

#endif
