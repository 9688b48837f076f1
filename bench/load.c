/*
 * The load generator: both ends of what is sent through a pair.
 *
 *	load target FD				serve what connects to a listening socket
 *	load bulk PORT CONNECTIONS SECONDS	send one way, as much as passes
 *	load echo PORT CONNECTIONS SECONDS	send, and receive the same back
 *	load pingpong PORT CONNECTIONS SECONDS	small round trips, one at a time on each
 *	load connect PORT PARALLEL SECONDS	open, one small round trip, close, again
 *	load hold PORT CONNECTIONS		open, and keep open and silent
 *	load strangers PORT BYTES PARALLEL SECONDS	connect, say so much that is not to be
 *					understood, wait for the end, again; or, of 0 bytes, wait for
 *					a word, and leave
 *	load first-byte INPUT COMMAND...	start a program; until its first byte, and its end
 *	load accept PORT COMMAND...		start a server; until it greets a client
 *	load clock				how fast this core's clock and its TSC are
 *
 * Where PORT begins with a slash, it is the path of a UNIX socket.
 *
 * Every byte is compared, where it arrives, with the one that was sent.  Connections
 * begin with a hello that the target answers, so that what is measured is established.
 * The commands that carry load then print {"ready": true}, wait for a line, run, and
 * print their measurements as one line of JSON: "count" is of everything that was
 * completed, "in_time" of what was before the time was up.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PERIOD 131071		/* of the pattern: a prime, which no size of packet divides */
#define CHUNK 131072		/* bytes to a call, in bulk */
#define ECHO_CHUNK 32768	/* the same of an echo, which others wait behind */
#define MESSAGE 64		/* bytes of a small round trip */
#define OPENING 16		/* connections that are being opened at once */
#define EVENTS 256
#define PATIENCE 20		/* seconds that anything may take beyond what it should */

/* A prompt echo is one that nothing else is done beside. */
enum mode { SINK = 'S', ECHO = 'E', PROMPT = 'P' };

/* What a connection begins with; answered by one byte. */
struct hello {
	char magic[7];
	char mode;
	uint32_t stream;	/* which part of the pattern it carries */
};

/* How a sink answers the end of what it received. */
struct summary {
	uint64_t bytes;
	uint64_t last_ns;	/* when the last one came, on the clock of this machine */
	uint64_t damaged;
};

static const char MAGIC[7] = "measure";
static uint8_t pattern[PERIOD + CHUNK];
static _Thread_local uint8_t buffer[CHUNK];

/* Small things. */

/* End, saying why in the language of the caller. */
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

