/*
 * Strangers, who have no key: strangers PORT COUNT RATE HANGING
 *
 * COUNT of them connect to the port, RATE a second.  They say nothing, or send a nonce's or a
 * whole handshake's length of garbage; then every other one goes away, and the rest hang until
 * HANGING more have come to hang.  The end is one line of JSON: how many were let in, how many
 * were not, and the seconds it took.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const size_t GARBAGE[] = { 0, 32, 320 };	/* bytes */
static uint8_t garbage[320];

static uint64_t
now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void
wait_until(uint64_t ns)
{
	struct timespec until = {
		.tv_sec = (time_t)(ns / 1000000000),
		.tv_nsec = (long)(ns % 1000000000),
	};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
		continue;
}

/* Connect and send; a descriptor, or -1 if the queue of those who wait was full. */
static int
visit(const struct sockaddr_in *address, size_t length)
{
	struct linger reset = { .l_onoff = 1 };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0) {
		perror("socket");
		exit(1);
	}
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	/* over loopback, a connection is there at once, or will not be for a second */
	if ((connect(fd, (const struct sockaddr *)address, sizeof(*address)) != 0 &&
	    errno != EINPROGRESS) ||
	    (send(fd, garbage, length, MSG_NOSIGNAL) < 0 &&
	    (errno == EAGAIN || errno == ENOTCONN))) {
		close(fd);
		return -1;
	}
	return fd;
}

int
main(int argc, char **argv)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	struct rlimit limit;
	unsigned long count, rate, hanging, let_in = 0;
	uint64_t begin, taken;
	int *held;

	if (argc != 5)
		return 2;
	address.sin_port = htons((uint16_t)atoi(argv[1]));
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	count = strtoul(argv[2], NULL, 10);
	rate = strtoul(argv[3], NULL, 10);
	hanging = strtoul(argv[4], NULL, 10);
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	held = malloc((hanging + 1) * sizeof(*held));
	if (held == NULL)
		return 1;
	memset(held, -1, (hanging + 1) * sizeof(*held));
	memset(garbage, 0x5a, sizeof(garbage));
	begin = now_ns();
	for (unsigned long i = 0; i < count; i++) {
		int fd;

		wait_until(begin + i * 1000000000 / rate);
		fd = visit(&address, GARBAGE[i % 3]);
		if (fd < 0)
			continue;
		let_in++;
		if (i % 2 == 0) {
			close(fd);
		} else {
			int *place = &held[i / 2 % (hanging + 1)];

			if (*place >= 0)
				close(*place);
			*place = fd;
		}
	}
	taken = now_ns() - begin;
	printf("{\"let_in\": %lu, \"not_let_in\": %lu, \"seconds\": %.3f}\n", let_in, count - let_in,
	    (double)taken / 1e9);
	return 0;
}
