/*
 * What the data plane in C spends: a scene is played in which it does one thing a few times.
 *
 *	scenes ROLE TRANSPORT ACT [WORKERS]	e or d; tcp or unix; of acts[]
 *
 * Whatever the plane does that is to be measured, it does inside counted(): callgrind counts the
 * instructions there (--toggle-collect=counted), and strace shows the system calls between two marks.
 * On standard output: how often the thing was done, and how often the clock was read for it.
 *
 * Nothing depends on time.  The plane's clock is ours.  There is one thread, which plays the peers,
 * and the plane takes a turn when everything that they have done has arrived.  Kernels are the portable
 * ones, and what is random is always the same.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "loopback.h"
#include "plane/flow.h"
#include "plane/plane.h"
#include "plane/state.h"
#include "plane/turn.h"
#include "protocol/handshake.h"
#include "protocol/packet.h"
#include "touched.h"

#define TIMES 10			/* that a thing is done, and counted */
#define WARM_UP 5			/* times that it is done before */
#define PATIENCE 60			/* seconds after which a scene has failed */
#define TURN_US 100			/* that a turn takes, by the plane's clock */
#define SMALL 64			/* bytes of a small message */
#define SLOTS_MAX 64
#define STRIDE 256			/* of the counters, as SLOT_BYTES in spiped/observe/slot.py */
#define OWN_SLOT 1			/* of the plane; 0 is nobody's */
#define WORKERS 2			/* if nothing else is said */
#define MANY 1000			/* connections */
#define ENTRIES 64			/* of connections at a time that others see */

struct scene {
	enum role role;			/* of the plane */
	enum transport transport;
	int weak;			/* the plane makes no exponentiations */
	struct plane *plane;
	struct plane_pipe *pipe;
	int listener, target;
	struct sockaddr_storage address;	/* of the listener */
	socklen_t address_length;
	int peer[2];			/* of the plane's connection: PLAIN and CRYPT; -1: not there */
	struct handshake handshake;	/* of the crypt peer */
	struct packet_key sealing, opening;
	uint64_t sealed, opened;	/* packets */
};

/* What all planes share, as in spiped/observe/counters.py; the plane under measurement has one. */
static _Alignas(4096) uint64_t counters[SLOTS_MAX + 1][STRIDE];
static uint64_t used;
static uint64_t *const own = counters[OWN_SLOT];
static struct plane_entry entries[ENTRIES];	/* in which others see what it carries */

static const uint8_t K[32] = { 1 };
static uint8_t data[BATCH_CRYPT], packets[BATCH_CRYPT], received[BATCH_CRYPT];

/* The clock and the dice. */

static uint64_t time_us = 1000000000;
static unsigned long clock_readings;
static int is_counting;			/* turns */
static int is_turning;			/* in one that counts */

int __wrap_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_getentropy(void *buffer, size_t length);

int
__wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
	(void)clock;
	clock_readings += (unsigned long)is_turning;
	now->tv_sec = (time_t)(time_us / 1000000);
	now->tv_nsec = (long)(time_us % 1000000) * 1000;
	return 0;
}

/* The call is made all the same, because it is counted. */
int __real_getentropy(void *buffer, size_t length);
int
__wrap_getentropy(void *buffer, size_t length)
{
	int status = __real_getentropy(buffer, length);

	memset(buffer, 7, length);
	return status;
}

/* The plane's turns. */

static int
has_something(const struct plane *plane)
{
	struct pollfd poll_fd = { .fd = plane->epoll, .events = POLLIN };

	return turn_time_to_wait(plane, UINT64_MAX) == 0 || poll(&poll_fd, 1, 0) > 0;
}

static __attribute__((noinline)) void
counted(struct plane *plane)
{
	turn(plane, turn_time_to_wait(plane, UINT64_MAX));
}

/* A turn, between the marks that strace shows. */
static void
take_turn(struct plane *plane)
{
	time_us += TURN_US;
	if (is_counting) {
		touched_begin();
		is_turning = 1;
		getuid();
		counted(plane);
		getgid();
		is_turning = 0;
		touched_end();
	} else {
		turn(plane, turn_time_to_wait(plane, UINT64_MAX));
	}
}

/* Let everything arrive, and the plane act on it, until nothing is left to be done. */
static void
settle(struct scene *scene)
{
	loopback_settle();
	while (has_something(scene->plane)) {
		take_turn(scene->plane);
		loopback_settle();
	}
}

/* The beginning of a scene. */

static struct plane_address
plane_address_of(const struct sockaddr_storage *address, socklen_t length)
{
	struct plane_address result = { .length = length };

	memcpy(result.bytes, address, length);
	return result;
}

static void
make_pipe(struct scene *scene)
{
	const struct plane_pipe_settings settings = {
		.role = scene->role, .K = K, .weak = scene->weak, .keepalive = 1,
		.timeout_ms = 5000, .idle_ms = UINT64_MAX,
	};
	struct sockaddr_storage address;
	struct plane_address target;
	socklen_t length;

	scene->target = loopback_listen(scene->transport, &address, &length);
	target = plane_address_of(&address, length);
	scene->pipe = plane_pipe_new(&settings);
	plane_pipe_retarget(scene->pipe, &target, 1);
}