static uint64_t
now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static double
cpu_seconds(int who)
{
	struct rusage usage;

	getrusage(who, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	    (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void
make_pattern(void)
{
	uint64_t state = 0x9e3779b97f4a7c15;

	for (size_t i = 0; i < PERIOD; i++) {
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		pattern[i] = (uint8_t)(state >> 32);
	}
	memcpy(pattern + PERIOD, pattern, PERIOD);
	pattern[2 * PERIOD] = pattern[0];
}

/* What a stream has at a position, and up to CHUNK bytes behind it. */
static const uint8_t *
at(uint32_t stream, uint64_t position)
{
	return pattern + ((uint64_t)stream * 7919 + position) % PERIOD;
}

static void
use_all_descriptors(void)
{
	struct rlimit limit;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static void
watch(int epoll, int operation, int fd, uint32_t events, void *data)
{
	struct epoll_event event = { .events = events, .data.ptr = data };

	if (epoll_ctl(epoll, operation, fd, &event) != 0)
		die("epoll_ctl: %s", strerror(errno));
}

static void
send_at_once(int fd)
{
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
}

/* The target. */

struct served {
	int epoll;		/* that watches it */
	int fd;
	struct hello hello;
	size_t hello_length;
	struct summary summary;
	uint8_t *unsent;	/* of an echo, while its client is slow */
	size_t unsent_start, unsent_end;
};

static void
stop_serving(struct served *served)
{
	close(served->fd);
	free(served->unsent);
	free(served);
}

/* The small round trips have a thread of their own, so that they wait for no bulk here. */
static int prompt_epoll;

static ssize_t
take_hello(struct served *served)
{
	ssize_t got = recv(served->fd, (char *)&served->hello + served->hello_length,
	    sizeof(served->hello) - served->hello_length, 0);

	if (got > 0)
		served->hello_length += (size_t)got;
	if (got <= 0 || served->hello_length < sizeof(served->hello))
		return got;
	if (memcmp(served->hello.magic, MAGIC, sizeof(MAGIC)) != 0)
		return -1;
	got = send(served->fd, "!", 1, MSG_NOSIGNAL);
	if (got == 1 && served->hello.mode == PROMPT) {
		epoll_ctl(served->epoll, EPOLL_CTL_DEL, served->fd, NULL);
		served->epoll = prompt_epoll;
		watch(served->epoll, EPOLL_CTL_ADD, served->fd, EPOLLIN, served);
	}
	return got;
}

static ssize_t
sink(struct served *served)
{
	struct summary *summary = &served->summary;
	ssize_t got = recv(served->fd, buffer, CHUNK, 0);

	if (got > 0) {
		if (memcmp(buffer, at(served->hello.stream, summary->bytes), (size_t)got) != 0)
			summary->damaged++;
		summary->bytes += (uint64_t)got;
		summary->last_ns = now_ns();
	} else if (got == 0 && send(served->fd, summary, sizeof(*summary), MSG_NOSIGNAL) < 0) {
		return -1;
	}
	return got;
}

static ssize_t
echo(struct served *served)
{
	ssize_t got = recv(served->fd, buffer, ECHO_CHUNK, 0);
	ssize_t sent;

	if (got <= 0)
		return got;
	sent = send(served->fd, buffer, (size_t)got, MSG_NOSIGNAL);
	if (sent < 0 && errno != EAGAIN)
		return 0;
	sent = sent < 0 ? 0 : sent;
	if (sent < got) {
		served->unsent_start = 0;
		served->unsent_end = (size_t)(got - sent);
		served->unsent = malloc(served->unsent_end);
		if (served->unsent == NULL)
			die("out of memory");
		memcpy(served->unsent, buffer + sent, served->unsent_end);
		watch(served->epoll, EPOLL_CTL_MOD, served->fd, EPOLLOUT, served);
	}
	return got;
}

static ssize_t
echo_unsent(struct served *served)
{
	ssize_t sent = send(served->fd, served->unsent + served->unsent_start,
	    served->unsent_end - served->unsent_start, MSG_NOSIGNAL);

	if (sent > 0)
		served->unsent_start += (size_t)sent;
	if (served->unsent_start == served->unsent_end) {
		free(served->unsent);
		served->unsent = NULL;
		watch(served->epoll, EPOLL_CTL_MOD, served->fd, EPOLLIN, served);
	}
	return sent;
}

static void
serve(struct served *served)
{
	ssize_t status;

	if (served->hello_length < sizeof(served->hello))
		status = take_hello(served);
	else if (served->unsent != NULL)
		status = echo_unsent(served);
	else if (served->hello.mode == SINK)
		status = sink(served);
	else
		status = echo(served);
	if (status == 0 || (status < 0 && errno != EAGAIN))
		stop_serving(served);
}

static void
accept_all(int epoll, int listener)
{
	int fd;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct served *served = calloc(1, sizeof(*served));

		if (served == NULL)
			die("out of memory");
		send_at_once(fd);
		served->fd = fd;
		served->epoll = epoll;
		watch(epoll, EPOLL_CTL_ADD, fd, EPOLLIN, served);
	}
}

static void *
serve_prompt(void *unused)
{
	struct epoll_event events[EVENTS];
	int count;

	while ((count = epoll_wait(prompt_epoll, events, EVENTS, -1)) >= 0 || errno == EINTR) {
		for (int i = 0; i < count; i++)
			serve(events[i].data.ptr);
	}
	return unused;
}

static int
run_target(char **arguments)
{
	struct epoll_event events[EVENTS];
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	int listener = atoi(arguments[0]);
	pthread_t thread;
	int count;

	prompt_epoll = epoll_create1(EPOLL_CLOEXEC);
	if (pthread_create(&thread, NULL, serve_prompt, NULL) != 0)
		die("out of threads");
	fcntl(listener, F_SETFL, O_NONBLOCK);
	watch(epoll, EPOLL_CTL_ADD, listener, EPOLLIN, NULL);
	while ((count = epoll_wait(epoll, events, EVENTS, -1)) >= 0 || errno == EINTR) {
		for (int i = 0; i < count; i++) {
			if (events[i].data.ptr == NULL)
				accept_all(epoll, listener);
			else
				serve(events[i].data.ptr);
		}
	}
	return 1;
}

/* Clients: connections that are being opened or are open. */

enum phase { CLOSED, CONNECTING, GREETING, OPEN, ENDING, ENDED };

struct client {
	int fd;
	enum phase phase;
	uint32_t stream;
	uint64_t sent, received;
	uint64_t since_ns;	/* when it was begun, or its message sent */
	struct summary summary;
	size_t summary_length;
};

struct load {
	int epoll;
	struct sockaddr_storage address;
	socklen_t address_length;
	size_t garbage;		/* bytes that a stranger says */
	enum mode mode;
	struct client *clients;
	size_t count, begun, open, ended;
	uint32_t next_stream;
	uint64_t start_ns, stop_ns;
	double start_cpu;
	uint32_t *samples;	/* of latency, in ns */
	size_t sample_count, sample_room, in_time;
	uint64_t damaged, failed;
};

typedef void (*on_events)(struct load *, struct client *, uint32_t);

static void
rewatch(struct load *load, struct client *client, uint32_t events)
{
	watch(load->epoll, EPOLL_CTL_MOD, client->fd, events, client);
}

static void
begin(struct load *load, struct client *client)
{
	*client = (struct client){
		.phase = CONNECTING,
		.stream = load->next_stream++,
		.since_ns = now_ns(),
		.fd = socket(load->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0),
	};
	if (client->fd < 0)
		die("socket: %s, with %zu connections open", strerror(errno), load->open);
	if (connect(client->fd, (struct sockaddr *)&load->address, load->address_length) != 0 &&
	    errno != EINPROGRESS)
		die("connect: %s, with %zu connections open", strerror(errno), load->open);
	send_at_once(client->fd);
	watch(load->epoll, EPOLL_CTL_ADD, client->fd, EPOLLOUT, client);
}

static void
finish(struct load *load, struct client *client)
{
	close(client->fd);
	client->phase = ENDED;
	load->ended++;
}

/* Say that the connection is lost, and how. */
static void
lose(struct load *load, struct client *client, const char *what)
{
	int error = 0;
	socklen_t size = sizeof(error);

	getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &error, &size);
	die("%s: %s, with %zu connections open", what,
	    error != 0 ? strerror(error) : "closed by the peer", load->open);
}

/* Take a step towards an open connection. */
static void
advance(struct load *load, struct client *client)
{
	struct hello hello = { .mode = (char)load->mode, .stream = client->stream };
	char reply;

	if (client->phase == CONNECTING) {
		memcpy(hello.magic, MAGIC, sizeof(MAGIC));
		if (send(client->fd, &hello, sizeof(hello), MSG_NOSIGNAL) != sizeof(hello))
			lose(load, client, "opening");
		client->phase = GREETING;
		rewatch(load, client, EPOLLIN);
	} else if (recv(client->fd, &reply, 1, 0) == 1) {
		client->phase = OPEN;
		load->open++;
	} else {
		lose(load, client, "opening");
	}
}

/* The address of a port of this machine, or of a path.  Returns its length. */
static socklen_t
make_address(const char *name, struct sockaddr_storage *address)
{
	struct sockaddr_in port = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)atoi(name)),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	struct sockaddr_un path = { .sun_family = AF_UNIX };

	if (name[0] != '/') {
		memcpy(address, &port, sizeof(port));
		return sizeof(port);
	}
	if (strlen(name) >= sizeof(path.sun_path))
		die("a path is too long");
	strcpy(path.sun_path, name);
	memcpy(address, &path, sizeof(path));
	return sizeof(path);
}

