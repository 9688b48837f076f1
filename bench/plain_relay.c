/*
 * The floor: what relaying costs when nothing is encrypted.
 *
 *	plain_relay LISTEN_PORT TARGET_PORT WORKERS
 *
 * Written as spiped's data plane is: processes that share a listening socket, sockets
 * registered once and edge-triggered, one buffer per process of 128 KiB, receive and send
 * at once, and a socket is not read before what it gave has been sent.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define BATCH 131072
#define EVENTS 256

struct pair;

struct side {
	struct pair *pair;
	int fd;
	int readable;
	int closing;		/* the peer has sent its FIN: read on until it is reached */
	int ended;		/* nothing more comes from here */
	uint8_t *unsent;	/* what the other side did not take yet */
	size_t start, end;
};

struct pair {
	struct pair *next;	/* in the list of what is to be freed */
	struct side side[2];
	int over;
};

static uint8_t buffer[BATCH];
static struct sockaddr_in target;
static struct pair *finished;

static void
fail(const char *what)
{
	perror(what);
	exit(1);
}

static struct sockaddr_in
loopback(const char *port)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)atoi(port)),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
}

static void
finish(struct pair *pair)
{
	if (pair->over)
		return;
	pair->over = 1;
	for (int i = 0; i < 2; i++) {
		close(pair->side[i].fd);
		free(pair->side[i].unsent);
	}
	pair->next = finished;
	finished = pair;
}

/* Send; what is not taken is kept.  Returns whether all of it was taken. */
static int
deliver(struct side *source, int sink, const uint8_t *data, size_t length)
{
	ssize_t sent = send(sink, data, length, MSG_NOSIGNAL);

	if (sent < 0 && errno != EAGAIN)
		return -1;
	sent = sent < 0 ? 0 : sent;
	if ((size_t)sent == length)
		return 1;
	source->unsent = malloc(length - (size_t)sent);
	if (source->unsent == NULL)
		fail("malloc");
	source->start = 0;
	source->end = length - (size_t)sent;
	memcpy(source->unsent, data + sent, source->end);
	return 0;
}

static int
deliver_unsent(struct side *source, int sink)
{
	ssize_t sent = send(sink, source->unsent + source->start, source->end - source->start,
	    MSG_NOSIGNAL);

	if (sent < 0)
		return errno == EAGAIN ? 0 : -1;
	source->start += (size_t)sent;
	if (source->start < source->end)
		return 0;
	free(source->unsent);
	source->unsent = NULL;
	return 1;
}

/* Move what there is from one side to the other.  Returns -1 if the pair has failed. */
static int
pump(struct side *source, struct side *sink)
{
	int status = source->unsent != NULL ? deliver_unsent(source, sink->fd) : 1;

	while (status == 1 && source->readable) {
		ssize_t got = recv(source->fd, buffer, BATCH, 0);

		if (got < 0 && errno != EAGAIN)
			return -1;
		source->readable = got == BATCH || (got > 0 && source->closing);
		if (got == 0) {
			source->ended = 1;
			shutdown(sink->fd, SHUT_WR);
		} else if (got > 0) {
			status = deliver(source, sink->fd, buffer, (size_t)got);
		}
	}
	return status;
}

static void
serve(struct side *side, uint32_t events)
{
	struct pair *pair = side->pair;

	if (pair->over)
		return;
	if (events & ~(uint32_t)EPOLLOUT && !side->ended)
		side->readable = 1;
	if (events & (EPOLLRDHUP | EPOLLHUP))
		side->closing = 1;
	for (int i = 0; i < 2; i++) {
		if (pump(&pair->side[i], &pair->side[!i]) < 0) {
			finish(pair);
			return;
		}
	}
	if (pair->side[0].ended && pair->side[1].ended)
		finish(pair);
}

static void
watch(int epoll, int fd, uint32_t events, void *data)
{
	struct epoll_event event = { .events = events, .data.ptr = data };

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0)
		fail("epoll_ctl");
}

static void
accept_one(int epoll, int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct pair *pair;

	if (fd < 0)
		return;
	pair = calloc(1, sizeof(*pair));
	if (pair == NULL)
		fail("calloc");
	pair->side[0].fd = fd;
	pair->side[1].fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (pair->side[1].fd < 0)
		fail("socket");
	connect(pair->side[1].fd, (struct sockaddr *)&target, sizeof(target));
	for (int i = 0; i < 2; i++) {
		setsockopt(pair->side[i].fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
		pair->side[i].pair = pair;
		watch(epoll, pair->side[i].fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
		    &pair->side[i]);
	}
}

static void
work(int listener)
{
	struct epoll_event events[EVENTS];
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	watch(epoll, listener, EPOLLIN | EPOLLEXCLUSIVE, NULL);
	for (;;) {
		int count = epoll_wait(epoll, events, EVENTS, -1);

		for (int i = 0; i < count; i++) {
			if (events[i].data.ptr == NULL)
				accept_one(epoll, listener);
			else
				serve(events[i].data.ptr, events[i].events);
		}
		while (finished != NULL) {
			struct pair *next = finished->next;

			free(finished);
			finished = next;
		}
	}
}

int
main(int argc, char **argv)
{
	struct sockaddr_in source;
	struct rlimit limit;
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (argc != 4) {
		fprintf(stderr, "usage: plain_relay LISTEN_PORT TARGET_PORT WORKERS\n");
		return 1;
	}
	source = loopback(argv[1]);
	target = loopback(argv[2]);
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int));
	if (bind(listener, (struct sockaddr *)&source, sizeof(source)) != 0 ||
	    listen(listener, 4096) != 0)
		fail("listen");
	for (int i = 1; i < atoi(argv[3]); i++) {
		if (fork() == 0) {
			prctl(PR_SET_PDEATHSIG, SIGTERM);
			break;
		}
	}
	work(listener);
}