static void
serve(struct scene *scene, size_t workers)
{
	struct plane_service service = {
		.wake = eventfd(0, EFD_NONBLOCK), .pipe = scene->pipe, .counters = counters[0],
		.stride = STRIDE, .used = &used, .slots = SLOTS_MAX + 1, .unauthenticated = 1000,
		.tell_interval_ms = 1000,	/* and none at once: no failure is told */
	};

	scene->listener = loopback_listen(scene->transport, &scene->address,
	    &scene->address_length);
	setsockopt(scene->listener, SOL_SOCKET, SO_LINGER, &(struct linger){ .l_onoff = 1 },
	    sizeof(struct linger));	/* as plane_service wants it */
	service.listener = scene->listener;
	used = workers + 1;
	for (size_t slot = 2; slot <= workers; slot++) {
		counters[slot][PLANE_SERVING] = 1;
		counters[slot][PLANE_ACTIVE] = MANY;	/* so that ours leaves nobody to them */
	}
	touched_watch(counters, sizeof(counters), sizeof(counters[0]), OWN_SLOT, &used);
	scene->plane = plane_new(eventfd(0, EFD_NONBLOCK), own, entries, ENTRIES);
	if (plane_serve(scene->plane, &service) != 0)
		give_up("the plane does not serve");
	scene->peer[PLAIN] = scene->peer[CRYPT] = -1;
}

/* The peers. */

static int
near_side(const struct scene *scene)
{
	return scene->role == ROLE_C ? PLAIN : CRYPT;
}

/* Send to the plane, from its peer at this side. */
static void
say(struct scene *scene, int side, const uint8_t *message, size_t length)
{
	if (side == CRYPT) {
		size_t count = packet_seal_many(&scene->sealing, scene->sealed, message, length,
		    packets);

		scene->sealed += count;
		message = packets;
		length = count * PACKET_BYTES;
	}
	loopback_send(scene->peer[side], message, length);
}

static void
receive_exactly(int fd, uint8_t *buffer, size_t length)
{
	if (recv(fd, buffer, length, MSG_WAITALL) != (ssize_t)length)
		give_up("%zu bytes have not come", length);
}

/* This message has come out of the plane. */
static void
hear(struct scene *scene, int side, const uint8_t *message, size_t length)
{
	size_t count = (length + MESSAGE_MAX - 1) / MESSAGE_MAX, opened;

	if (side == CRYPT) {
		receive_exactly(scene->peer[side], packets, count * PACKET_BYTES);
		if (packet_open_many(&scene->opening, scene->opened, packets, count, received,
		    &opened, &count) != PACKET_OK || opened != length)
			give_up("what has come is not authentic");
		scene->opened += count;
	} else {
		receive_exactly(scene->peer[side], received, length);
	}
	if (memcmp(received, message, length) != 0)
		give_up("another message has come");
}

/* Go on with the crypt peer's part of the handshake, as far as it has been told something. */
static void
shake_hands(struct scene *scene)
{
	struct handshake *handshake = &scene->handshake;
	int fd = scene->peer[CRYPT];
	uint8_t buffer[HELLO_BYTES];
	size_t waiting;

	while (handshake->step != STEP_DONE) {
		if (handshake_is_computing(handshake)) {
			handshake_compute(handshake);
			continue;
		}
		if ((waiting = loopback_waiting(fd)) == 0)
			break;
		if (waiting > handshake_wanted(handshake))
			waiting = handshake_wanted(handshake);
		receive_exactly(fd, buffer, waiting);
		if (handshake_receive(handshake, buffer, waiting) != HANDSHAKE_OK)
			give_up("the handshake has failed");
	}
	if (handshake->out_length > 0)
		loopback_send(fd, handshake->out, handshake->out_length);
	handshake->out_length = 0;
}

static void
begin_handshake(struct scene *scene)
{
	static const uint8_t nonce[NONCE_BYTES] = { 9 };

	handshake_init(&scene->handshake, !scene->role, K, nonce, NULL, 0);
}

static void
take_keys(struct scene *scene)
{
	uint8_t (*keys)[32] = scene->handshake.keys;

	packet_key_init(&scene->sealing, keys[scene->role == ROLE_C ? 2 : 0],
	    keys[scene->role == ROLE_C ? 3 : 1]);
	packet_key_init(&scene->opening, keys[scene->role == ROLE_C ? 0 : 2],
	    keys[scene->role == ROLE_C ? 1 : 3]);
	scene->sealed = scene->opened = 0;
}