static struct load
make_load(char **arguments, enum mode mode)
{
	struct load load = {
		.epoll = epoll_create1(EPOLL_CLOEXEC),
		.mode = mode,
		.count = (size_t)atoi(arguments[1]),
	};

	load.address_length = make_address(arguments[0], &load.address);
	load.clients = calloc(load.count, sizeof(*load.clients));
	if (load.clients == NULL)
		die("out of memory");
	return load;
}

/* Open all connections, a few at a time. */
static void
open_all(struct load *load)
{
	struct epoll_event events[EVENTS];

	while (load->open < load->count) {
		int count;

		while (load->begun < load->count && load->begun < load->open + OPENING)
			begin(load, &load->clients[load->begun++]);
		count = epoll_wait(load->epoll, events, EVENTS, PATIENCE * 1000);
		if (count <= 0)
			die("no answer, with %zu connections open", load->open);
		for (int i = 0; i < count; i++)
			advance(load, events[i].data.ptr);
	}
}

/* Say that we are ready, and wait for the word. */
static void
wait_for_go(void)
{
	char line[16];

	printf("{\"ready\": true}\n");
	fflush(stdout);
	if (fgets(line, sizeof(line), stdin) == NULL)
		exit(1);
}

static void
start_clock(struct load *load, const char *seconds)
{
	load->start_cpu = cpu_seconds(RUSAGE_SELF);
	load->start_ns = now_ns();
	load->stop_ns = load->start_ns + (uint64_t)(atof(seconds) * 1e9);
}

