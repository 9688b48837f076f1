/*
 * Holders of the key who come faster than they can be served.
 *
 *	overload closed PORT KEY_FILE CONNECTIONS SECONDS SKIP PATIENCE	so many at a time
 *	overload open PORT KEY_FILE RATE SECONDS SKIP PATIENCE		so many a second
 *
 * Each makes one connection to a `spiped -d` as a client with -f does: so the handshake costs it next to
 * nothing, and the daemon its exponentiation.  It is served when one byte of the target has come
 * through.  Who is not served waits until it is reset, or for PATIENCE seconds.  The first SKIP of the
 * SECONDS are not counted.
 *
 * Prints one line of JSON: how many were begun, served and lost in the seconds that count, our CPU
 * time, and how often there was no descriptor for another one.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "kernels/sha256/sha256.h"
#include "protocol/handshake.h"
#include "protocol/packet.h"

#define EVENTS 256
#define KEY_MAX 65536			/* bytes of a key file */
#define TICK_MS 1			/* between two looks at how many are due */

/* What load.c's target answers by one byte. */
static const uint8_t HELLO[12] = "measureE";

struct holder {
	int fd;
	int has_begun;			/* it is connected, and has sent its nonce */
	struct handshake handshake;
	uint8_t packet[PACKET_BYTES];	/* of the target's answer */
	size_t packet_length;
	double since;			/* when it came */
	struct holder *next, *previous;	/* among those that are there, or that are free */
};

struct crowd {
	int epoll;
	struct sockaddr_in address;
	uint8_t K[32];
	uint64_t present;
	uint64_t begun, served, lost, without;	/* in the time that counts */
	struct holder *free;
	struct holder there;		/* of all that are: .next came first, .previous last */
	double patience;		/* seconds that each waits */
};

static void
die(const char *format, ...)
{
	va_list arguments;

	printf("{\"error\": \"");
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	printf("\"}\n");
	exit(1);
}

static double
now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double
cpu_seconds(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	    (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void
read_key(const char *path, uint8_t K[32])
{
	static uint8_t key[KEY_MAX];
	FILE *file = fopen(path, "rb");
	size_t length;

	if (file == NULL)
		die("%s: %s", path, strerror(errno));
	length = fread(key, 1, sizeof(key), file);
	fclose(file);
	sha256(key, length, K);
}

/* Let one more come.  Returns 0 if there is no descriptor for it. */
static int
begin(struct crowd *crowd)
{
	struct holder *holder = crowd->free;
	struct epoll_event event = { .events = EPOLLIN | EPOLLOUT };
	uint8_t nonce[NONCE_BYTES];
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return 0;
	if (holder != NULL)
		crowd->free = holder->next;
	else
		holder = malloc(sizeof(*holder));
	if (holder == NULL || getrandom(nonce, sizeof(nonce), 0) != sizeof(nonce))
		die("out of memory");
	/* so that no address is kept for somebody who has been served */
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){ .l_onoff = 1 },
	    sizeof(struct linger));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
	holder->fd = fd;
	holder->has_begun = 0;
	holder->packet_length = 0;
	handshake_init(&holder->handshake, ROLE_C, crowd->K, nonce, NULL, 0);
	if (connect(fd, (struct sockaddr *)&crowd->address, sizeof(crowd->address)) != 0 &&
	    errno != EINPROGRESS) {
		close(fd);
		holder->next = crowd->free;
		crowd->free = holder;
		return 0;
	}
	event.data.ptr = holder;
	if (epoll_ctl(crowd->epoll, EPOLL_CTL_ADD, fd, &event) != 0)
		die("epoll_ctl: %s", strerror(errno));
	holder->since = now();
	holder->next = &crowd->there;
	holder->previous = crowd->there.previous;
	holder->previous->next = crowd->there.previous = holder;
	crowd->present++;
	crowd->begun++;
	return 1;
}

static void
leave(struct crowd *crowd, struct holder *holder)
{
	close(holder->fd);
	holder->previous->next = holder->next;
	holder->next->previous = holder->previous;
	holder->next = crowd->free;
	crowd->free = holder;
	crowd->present--;
}

/* Let those go who have waited for long enough. */
static void
give_up(struct crowd *crowd)
{
	double until = now() - crowd->patience;

	while (crowd->there.next != &crowd->there && crowd->there.next->since < until) {
		crowd->lost++;
		leave(crowd, crowd->there.next);
	}
}

/* Send what the handshake has to say.  Returns 0 if that fails. */
static int
speak(struct holder *holder)
{
	struct handshake *handshake = &holder->handshake;
	size_t length = handshake->out_length;

	handshake->out_length = 0;
	return length == 0 ||
	    send(holder->fd, handshake->out, length, MSG_NOSIGNAL) == (ssize_t)length;
}

