/*
 * Endpoints: sockets in the plane's epoll set.
 */
#include "endpoint.h"

#ifdef __linux__

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

void
endpoint_init(struct endpoint *endpoint, int side)
{
	*endpoint = (struct endpoint){ .fd = -1, .side = side & 1 };
}

int
endpoint_open(struct endpoint *endpoint, int epoll, int fd, int domain)
{
	struct epoll_event event = {
		.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET,
		.data.u64 = (uintptr_t)endpoint,
	};

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0)
		return errno;
	endpoint_init(endpoint, endpoint->side);
	endpoint->fd = fd;
	endpoint->local = domain == AF_UNIX;
	/* A message with descriptors attached ends a read from a UNIX socket early. */
	endpoint->short_reads = endpoint->local;
	return 0;
}

int
endpoint_read_error(struct endpoint *endpoint)
{
	socklen_t size = sizeof(int);
	int error = 0;

	endpoint->failed = 0;
	if (getsockopt(endpoint->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0)
		return endpoint->fd < 0 ? 0 : errno;
	return error;
}

void
endpoint_make_graceful(struct endpoint *endpoint)
{
	static const struct linger graceful = { .l_onoff = 0, .l_linger = 0 };

	setsockopt(endpoint->fd, SOL_SOCKET, SO_LINGER, &graceful, sizeof(graceful));
}

void
endpoint_close(struct endpoint *endpoint)
{
	if (endpoint->fd >= 0)
		close(endpoint->fd);
	endpoint_init(endpoint, endpoint->side);	/* its events are not those of the next */
}

#endif