/* Hand out events until every connection that was begun has ended. */
static void
run_all(struct load *load, on_events handle)
{
	struct epoll_event events[EVENTS];

	while (load->ended < load->begun) {
		int count = epoll_wait(load->epoll, events, EVENTS, PATIENCE * 1000);

		if (count <= 0)
			die("nothing moves, with %zu connections open", load->begun - load->ended);
		for (int i = 0; i < count; i++)
			handle(load, events[i].data.ptr, events[i].events);
	}
}

/* Measurements. */

static void
take_sample(struct load *load, uint64_t ns)
{
	if (load->sample_count == load->sample_room) {
		load->sample_room = load->sample_room == 0 ? 65536 : 2 * load->sample_room;
		load->samples = realloc(load->samples, load->sample_room * sizeof(uint32_t));
		if (load->samples == NULL)
			die("out of memory");
	}
	load->samples[load->sample_count++] = ns < UINT32_MAX ? (uint32_t)ns : UINT32_MAX;
	load->in_time += now_ns() < load->stop_ns;
}

static int
compare_samples(const void *left, const void *right)
{
	uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;

	return (a > b) - (a < b);
}

/* The sample, in microseconds, that this share of all does not exceed. */
static double
percentile(const struct load *load, double share)
{
	size_t rank = (size_t)(share * (double)load->sample_count);

	if (load->sample_count == 0)
		return 0;
	rank = rank < load->sample_count ? rank : load->sample_count - 1;
	return load->samples[rank] / 1e3;
}

static int
report(struct load *load, uint64_t end_ns)
{
	uint64_t sent = 0, received = 0;

	for (size_t i = 0; i < load->count; i++) {
		sent += load->clients[i].sent;
		received += load->clients[i].received;
	}
	qsort(load->samples, load->sample_count, sizeof(uint32_t), compare_samples);
	printf("{\"seconds\": %.6f, \"cpu\": %.6f, \"sent\": %llu, \"received\": %llu, "
	    "\"damaged\": %llu, \"failed\": %llu, \"count\": %zu, \"in_time\": %zu, "
	    "\"p50_us\": %.1f, \"p90_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f}\n",
	    (double)(end_ns - load->start_ns) / 1e9, cpu_seconds(RUSAGE_SELF) - load->start_cpu,
	    (unsigned long long)sent, (unsigned long long)received,
	    (unsigned long long)load->damaged, (unsigned long long)load->failed,
	    load->sample_count, load->in_time, percentile(load, 0.5), percentile(load, 0.9),
	    percentile(load, 0.99), percentile(load, 1));
	return 0;
}