/* Have a connection, from the accepted socket to the target. */
static void
open_connection(struct scene *scene)
{
	uint64_t before = own[PLANE_ESTABLISHED];
	int near = near_side(scene);

	begin_handshake(scene);
	scene->peer[near] = loopback_connect(&scene->address, scene->address_length);
	settle(scene);
	while (own[PLANE_ESTABLISHED] == before || scene->handshake.step != STEP_DONE ||
	    scene->peer[!near] < 0) {
		if (scene->peer[!near] < 0)
			scene->peer[!near] = loopback_accept(scene->target);
		if (scene->peer[CRYPT] >= 0)
			shake_hands(scene);
		settle(scene);
	}
	take_keys(scene);
}

/* Both peers end it, the one that was accepted first. */
static void
close_connection(struct scene *scene)
{
	int near = near_side(scene);

	shutdown(scene->peer[near], SHUT_WR);
	settle(scene);
	close(scene->peer[!near]);
	settle(scene);
	close(scene->peer[near]);
	settle(scene);
	scene->peer[PLAIN] = scene->peer[CRYPT] = -1;
}

/* What is done; each returns how often that was the thing that is measured. */

/* One batch that is full, and there is more behind it: a message, since sockets do not hold two batches
 * everywhere. */
static unsigned
act_bulk(struct scene *scene)
{
	int from = near_side(scene);

	if (scene->peer[from] < 0) {
		open_connection(scene);
		loopback_enlarge_all();
		say(scene, from, data, LIGHT_PACKETS * MESSAGE_MAX + MESSAGE_MAX);
		loopback_settle();
		take_turn(scene->plane);	/* it does not know yet how much there is */
		loopback_settle();
		hear(scene, !from, data, LIGHT_PACKETS * MESSAGE_MAX);
	}
	say(scene, from, data, BATCH_PLAIN);
	loopback_settle();
	take_turn(scene->plane);
	loopback_settle();
	hear(scene, !from, data, BATCH_PLAIN);
	return BATCH_PACKETS;
}

/* A small message there and one back. */
static unsigned
act_round_trip(struct scene *scene)
{
	int near = near_side(scene);

	if (scene->peer[near] < 0)
		open_connection(scene);
	say(scene, near, data, SMALL);
	settle(scene);
	hear(scene, !near, data, SMALL);
	say(scene, !near, data, SMALL);
	settle(scene);
	hear(scene, near, data, SMALL);
	return 1;
}

/* A new connection, a small message there and one back, and its end. */
static unsigned
act_connection(struct scene *scene)
{
	open_connection(scene);
	act_round_trip(scene);
	close_connection(scene);
	return 1;
}

/* A new connection on which the peer says nothing, and which stays. */
static unsigned
act_arrival(struct scene *scene)
{
	loopback_connect(&scene->address, scene->address_length);
	settle(scene);
	return 1;
}

/* Somebody who does not hold the key says something, and waits for the end. */
static unsigned
act_stranger(struct scene *scene)
{
	int fd = loopback_connect(&scene->address, scene->address_length);

	loopback_send(fd, data, NONCE_BYTES + HELLO_BYTES);
	settle(scene);
	close(fd);
	return 1;
}

/* Somebody only looks whether anybody is there. */
static unsigned
act_probe(struct scene *scene)
{
	int fd = loopback_connect(&scene->address, scene->address_length);

	settle(scene);
	close(fd);
	settle(scene);
	return 1;
}

static const struct act {
	const char *name;
	unsigned (*play)(struct scene *);
	int strong;			/* with forward secrecy */
} acts[] = {
	{ "bulk", act_bulk, 0 },
	{ "round-trip", act_round_trip, 0 },
	{ "connection", act_connection, 1 },
	{ "connection-weak", act_connection, 0 },
	{ "arrival", act_arrival, 1 },
	{ "stranger", act_stranger, 1 },
	{ "probe", act_probe, 1 },
};

static const struct act *
act_of_name(const char *name)
{
	for (size_t i = 0; i < sizeof(acts) / sizeof(acts[0]); i++) {
		if (strcmp(acts[i].name, name) == 0)
			return &acts[i];
	}
	give_up("there is no act %s", name);
}

int
main(int argc, char **argv)
{
	struct scene scene = { 0 };
	const struct act *act;
	unsigned long times = 0;

	if (argc < 4)
		give_up("usage: scenes ROLE TRANSPORT ACT [WORKERS]");
	alarm(PATIENCE);
	act = act_of_name(argv[3]);
	scene.role = argv[1][0] == 'e' ? ROLE_C : ROLE_S;
	scene.transport = argv[2][0] == 't' ? TCP : UNIX;
	scene.weak = !act->strong;
	make_pipe(&scene);
	serve(&scene, argc > 4 ? (size_t)atoi(argv[4]) : WORKERS);
	for (int i = 0; i < WARM_UP; i++)
		act->play(&scene);
	is_counting = 1;
	for (int i = 0; i < TIMES; i++)
		times += act->play(&scene);
	is_counting = 0;
	printf("{\"times\": %lu, \"acts\": %d, \"clock\": %lu, \"touched\": ", times, TIMES,
	    clock_readings);
	touched_print();
	printf("}\n");
	return 0;
}
