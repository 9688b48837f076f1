/*
 * Connecting to the target: its addresses in turn, within one time limit, of which
 * every address gets an equal share of what is left, so that a dead one cannot hide
 * the next.
 */
#include "connection.h"

#ifdef __linux__

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Until we try again what the system cannot do at present. */
#define RETRY_MS 20

static const struct sockaddr *
sockaddr_of(const struct plane_address *address)
{
	return (const struct sockaddr *)(const void *)address->bytes;
}

static int
family_of(const struct plane_address *address)
{
	sa_family_t family;

	memcpy(&family, address->bytes, sizeof(family));
	return family;
}

void
targets_release(struct targets *targets)
{
	if (targets != NULL && --targets->users == 0)
		free(targets);
}

static int
target_side(const struct connection *connection)
{
	return !accepted_side(connection);
}

/* The target is reached, or will not be any more. */
static void
stop_trying(struct plane *plane, struct connection *connection)
{
	timer_clear(&plane->timers, &connection->attempt_timer);
	targets_release(connection->targets);
	connection->targets = NULL;
}

static void
reached(struct plane *plane, struct connection *connection)
{
	connection->endpoint[target_side(connection)].connecting = 0;
	connection->cause = connection->error = 0;	/* of those that were tried before */
	stop_trying(plane, connection);
	if (target_side(connection) == CRYPT)
		negotiate_begin(plane, connection);
	else
		connection_establish(plane, connection);
}

static void
set_option(int fd, int level, int name, int value)
{
	/* EINVAL says that the peer is gone already: the relay will notice */
	setsockopt(fd, level, name, &value, sizeof(value));
}

/* Let packets leave at once, dead peers be noticed, and closing mean a reset. */
static void
tune(int fd, int domain, int keepalive)
{
	static const struct linger reset = { .l_onoff = 1, .l_linger = 0 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	if (keepalive)
		set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	if (domain != AF_UNIX)
		set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
}

/*
 * Begin to connect to one address.  Returns 0 if that goes on or has succeeded, and
 * says which in *connected; else an errno value.
 */
static int
start(struct plane *plane, struct connection *connection, const struct plane_address *target,
    int *connected)
{
	const struct plane_pipe *pipe = connection->pipe;
	const struct plane_address *bound = &pipe->bind;
	int domain = family_of(target);
	int error = 0;
	int fd;

	*connected = 0;
	if (bound->length > 0 && family_of(bound) != domain)
		return EAFNOSUPPORT;
	fd = socket(domain, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return errno;
	tune(fd, domain, pipe->keepalive);
	if (bound->length > 0) {
		if (domain != AF_UNIX)
			set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
		if (bind(fd, sockaddr_of(bound), bound->length) != 0)
			error = errno;
	}
	if (error == 0)			/* first, so that nobody is reached who then cannot be served */
		error = endpoint_open(plane, connection, target_side(connection), fd, domain);
	if (error != 0) {
		close(fd);
		return error;
	}
	if (connect(fd, sockaddr_of(target), target->length) == 0)
		*connected = 1;
	else if (errno != EINPROGRESS)
		error = errno;
	if (error != 0)
		endpoint_close(&connection->endpoint[target_side(connection)]);
	return error;
}

/* The system has run out of something, for us or for everybody. */
static int
is_shortage(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

/* Try the targets from the present one on, until there is something to wait for. */
static void
try(struct plane *plane, struct connection *connection)
{
	struct targets *targets = connection->targets;

	for (; connection->attempt < targets->count; connection->attempt++) {
		const struct plane_address *target = &targets->address[connection->attempt];
		uint64_t now = now_ms();
		uint64_t left = connection->reach_by_ms - now;
		int connected, error;

		if (connection->reach_by_ms <= now) {
			if (is_shortage(connection->error))
				break;
			connection_fail(plane, connection, PLANE_UNANSWERED, 0);
			return;
		}
		error = start(plane, connection, target, &connected);
		connection->cause = PLANE_UNREACHED;
		connection->error = error;
		if (is_shortage(error))	/* others end, and leave us what they had */
			accept_pause(plane, error);
		if (is_shortage(error) || error == EAGAIN) {	/* a UNIX listener's backlog is full */
			timer_set(&plane->timers, &connection->attempt_timer,
			    due_in(left < RETRY_MS ? left : RETRY_MS));
			return;
		}
		if (error == 0 && connected) {
			reached(plane, connection);
			return;
		}
		if (error == 0) {
			connection->endpoint[target_side(connection)].connecting = 1;
			if (connection->reach_by_ms != UINT64_MAX)
				timer_set(&plane->timers, &connection->attempt_timer,
				    now + left / (targets->count - connection->attempt));
			return;
		}
	}
	if (targets->count > 0 && connection->attempt == targets->count)
		connection->attempt--;	/* the one that the cause is about */
	connection_fail(plane, connection, connection->cause, connection->error);
}

/* The present target has failed: on to the next. */
static void
try_next(struct plane *plane, struct connection *connection, int cause, int error)
{
	endpoint_close(&connection->endpoint[target_side(connection)]);
	timer_clear(&plane->timers, &connection->attempt_timer);
	connection->cause = cause;
	connection->error = error;
	connection->attempt++;
	try(plane, connection);
}

void
connect_begin(struct plane *plane, struct connection *connection)
{
	connection->attempt = 0;
	connection->reach_by_ms = due_in(connection->pipe->timeout_ms);
	connection->cause = PLANE_UNREACHED;
	try(plane, connection);
}

void
connect_go_on(struct plane *plane, struct connection *connection)
{
	struct endpoint *target = &connection->endpoint[target_side(connection)];
	int error = endpoint_take_error(target);

	if (error != 0)
		try_next(plane, connection, PLANE_UNREACHED, error);
	else if (target->writable)
		reached(plane, connection);
}

void
connect_timed_out(struct plane *plane, struct connection *connection)
{
	const struct endpoint *target = &connection->endpoint[target_side(connection)];

	if (target->fd >= 0 && (target->writable || target->failed))
		connect_go_on(plane, connection);	/* it has answered, and we had no time yet */
	else if (target->fd >= 0)
		try_next(plane, connection, PLANE_UNANSWERED, 0);
	else
		try(plane, connection);
}

#endif