/* Send the next bytes of a stream, until the time is up. */
static void
send_bulk(struct load *load, struct client *client)
{
	ssize_t sent;

	if (now_ns() >= load->stop_ns) {
		client->phase = ENDING;
		rewatch(load, client, EPOLLIN);
		return;
	}
	sent = send(client->fd, at(client->stream, client->sent), CHUNK, MSG_NOSIGNAL);
	if (sent > 0)
		client->sent += (uint64_t)sent;
	else if (errno != EAGAIN)
		lose(load, client, "sending");
}

/* bulk */

static void
on_bulk(struct load *load, struct client *client, uint32_t events)
{
	ssize_t got;

	if (client->phase == OPEN && events & (EPOLLERR | EPOLLHUP))
		lose(load, client, "sending");
	if (client->phase == OPEN) {
		send_bulk(load, client);
		if (client->phase == ENDING)
			shutdown(client->fd, SHUT_WR);
		return;
	}
	got = recv(client->fd, (char *)&client->summary + client->summary_length,
	    sizeof(client->summary) - client->summary_length, 0);
	if (got <= 0)
		lose(load, client, "waiting for the sink");
	client->summary_length += (size_t)got;
	if (client->summary_length == sizeof(client->summary))
		finish(load, client);
}

static int
run_bulk(char **arguments)
{
	struct load load = make_load(arguments, SINK);
	uint64_t end_ns = 0;

	open_all(&load);
	wait_for_go();
	start_clock(&load, arguments[2]);
	for (size_t i = 0; i < load.count; i++)
		rewatch(&load, &load.clients[i], EPOLLOUT);
	run_all(&load, on_bulk);
	for (size_t i = 0; i < load.count; i++) {
		struct client *client = &load.clients[i];

		client->received = client->summary.bytes;
		load.damaged += client->summary.damaged;
		if (client->summary.last_ns > end_ns)
			end_ns = client->summary.last_ns;
	}
	return report(&load, end_ns);
}

/* echo */

static void
on_echo(struct load *load, struct client *client, uint32_t events)
{
	ssize_t got;

	if (events & EPOLLOUT && client->phase == OPEN)
		send_bulk(load, client);
	if (events & ~(uint32_t)EPOLLOUT) {
		got = recv(client->fd, buffer, CHUNK, 0);
		if (got <= 0)
			lose(load, client, "receiving");
		if (memcmp(buffer, at(client->stream, client->received), (size_t)got) != 0)
			load->damaged++;
		client->received += (uint64_t)got;
	}
	if (client->phase == ENDING && client->received == client->sent)
		finish(load, client);
}

static int
run_echo(char **arguments)
{
	struct load load = make_load(arguments, ECHO);

	open_all(&load);
	wait_for_go();
	start_clock(&load, arguments[2]);
	for (size_t i = 0; i < load.count; i++)
		rewatch(&load, &load.clients[i], EPOLLIN | EPOLLOUT);
	run_all(&load, on_echo);
	return report(&load, now_ns());
}

/* pingpong */

static void
ping(struct load *load, struct client *client)
{
	client->since_ns = now_ns();
	if (send(client->fd, at(client->stream, client->sent), MESSAGE, MSG_NOSIGNAL) != MESSAGE)
		lose(load, client, "sending");
	client->sent += MESSAGE;
}

