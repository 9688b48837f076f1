/*
 * Over loopback, what is sent usually arrives before the call returns, but need not: the system may be
 * busy.  Since both ends of every connection are in this process, it can be known.
 */
#include "loopback.h"

#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/un.h>
#include <unistd.h>

#define FDS_MAX 64
#define HOLE_MAX 8			/* descriptors that are closed below one that is open */
#define BUFFERS 1048576			/* bytes that sockets may hold */

/* The states of the system's TCP, which no header shares with <linux/tcp.h>. */
enum state {
	ESTABLISHED = 1, SYN_SENT, SYN_RECEIVED, FIN_WAIT1, FIN_WAIT2, TIME_WAIT, CLOSED, CLOSE_WAIT,
	LAST_ACK, LISTENING, CLOSING
};

struct end {
	int fd;
	struct tcp_info info;
	uint16_t port, peer;		/* peer: 0 if there is none any more */
};

void
give_up(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fprintf(stderr, "\n");
	exit(1);
}

/* Let a socket hold more than a batch.  What a listening one has, those that it accepts have too. */
static void
enlarge(int fd)
{
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &(int){ BUFFERS }, sizeof(int));
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &(int){ BUFFERS }, sizeof(int));
}

int
loopback_listen(enum transport transport, struct sockaddr_storage *address, socklen_t *length)
{
	struct sockaddr_in any = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	struct sockaddr_un unnamed = { .sun_family = AF_UNIX };
	const void *name = transport == TCP ? (void *)&any : (void *)&unnamed;
	/* without a name, a UNIX socket gets an abstract one */
	socklen_t size = transport == TCP ? sizeof(any) : sizeof(unnamed.sun_family);
	int fd = socket(transport == TCP ? AF_INET : AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	enlarge(fd);
	if (transport == TCP)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
	*length = sizeof(*address);
	if (bind(fd, name, size) != 0 || listen(fd, 128) != 0 ||
	    getsockname(fd, (struct sockaddr *)address, length) != 0)
		give_up("cannot listen: %s", strerror(errno));
	return fd;
}

int
loopback_connect(const struct sockaddr_storage *address, socklen_t length)
{
	int fd = socket(address->ss_family, SOCK_STREAM, 0);

	enlarge(fd);
	if (address->ss_family == AF_INET)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
	if (connect(fd, (const struct sockaddr *)address, length) != 0)
		give_up("cannot connect: %s", strerror(errno));
	loopback_settle();
	return fd;
}

int
loopback_accept(int listener)
{
	struct sockaddr_storage peer;
	socklen_t length = sizeof(peer);
	int fd = accept(listener, (struct sockaddr *)&peer, &length);

	if (fd >= 0 && peer.ss_family == AF_INET)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
	return fd;
}

void
loopback_send(int fd, const uint8_t *data, size_t length)
{
	if (send(fd, data, length, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)length)
		give_up("%zu bytes do not fit into a socket", length);
}

size_t
loopback_waiting(int fd)
{
	int bytes = 0;

	ioctl(fd, FIONREAD, &bytes);
	return (size_t)bytes;
}

void
loopback_enlarge_all(void)
{
	for (int fd = 0; fd < FDS_MAX; fd++)
		enlarge(fd);		/* if it is a socket */
}

/* Is this descriptor a TCP socket?  Then write what is known of it. */
static int
look(int fd, struct end *end)
{
	struct sockaddr_in name = { 0 };
	socklen_t size = sizeof(end->info);

	*end = (struct end){ .fd = fd };
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &end->info, &size) != 0)
		return 0;
	if (size < offsetof(struct tcp_info, tcpi_bytes_retrans) + sizeof(end->info.tcpi_bytes_retrans))
		give_up("this system does not tell how much its sockets have sent");
	size = sizeof(name);
	getsockname(fd, (struct sockaddr *)&name, &size);
	end->port = name.sin_port;
	size = sizeof(name);
	if (getpeername(fd, (struct sockaddr *)&name, &size) == 0)
		end->peer = name.sin_port;
	return 1;
}

static int
has_ended(const struct end *end)
{
	int state = end->info.tcpi_state;

	return state == FIN_WAIT1 || state == FIN_WAIT2 || state == LAST_ACK || state == CLOSING ||
	    state == TIME_WAIT;
}

/* The end of the stream has not come to this end. */
static int
expects_more(const struct end *end)
{
	int state = end->info.tcpi_state;

	return state == ESTABLISHED || state == FIN_WAIT1 || state == FIN_WAIT2;
}

/*
 * The end of what this end said has not been acknowledged.  When it is, whoever watches this end hears of it;
 * and the other end may take its time, unless it is asked not to.
 */
static int
is_waiting_for_last_word(const struct end *from, const struct end *to)
{
	int state = from->info.tcpi_state;

	if (state != FIN_WAIT1 && state != LAST_ACK && state != CLOSING)
		return 0;
	if (to != NULL)
		setsockopt(to->fd, IPPROTO_TCP, TCP_QUICKACK, &(int){ 1 }, sizeof(int));
	return 1;
}

/* Has everything that one end said arrived at the other? */
static int
has_arrived(const struct end *from, const struct end *to)
{
	uint64_t sent = from->info.tcpi_bytes_sent - from->info.tcpi_bytes_retrans;

	return from->info.tcpi_notsent_bytes == 0 && to->info.tcpi_bytes_received >= sent &&
	    !(has_ended(from) && expects_more(to));
}

static int
is_settled(void)
{
	static struct end ends[FDS_MAX];
	size_t count = 0, alone = 0, waiting = 0;

	for (int fd = 0, missing = 0; missing < HOLE_MAX; fd++) {
		struct end *end = &ends[count];

		if (fd == FDS_MAX)
			give_up("there are more descriptors than are looked at");
		errno = 0;
		if (!look(fd, end)) {
			missing = errno == EBADF ? missing + 1 : 0;
			continue;
		}
		missing = 0;
		if (end->info.tcpi_state == SYN_SENT)
			return 0;
		if (end->info.tcpi_state == LISTENING)
			waiting += end->info.tcpi_unacked;	/* so it counts those who wait */
		else
			count++;
	}
	for (size_t i = 0; i < count; i++) {
		const struct end *end = &ends[i], *other = NULL;

		for (size_t j = 0; j < count && other == NULL; j++) {
			if (ends[j].port == end->peer && ends[j].peer == end->port)
				other = &ends[j];
		}
		if (is_waiting_for_last_word(end, other) ||
		    (other != NULL && !has_arrived(end, other)))
			return 0;
		alone += other == NULL && expects_more(end);
	}
	/* Whoever has no other end waits to be accepted, or will hear that the other is gone. */
	return alone == waiting;
}

void
loopback_settle(void)
{
	while (!is_settled())
		sched_yield();
}
