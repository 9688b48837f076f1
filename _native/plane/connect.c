/*
 * Connecting to the target, one attempt after the other.
 */
#include "connect.h"

#ifdef __linux__

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "address.h"
#include "clock.h"

/* Until an attempt is repeated for which the system lacked something. */
#define RETRY_MS 20

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
 * Make a socket for the target, bound as the pipe wants it, and have the endpoint take it over.
 * Returns 0 or an errno value.
 */
static int
open_socket(struct endpoint *endpoint, const struct plane_pipe_settings *settings, int epoll,
    int domain)
{
	const struct plane_address *bound = &settings->bind;
	int error = 0;
	int fd;

	if (bound->length > 0 && address_family(bound) != domain)
		return EAFNOSUPPORT;
	fd = socket(domain, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return errno;
	tune(fd, domain, settings->keepalive);
	if (bound->length > 0) {
		if (address_leaves_port(bound))
			/* connect() takes a port then, which it can share with other targets' */
			set_option(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
		else if (domain != AF_UNIX)
			set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
		if (bind(fd, address_sockaddr(bound), bound->length) != 0)
			error = errno;
	}
	if (error == 0)			/* before connect(), so that no target is reached in vain */
		error = endpoint_open(endpoint, epoll, fd, domain);
	if (error != 0)
		close(fd);
	return error;
}

/*
 * Begin to connect to one address.  Returns 0 if that goes on or has succeeded, and
 * says which in *connected; else an errno value.
 */
static int
open_connection(struct endpoint *endpoint, const struct plane_pipe_settings *settings, int epoll,
    const struct plane_address *target, int *connected)
{
	int error = open_socket(endpoint, settings, epoll, address_family(target));

	*connected = 0;
	if (error != 0)
		return error;
	if (connect(endpoint->fd, address_sockaddr(target), target->length) == 0)
		*connected = 1;
	else if (errno != EINPROGRESS)
		error = errno;
	if (error != 0)
		endpoint_close(endpoint);
	return error;
}

/* The process or the system has run out of something. */
static int
is_shortage(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

static void
set_failure(struct connector *connector, enum plane_cause cause, int error)
{
	connector->failure.cause = cause;
	connector->failure.error = error;
	connector->failure.side = cause == PLANE_SHORTAGE ? PLANE_SIDE_NONE :
	    side_of(connector->endpoint->side);
}

/* Try the targets from the current one on, until there is something to wait for. */
static enum connect_result
try_targets(struct connector *connector, const struct plane_pipe_settings *settings, int epoll,
    uint64_t now_ms)
{
	const struct targets *targets = connector->targets;
	uint64_t left = connector->reach_by_ms - now_ms;

	for (; connector->current < targets->count; connector->current++) {
		int connected, error;

		if (connector->reach_by_ms <= now_ms) {
			if (connector->failure.cause != PLANE_SHORTAGE)
				set_failure(connector, PLANE_UNANSWERED, 0);
			return CONNECT_FAILED;
		}
		error = open_connection(connector->endpoint, settings, epoll,
		    &targets->address[connector->current], &connected);
		set_failure(connector, is_shortage(error) ? PLANE_SHORTAGE : PLANE_UNREACHED, error);
		if (is_shortage(error) || error == EAGAIN) {	/* a UNIX listener's backlog is full */
			connector->due_ms = now_ms + (left < RETRY_MS ? left : RETRY_MS);
			return is_shortage(error) ? CONNECT_SHORTAGE : CONNECT_WAIT;
		}
		if (error == 0 && connected)
			return CONNECT_DONE;
		if (error == 0) {
			connector->due_ms = connector->reach_by_ms == UINT64_MAX ? UINT64_MAX :
			    now_ms + left / (targets->count - connector->current);
			return CONNECT_WAIT;
		}
	}
	return CONNECT_FAILED;
}

/* The current target has failed: on to the next. */
static enum connect_result
try_next(struct connector *connector, const struct plane_pipe_settings *settings, int epoll,
    enum plane_cause cause, int error)
{
	endpoint_close(connector->endpoint);
	set_failure(connector, cause, error);
	connector->current++;
	return try_targets(connector, settings, epoll, clock_now_ms());
}

void
connect_prepare(struct connector *connector, const struct plane_pipe *pipe,
    struct endpoint *endpoint)
{
	*connector = (struct connector){
		.endpoint = endpoint, .targets = targets_hold(pipe), .due_ms = UINT64_MAX,
	};
}

enum connect_result
connect_begin(struct connector *connector, const struct plane_pipe_settings *settings, int epoll,
    uint64_t now_ms)
{
	connector->reach_by_ms = clock_after(now_ms, settings->timeout_ms);
	set_failure(connector, PLANE_UNREACHED, 0);
	return try_targets(connector, settings, epoll, now_ms);
}

enum connect_result
connect_step(struct connector *connector, const struct plane_pipe_settings *settings, int epoll)
{
	struct endpoint *endpoint = connector->endpoint;
	int error;

	if (endpoint->fd < 0)		/* in the pause before an attempt */
		return CONNECT_WAIT;
	error = endpoint_take_error(endpoint);
	if (error != 0)
		return try_next(connector, settings, epoll, PLANE_UNREACHED, error);
	return endpoint->writable ? CONNECT_DONE : CONNECT_WAIT;
}

enum connect_result
connect_time_out(struct connector *connector, const struct plane_pipe_settings *settings, int epoll)
{
	const struct endpoint *endpoint = connector->endpoint;

	if (endpoint->fd < 0)
		return try_targets(connector, settings, epoll, clock_now_ms());
	if (endpoint->writable || endpoint->failed)	/* it has answered, and we had no time yet */
		return connect_step(connector, settings, epoll);
	return try_next(connector, settings, epoll, PLANE_UNANSWERED, 0);
}

const struct plane_address *
connect_target(const struct connector *connector)
{
	const struct targets *targets = connector->targets;

	if (targets == NULL || targets->count == 0)
		return NULL;
	return &targets->address[connector->current < targets->count ? connector->current :
	    targets->count - 1];
}

void
connect_release(struct connector *connector)
{
	targets_release(connector->targets);
	connector->targets = NULL;
}

#endif