static void
on_pong(struct load *load, struct client *client, uint32_t events)
{
	ssize_t got = recv(client->fd, buffer, MESSAGE, 0);

	(void)events;
	if (got <= 0)
		lose(load, client, "receiving");
	if (memcmp(buffer, at(client->stream, client->received), (size_t)got) != 0)
		load->damaged++;
	client->received += (uint64_t)got;
	if (client->received < client->sent)
		return;
	take_sample(load, now_ns() - client->since_ns);
	if (now_ns() < load->stop_ns)
		ping(load, client);
	else
		finish(load, client);
}

static int
run_pingpong(char **arguments)
{
	struct load load = make_load(arguments, PROMPT);

	open_all(&load);
	wait_for_go();
	start_clock(&load, arguments[2]);
	for (size_t i = 0; i < load.count; i++)
		ping(&load, &load.clients[i]);
	run_all(&load, on_pong);
	return report(&load, now_ns());
}

/* connect */

static void
on_connecting(struct load *load, struct client *client, uint32_t events)
{
	char end;

	if (client->phase == ENDING) {
		if (recv(client->fd, &end, 1, 0) != 0)
			load->failed++;
		finish(load, client);
		if (now_ns() < load->stop_ns) {
			load->ended--;
			begin(load, client);
		}
		return;
	}
	if (events & (EPOLLERR | EPOLLHUP))
		lose(load, client, "opening");
	advance(load, client);
	if (client->phase == OPEN) {
		take_sample(load, now_ns() - client->since_ns);
		client->phase = ENDING;
		shutdown(client->fd, SHUT_WR);
		if (load->begun < load->count)	/* no burst at the beginning */
			begin(load, &load->clients[load->begun++]);
	}
}

static int
run_connect(char **arguments)
{
	struct load load = make_load(arguments, ECHO);

	wait_for_go();
	start_clock(&load, arguments[2]);
	begin(&load, &load.clients[load.begun++]);
	run_all(&load, on_connecting);
	return report(&load, now_ns());
}

/* hold */

static int
run_hold(char **arguments)
{
	struct load load = make_load(arguments, ECHO);

	open_all(&load);
	wait_for_go();
	return report(&load, load.start_ns);
}

/* strangers */

/* Leave at once, and let no address be kept for that. */
static void
leave(struct load *load, struct client *client)
{
	take_sample(load, now_ns() - client->since_ns);
	setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &(struct linger){ .l_onoff = 1 },
	    sizeof(struct linger));
	finish(load, client);
	if (now_ns() < load->stop_ns) {
		load->ended--;
		begin(load, client);
	}
}

static void
on_stranger(struct load *load, struct client *client, uint32_t events)
{
	ssize_t got;

	if (client->phase == CONNECTING && !(events & (EPOLLERR | EPOLLHUP))) {
		client->phase = GREETING;
		rewatch(load, client, EPOLLIN);
		if (load->garbage > 0)
			send(client->fd, at(client->stream, 0), load->garbage, MSG_NOSIGNAL);
		return;
	}
	got = recv(client->fd, buffer, CHUNK, 0);
	if (got < 0 && errno == EAGAIN)
		return;
	if (got <= 0 || load->garbage == 0)
		leave(load, client);
}

static int
run_strangers(char **arguments)
{
	struct load load = make_load((char *[]){ arguments[0], arguments[2] }, SINK);

	load.garbage = (size_t)atoi(arguments[1]);
	wait_for_go();
	start_clock(&load, arguments[3]);
	while (load.begun < load.count)
		begin(&load, &load.clients[load.begun++]);
	run_all(&load, on_stranger);
	return report(&load, now_ns());
}

/* Clocks. */

#define STEPS 800000			/* additions */
#define TRIES 50			/* of which the fastest was not interrupted */

/* Additions that wait for each other take a cycle each.  Some cores take fewer for constants, so it is a
 * register that is added. */