/* The keys are there: greet the target. */
static int
greet(struct holder *holder)
{
	uint8_t (*keys)[32] = holder->handshake.keys;
	uint8_t packet[PACKET_BYTES];
	struct packet_key key;

	packet_key_init(&key, keys[0], keys[1]);
	packet_seal_many(&key, 0, HELLO, sizeof(HELLO), packet);
	return send(holder->fd, packet, sizeof(packet), MSG_NOSIGNAL) == sizeof(packet);
}

/* The target's answer has come, and is authentic. */
static int
is_answered(struct holder *holder)
{
	uint8_t (*keys)[32] = holder->handshake.keys;
	uint8_t answer[PACKET_BYTES];
	struct packet_key key;
	size_t length, opened;

	packet_key_init(&key, keys[2], keys[3]);
	return packet_open_many(&key, 0, holder->packet, 1, answer, &length, &opened) ==
	    PACKET_OK && length == 1;
}

enum progress { LOST = -1, GOES_ON, SERVED };

/* Take what has come. */
static enum progress
go_on(struct crowd *crowd, struct holder *holder)
{
	struct handshake *handshake = &holder->handshake;
	uint8_t data[HELLO_BYTES];
	ssize_t got;

	if (!holder->has_begun) {
		struct epoll_event event = { .events = EPOLLIN, .data.ptr = holder };

		holder->has_begun = 1;
		epoll_ctl(crowd->epoll, EPOLL_CTL_MOD, holder->fd, &event);
		return speak(holder) ? GOES_ON : LOST;
	}
	if (handshake->step == STEP_DONE) {
		got = recv(holder->fd, holder->packet + holder->packet_length,
		    sizeof(holder->packet) - holder->packet_length, 0);
		if (got <= 0)
			return got < 0 && errno == EAGAIN ? GOES_ON : LOST;
		holder->packet_length += (size_t)got;
		if (holder->packet_length < sizeof(holder->packet))
			return GOES_ON;
		return is_answered(holder) ? SERVED : LOST;
	}
	got = recv(holder->fd, data, handshake_wanted(handshake), 0);
	if (got <= 0)
		return got < 0 && errno == EAGAIN ? GOES_ON : LOST;
	if (handshake_receive(handshake, data, (size_t)got) != HANDSHAKE_OK)
		return LOST;
	while (handshake_is_computing(handshake))
		handshake_compute(handshake);
	if (!speak(holder))
		return LOST;
	return handshake->step != STEP_DONE || greet(holder) ? GOES_ON : LOST;
}

static void
take_events(struct crowd *crowd)
{
	struct epoll_event events[EVENTS];
	int count = epoll_wait(crowd->epoll, events, EVENTS, TICK_MS);

	for (int i = 0; i < count; i++) {
		struct holder *holder = events[i].data.ptr;
		enum progress progress = go_on(crowd, holder);

		if (progress == GOES_ON)
			continue;
		crowd->served += progress == SERVED;
		crowd->lost += progress == LOST;
		leave(crowd, holder);
	}
}

int
main(int argc, char **argv)
{
	struct crowd crowd = { .address.sin_family = AF_INET };
	double amount, start, seconds, skip, cpu = 0;
	uint64_t begun = 0, wanted;
	struct rlimit limit;
	int is_open, counts = 0;

	if (argc != 8)
		die("usage");
	is_open = strcmp(argv[1], "open") == 0;
	crowd.address.sin_port = htons((uint16_t)atoi(argv[2]));
	crowd.address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	crowd.epoll = epoll_create1(EPOLL_CLOEXEC);
	read_key(argv[3], crowd.K);
	amount = atof(argv[4]);
	seconds = atof(argv[5]);
	skip = atof(argv[6]);
	crowd.patience = atof(argv[7]);
	crowd.there.next = crowd.there.previous = &crowd.there;
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);

	start = now();
	for (double passed = 0; passed < seconds; passed = now() - start) {
		if (!counts && passed >= skip) {
			counts = 1;
			cpu = cpu_seconds();
			crowd.begun = crowd.served = crowd.lost = crowd.without = 0;
		}
		wanted = is_open ? (uint64_t)(passed * amount) : begun + (uint64_t)amount - crowd.present;
		while (begun < wanted) {
			begun++;
			crowd.without += !begin(&crowd);
		}
		take_events(&crowd);
		give_up(&crowd);
	}
	printf("{\"begun\": %llu, \"served\": %llu, \"lost\": %llu, \"without\": %llu, "
	    "\"seconds\": %.3f, \"cpu\": %.3f}\n",
	    (unsigned long long)crowd.begun, (unsigned long long)crowd.served,
	    (unsigned long long)crowd.lost, (unsigned long long)crowd.without,
	    seconds - skip, cpu_seconds() - cpu);
	return 0;
}
