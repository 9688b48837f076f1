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
	return 0;
}

/* Receive from a UNIX socket, where descriptors end a read; the system says so if there is no room for them. */
static ssize_t
receive_message(int fd, uint8_t *buffer, size_t room, int *is_cut)
{
	struct iovec vector = { .iov_base = buffer, .iov_len = room };
	struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1 };
	ssize_t got = recvmsg(fd, &message, 0);

	*is_cut |= message.msg_flags & MSG_CTRUNC;
	return got;
}

ssize_t
endpoint_receive(const struct endpoint *endpoint, uint8_t *buffer, size_t room, int *emptied)
{
	int is_cut = endpoint->closing || endpoint->short_reads;
	ssize_t got;

	do {
		got = endpoint->local ? receive_message(endpoint->fd, buffer, room, &is_cut) :
		    recv(endpoint->fd, buffer, room, 0);
	} while (got < 0 && errno == EINTR);
	*emptied = got >= 0 && (size_t)got < room && !is_cut;
	return got;
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