static int
run_clock(char **arguments)
{
	uint64_t begin_ns = now_ns(), sum = 0, one = 1, least_ns = UINT64_MAX, tsc = 0;

	(void)arguments;
#ifdef __x86_64__
	tsc = __builtin_ia32_rdtsc();
#endif
	for (int i = 0; i < TRIES; i++) {
		uint64_t start_ns = now_ns(), taken_ns;

		for (int j = 0; j < STEPS / 8; j++) {
#define ADD __asm__ volatile("" : "+r"(one)); sum += one; __asm__ volatile("" : "+r"(sum));
			ADD ADD ADD ADD ADD ADD ADD ADD
		}
		taken_ns = now_ns() - start_ns;
		least_ns = taken_ns < least_ns ? taken_ns : least_ns;
	}
#ifdef __x86_64__
	tsc = __builtin_ia32_rdtsc() - tsc;
#endif
	printf("{\"core_ghz\": %.3f, \"tsc_ghz\": %.3f}\n", (double)STEPS / (double)least_ns,
	    (double)tsc / (double)(now_ns() - begin_ns));
	return 0;
}

/* Start-up. */

static pid_t
spawn(char **command, const char *input, int output)
{
	pid_t pid = fork();

	if (pid == 0) {
		int in = open(input, O_RDONLY);

		dup2(in, 0);
		if (output >= 0)
			dup2(output, 1);
		execvp(command[0], command);
		_exit(127);
	}
	if (pid < 0)
		die("fork: %s", strerror(errno));
	return pid;
}

static int
run_first_byte(char **arguments)
{
	int output[2], status;
	uint64_t start, first = 0, end;
	char byte;
	pid_t pid;

	if (pipe2(output, O_CLOEXEC) != 0)
		die("pipe: %s", strerror(errno));
	start = now_ns();
	pid = spawn(arguments + 1, arguments[0], output[1]);
	close(output[1]);
	while (read(output[0], &byte, 1) > 0)
		first = first != 0 ? first : now_ns();
	waitpid(pid, &status, 0);
	end = now_ns();
	if (status != 0)
		die("%s failed", arguments[1]);
	printf("{\"first_byte_ms\": %.3f, \"exit_ms\": %.3f, \"cpu_ms\": %.3f}\n",
	    first != 0 ? (double)(first - start) / 1e6 : 0, (double)(end - start) / 1e6,
	    cpu_seconds(RUSAGE_CHILDREN) * 1e3);
	return 0;
}

/* Is somebody there who says something? */
static int
greets(uint16_t port)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char byte;
	int greeted = connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 &&
	    recv(fd, &byte, 1, 0) == 1;

	close(fd);
	return greeted;
}

static int
run_accept(char **arguments)
{
	uint64_t start = now_ns();
	pid_t pid = spawn(arguments + 1, "/dev/null", -1);
	int status;

	while (!greets((uint16_t)atoi(arguments[0]))) {
		if (now_ns() - start > PATIENCE * 1000000000ULL ||
		    waitpid(pid, &status, WNOHANG) == pid)
			die("%s does not listen", arguments[1]);
		usleep(200);
	}
	printf("{\"accept_ms\": %.3f}\n", (double)(now_ns() - start) / 1e6);
	kill(pid, SIGTERM);
	waitpid(pid, &status, 0);
	return 0;
}

static const struct command {
	const char *name;
	int arguments;		/* at least */
	int (*run)(char **);
} COMMANDS[] = {
	{ "target", 1, run_target },
	{ "bulk", 3, run_bulk },
	{ "echo", 3, run_echo },
	{ "pingpong", 3, run_pingpong },
	{ "connect", 3, run_connect },
	{ "hold", 2, run_hold },
	{ "strangers", 4, run_strangers },
	{ "clock", 0, run_clock },
	{ "first-byte", 2, run_first_byte },
	{ "accept", 2, run_accept },
};

int
main(int argc, char **argv)
{
	make_pattern();
	use_all_descriptors();
	for (size_t i = 0; i < sizeof(COMMANDS) / sizeof(COMMANDS[0]); i++) {
		const struct command *command = &COMMANDS[i];

		if (argc > 1 && strcmp(argv[1], command->name) == 0 &&
		    argc - 2 >= command->arguments)
			return command->run(argv + 2);
	}
	die("usage");
}
