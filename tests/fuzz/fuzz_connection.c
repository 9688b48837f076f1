/*
 * libFuzzer target: the data plane whole (_native/plane/, and protocol/handshake.c), on the simulated
 * system, between simulated peers.
 *
 * The input is a program of `struct act`s: what the peers, the network, the
 * clock and the plane's caller do, one after the other.  The crypt peer is
 * authentic: it holds K, does the handshake and seals; what it says goes through
 * hands that may change it before it is fed to the plane.
 *
 * So it is known at any time what may come out, who is there, and by when
 * something has to happen to them, and that is what is checked, as it happens.  When the program is over, everybody gets what they wait for and
 * then ends; and whatever has not come out or not ended by then was lost.
 *
 * With TRACE in the environment, an input tells its story.
 */

#include "bytes.h"
#include "kernels/aes256ctr/aes256ctr.h"
#include "kernels/sha256/sha256.h"

int LLVMFuzzerInitialize(int *count, char ***arguments);
int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned int seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t room);

/* The program. */

struct act {
	uint8_t what;			/* of enum what */
	uint8_t who;			/* bits 0-1: the session; bit 2: the side; 3-7: `extra` */
	uint8_t a, b;			/* le16(a, b) is `number` */
};

enum what {
	/* by the caller */
	SERVE,				/* once; a: enum option, of the pipe, and enum manner; b: limits; extra: timeouts */
	STOP,				/* serving */
	OPEN,				/* a client; a: enum option; b: capacities and windows; extra: source, timeouts */
	RETARGET,			/* a: how many, in bits 0-1; b: their families */
	CROWD,				/* a & 1: UNIX targets take nobody */
	RUN,				/* a: the timeout; b: room for endings */
	ABORT_ALL,
	TICK,				/* number: milliseconds */
	SIGNAL,				/* a: readable? on side 0: control, 1: the wake-up */
	FAULT,				/* a: the call; b: the error */
	SHAKE,				/* the target answers, and the handshake, undisturbed */
	/* by the authentic peer: into its outbox */
	SEAL,				/* number: bytes */
	FORGE,				/* a: the impossible length */
	/* by the hands that the outbox goes through */
	FLIP,				/* number: the byte; extra: the bit */
	DROP,				/* number: where; extra: how much */
	INSERT,				/* number: where; extra: how much */
	REPEAT,				/* a: the packet; b: where */
	EXCHANGE,			/* a, b: packets */
	SPLICE,				/* a: where; extra: of which session; b: which packet */
	REFLECT,			/* number: where; extra: how much of what the plane said last */
	/* by the peers on either side; these may happen AFTER some calls of the plane's */
	FEED,				/* number: bytes of the outbox, or of the plain peer's stream */
	TAKE,				/* number: bytes */
	FINISH,
	HANG_UP,
	RESET,				/* a: the error */
	MARK,
	ANSWER,				/* of the target; a: the error */
	STEAL,				/* another process accepts the client */
	OTHERS,				/* a, b: how many connections others have; extra: and unauthenticated ones */
	AFTER,				/* a: how many calls; the next act is what happens then */
	KINDS
};

/* Of the pipe, and of the session. */
enum option {
	SERVER = 1, STRONG = 2, REQUIRE_PFS = 4,
	PEER_STRONG = 8, ACCEPTED_UNIX = 16, CARRIED = 32, PEER_OUT_OF_RANGE = 64,
	PEER_REQUIRES_PFS = 128
};

/* Of serving. */
enum manner {
	TELL_CLEAN = 16, SHARED = 32, HIDE_LEFT = 64
};

static const uint32_t capacities[] = { 50, 300, 1060, 3000, 4240, 5000, 9000, 20000 };
static const uint32_t windows[] = { 20000, 5000, 1060, 100 };
static const uint32_t sizes[] = { 1, 4, 32, 1028, 1060, 1061, 2120, 288 };
static const int64_t run_times[] = { 0, -1, 5, 1000 };
static const int answers[] = { 0, 0, ECONNREFUSED, EHOSTUNREACH };
static const int losses[] = { ECONNRESET, ETIMEDOUT, EHOSTUNREACH };
static const int errors[] = { EINTR, ENOMEM, ENOBUFS, ECONNRESET };
static const int accept_errors[] = { EMFILE, ECONNABORTED, EAGAIN, ENOBUFS };
static const int socket_errors[] = { EMFILE, EAFNOSUPPORT, ENFILE, ENOBUFS };
static const int bind_errors[] = { EADDRINUSE, EADDRNOTAVAIL, ENOBUFS, ENOMEM };
static const int connect_errors[] = { ECONNREFUSED, ENETUNREACH, EAGAIN, ENOBUFS };
static const uint64_t limits[] = { 0, 1, 2, 4 };

/* How long a pipe waits, and whether it has an address of its own. */
static const struct {
	uint64_t timeout_ms, idle_ms;
	int bound;
} limits_of_time[] = {
	{ 200, UINT64_MAX, 0 }, { 30, 100, 0 }, { UINT64_MAX, UINT64_MAX, 0 }, { 1000, 60, 1 },
};

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

#define PAUSE_MS 100			/* of accepting, at most */
#define RETRY_MS 20			/* of connecting, at most */
#define DRAIN_POLL_MS 10		/* between two looks at who has failed, at most */
#define REST_MS 3000			/* longer than any timeout */
#define ACTS_MAX 128
#define SESSIONS 4			/* at once, */
#define SESSIONS_MAX 7			/* and in all */
#define TARGETS_MAX 3
#define PIPE_OPTIONS (SERVER | STRONG | REQUIRE_PFS)
#define PIPES ((PIPE_OPTIONS + 1) * LENGTH(limits_of_time))
#define STRIDE 192			/* of the counters */
#define SLOTS 3				/* the plane's is in the middle */
#define ENTRIES 2			/* of the table: not for all */
#define HANDSHAKE_BYTES (NONCE_BYTES + HELLO_BYTES)
#define STREAM_MAX 24000		/* of the plain peer, and of the authentic one */
#define WIRE_MAX 40000
#define PACKETS_MAX (STREAM_MAX / 300)
#define HEARD_MAX 32768			/* a power of two above every capacity */

static const uint8_t K[32] = "a key, and not a very secret one";

struct targets_told {
	size_t count;
	struct plane_address address[TARGETS_MAX];
};

/* A pipe, and what it has been told. */
struct told {
	struct plane_pipe *pipe;	/* NULL: not made yet */
	size_t timeouts;		/* in limits_of_time */
	struct targets_told targets;
};

struct session {
	uint64_t id;			/* 0: there is none */
	struct connection *connection;	/* while the accepted socket is open, */
	struct connection *made;	/* and until it is freed */
	uint64_t number;		/* of those that were accepted, or 0 */
	enum role role;
	int options;
	uint8_t sizes;
	unsigned source;
	size_t timeouts;		/* of its pipe, in limits_of_time */
	int begun;			/* it is the plane's */
	int reached;			/* the plane knows that it has reached the target */
	int relayed;
	int aborted;
	int overdue;			/* the time to deliver the rest is over */
	uint64_t carried;		/* payload to plain, when the connection ended */
	int left_for_another;		/* it ended when somebody else was accepted */
	int excused;			/* the system has failed it: nothing is owed any more */
	struct simulated_socket *socket[2];
	uint64_t failed_at[2];		/* when a side has begun to fail, or UINT64_MAX */
	int unreadable[2];		/* the system does not give what has arrived */
	uint64_t got[2];		/* payload that has reached a side's peer for good */
	size_t tried;			/* targets, */
	int refused_error;		/* and what has become of the last */
	/* When it is due, or UINT64_MAX. */
	uint64_t reach_by, attempt_due, shaken_by, noticed, lingers_until;
	uint64_t begun_at, moved_at, sent_at, closed_at;	/* when that was */

	struct handshake peer;
	int refused;			/* by the peer */
	struct packet_key sealing, opening;
	uint64_t sealed, opened;	/* packets */
	uint64_t payload;		/* sealed, in bytes */
	size_t ends[PACKETS_MAX];	/* of the payload, by packet */
	size_t forged;			/* the first forged packet, or PACKETS_MAX */
	size_t inbox_length;
	size_t said_length;		/* by the peer, */
	size_t outbox_start;		/* in the hands of others: where that begins */
	size_t outbox_length;
	size_t fed_length;		/* fed to the plane, */
	size_t good;			/* and equal to what was said up to here */

	/* What is not cleared with the rest. */
	struct targets_told targets;
	uint8_t inbox[PACKET_BYTES];
	uint8_t said[WIRE_MAX];
	uint8_t outbox[WIRE_MAX];
	uint8_t fed[WIRE_MAX];
	uint8_t heard[HEARD_MAX];	/* a ring of what the plane says */
};

static struct session sessions[SESSIONS];
static struct told pipes[PIPES];
static struct plane *plane;
static struct simulated_socket *control, *listener, *wake;
static uint64_t last_id;
static uint64_t counters[SLOTS][STRIDE];
static struct plane_entry entries[ENTRIES];
static const uint64_t used = SLOTS;
static uint64_t *const counts = counters[SLOTS / 2];
static uint64_t sum_sealed, sum_opened, sum_relayed, sum_accepted, sum_ended[PLANE_CAUSES];
static struct plane_service service;
static int service_options;		/* enum option, of its pipe */
static int serving, has_served, has_carried, has_stopped;
static int paused, pause_is_due;	/* nothing is accepted, and that is right */
static uint64_t paused_at;
static uint64_t ours_at_limit;		/* when it paused for that, or 0 */
static uint64_t unproven_at_limit;	/* the same, of unauthenticated connections */
static uint64_t came_at;		/* when somebody was accepted last */
static int drained;			/* the plane has told that it is */
static uint64_t fault_at;		/* when the system has failed last */
static size_t faults;
static struct targets_told current;
static int crowded;
static struct session *trying;		/* to connect */
static int giving;			/* the peers read whatever comes */

static struct {
	int calls;			/* 0: there is nothing to come */
	struct act act;
} after;

/* Streams: every one is a different piece of the same noise. */

#define NOISE 65521

static uint8_t noise[2 * NOISE];

_Static_assert(STRIDE >= PLANE_COUNTERS, "a slot has room for all counters");

static const uint8_t *
stream(uint64_t id, int side)
{
	return noise + (id * 2 + (uint64_t)side) * 7919 % NOISE;
}

/* What is known of a session. */

/* Something that the authentic peer did not say, or not there, has been fed. */
static int
is_spoilt(const struct session *s)
{
	return s->good < s->fed_length;
}

/* Packets that have been fed as they were sealed, and with a possible length. */
static size_t
good_packets(const struct session *s)
{
	size_t count = s->good < HANDSHAKE_BYTES ? 0 : (s->good - HANDSHAKE_BYTES) / PACKET_BYTES;

	return count < s->forged ? count : s->forged;
}

/* The payload that has to reach the other side's peer, and beyond which nothing may. */
static uint64_t
owed(const struct session *s, int side)
{
	if (side == PLAIN)
		return s->socket[PLAIN] == NULL ? 0 : s->socket[PLAIN]->arrived;
	return good_packets(s) == 0 ? 0 : s->ends[good_packets(s) - 1];
}

/* The plane has had a packet that it has to refuse. */
static int
has_bad_packet(const struct session *s)
{
	size_t end = HANDSHAKE_BYTES + (good_packets(s) + 1) * PACKET_BYTES;

	return s->good >= HANDSHAKE_BYTES && s->socket[CRYPT]->read >= end;
}

/* A stream has come to an end that its peer meant, and all of it has been received. */
static int
has_ended(const struct session *s, int side)
{
	const struct simulated_socket *socket = s->socket[side];

	if (!socket->finished || socket->read < socket->arrived)
		return 0;
	return side == PLAIN || (!is_spoilt(s) && s->good >= HANDSHAKE_BYTES &&
	    s->good == HANDSHAKE_BYTES + good_packets(s) * PACKET_BYTES);
}

/* The side that is accepted, and the one that is connected. */
static int
accepted(const struct session *s)
{
	return s->role == ROLE_C ? PLAIN : CRYPT;
}

static int
target(const struct session *s)
{
	return !accepted(s);
}

/* The peer has proved to the plane that it holds the key. */
static int
is_proved(const struct session *s)
{
	return s->good >= HANDSHAKE_BYTES && s->socket[CRYPT]->read >= HANDSHAKE_BYTES;
}

static int
has_shaken(const struct session *s)
{
	return is_proved(s) && s->socket[CRYPT]->sent >= HANDSHAKE_BYTES;
}

static uint64_t
timeout_of(const struct session *s)
{
	return limits_of_time[s->timeouts].timeout_ms;
}

static uint64_t
later(uint64_t since, uint64_t ms)
{
	return ms == UINT64_MAX ? ms : since + ms;
}

/* The sum over all planes. */
static uint64_t
total(enum plane_counter counter)
{
	uint64_t sum = 0;

	for (size_t slot = 0; slot < SLOTS; slot++)
		sum += counters[slot][counter];
	return sum;
}

static void
note_failure(struct session *s, int side)
{
	if (s->failed_at[side] == UINT64_MAX)
		s->failed_at[side] = simulated_now_ms();
}

static int
has_failed(const struct session *s, int side)
{
	return s->failed_at[side] != UINT64_MAX;
}

/* Look whether the connection has come to be relayed. */
static void
look(struct session *s)
{
	if (s->relayed || s->connection == NULL || s->connection->phase == PHASE_OPENING)
		return;
	promise(has_shaken(s) && s->reached, "what is relayed has been agreed");
	s->relayed = 1;
	s->moved_at = simulated_now_ms();
	sum_relayed++;
}

static struct session *
owner(const struct simulated_socket *socket)
{
	return &sessions[socket->owner];
}

/* The outbox. */

static uint8_t *
outbox(struct session *s)
{
	return s->outbox + s->outbox_start;
}

static void
cut(struct session *s, size_t at, size_t length)
{
	if (at >= s->outbox_length)
		return;
	if (length > s->outbox_length - at)
		length = s->outbox_length - at;
	if (at == 0)
		s->outbox_start += length;
	else
		memmove(outbox(s) + at, outbox(s) + at + length, s->outbox_length - at - length);
	s->outbox_length -= length;
	if (s->outbox_length == 0)
		s->outbox_start = 0;
}

/* What there is no room for is lost. */
static void
insert(struct session *s, size_t at, const uint8_t *data, size_t length)
{
	if (at > s->outbox_length || s->outbox_start + s->outbox_length + length > WIRE_MAX)
		return;
	memmove(outbox(s) + at + length, outbox(s) + at, s->outbox_length - at);
	memcpy(outbox(s) + at, data, length);
	s->outbox_length += length;
}

/* The authentic peer. */

static void
say(struct session *s, const uint8_t *data, size_t length)
{
	assert(s->said_length + length <= WIRE_MAX);
	memcpy(s->said + s->said_length, data, length);
	s->said_length += length;
	insert(s, s->outbox_length, data, length);
}

static int
in_session(const struct session *s)
{
	return s->peer.step == STEP_DONE;
}

/* Say what the peer's machine says, and compute what it computes. */
static void
advance_peer(struct session *s)
{
	do {
		say(s, s->peer.out, s->peer.out_length);
		s->peer.out_length = 0;
		if (handshake_is_computing(&s->peer))
			handshake_compute(&s->peer);
	} while (s->peer.out_length > 0 || handshake_is_computing(&s->peer));
	if (in_session(s)) {
		uint8_t (*own)[32] = s->peer.keys + (s->peer.role == ROLE_C ? 0 : 2);
		uint8_t (*other)[32] = s->peer.keys + (s->peer.role == ROLE_C ? 2 : 0);

		packet_key_init(&s->sealing, own[0], own[1]);
		packet_key_init(&s->opening, other[0], other[1]);
	}
}

static void
create_peer(struct session *s)
{
	uint8_t nonce[NONCE_BYTES], x[GROUP14_SECRET_BYTES];

	simulated_getentropy(nonce, sizeof(nonce));
	simulated_getentropy(x, sizeof(x));
	if (s->options & PEER_OUT_OF_RANGE)
		memset(x, 0xff, sizeof(x));
	handshake_init(&s->peer, s->role == ROLE_C ? ROLE_S : ROLE_C, K, nonce,
	    s->options & (PEER_STRONG | PEER_OUT_OF_RANGE) ? x : NULL,
	    (s->options & PEER_REQUIRES_PFS) != 0);
	advance_peer(s);
}

/* The end of what the plane says has been heard: was that all that there was? */
static void
check_end(const struct session *s)
{
	const struct simulated_socket *crypt = s->socket[CRYPT];

	if (crypt->shut && crypt->taken == crypt->sent && !s->refused)
		promise(has_ended(s, PLAIN) && s->got[CRYPT] == owed(s, PLAIN) &&
		    s->inbox_length == 0, "an end that is heard is the end of a whole stream");
}

static void
open_packet(struct session *s)
{
	uint8_t message[MESSAGE_MAX];
	size_t length, opened;
	int status = packet_open_many(&s->opening, s->opened++, s->inbox, 1, message, &length,
	    &opened);

	promise(status == PACKET_OK, "what the plane seals opens");
	promise(s->got[CRYPT] + length <= owed(s, PLAIN) &&
	    memcmp(message, stream(s->id, PLAIN) + s->got[CRYPT], length) == 0,
	    "the crypt peer gets what the plain peer has written");
	s->got[CRYPT] += length;
	s->inbox_length = 0;
}

/* The peer hears what the plane says. */
static void
hear(struct session *s, const uint8_t *data, size_t length)
{
	while (length > 0 && !s->refused) {
		size_t part = in_session(s) ? PACKET_BYTES - s->inbox_length :
		    handshake_wanted(&s->peer);

		if (part > length)
			part = length;
		if (in_session(s)) {
			memcpy(s->inbox + s->inbox_length, data, part);
			s->inbox_length += part;
			if (s->inbox_length == PACKET_BYTES)
				open_packet(s);
		} else if (handshake_receive(&s->peer, data, part) != HANDSHAKE_OK) {
			promise(is_spoilt(s) || (s->options & PEER_REQUIRES_PFS),
			    "the plane is understood");
			s->refused = 1;
			simulated_hang_up(s->socket[CRYPT]);
		} else
			advance_peer(s);
		data += part;
		length -= part;
	}
}

static void
seal(struct session *s, size_t length)
{
	uint8_t packets[8 * PACKET_BYTES];
	size_t count;

	if (!in_session(s) || s->payload + length > STREAM_MAX || length == 0)
		return;
	count = (length + MESSAGE_MAX - 1) / MESSAGE_MAX;
	if (s->sealed + count > PACKETS_MAX ||
	    s->said_length + count * PACKET_BYTES > WIRE_MAX)
		return;
	packet_seal_many(&s->sealing, s->sealed, stream(s->id, CRYPT) + s->payload, length,
	    packets);
	for (size_t i = 0; i < count; i++) {
		size_t carried = length < MESSAGE_MAX ? length : MESSAGE_MAX;

		s->payload += carried;
		length -= carried;
		s->ends[s->sealed++] = s->payload;
	}
	say(s, packets, count * PACKET_BYTES);
}

/* An authentic packet that nobody may take. */
static void
forge(struct session *s, uint8_t a)
{
	static const uint32_t impossible[] = { 0, MESSAGE_MAX + 1, UINT32_MAX, 1 << 16 };
	uint8_t packet[PACKET_BYTES] = { 0 };

	if (!in_session(s) || s->sealed == PACKETS_MAX || s->said_length + PACKET_BYTES > WIRE_MAX)
		return;
	store_be32(packet + MESSAGE_MAX, impossible[a % LENGTH(impossible)]);
	aes256ctr_many(&s->sealing.aes, s->sealed, 0, packet, 0, packet, 0, PACKET_CIPHERTEXT, 1);
	hmac_sha256_many(&s->sealing.hmac, s->sealed, packet, 0, PACKET_CIPHERTEXT, 1,
	    packet + PACKET_CIPHERTEXT, 0);
	if (s->forged == PACKETS_MAX)
		s->forged = s->sealed;
	s->ends[s->sealed++] = s->payload;
	say(s, packet, sizeof(packet));
}

/* The hands that the outbox goes through. */

/* Where in the outbox the i-th message begins: a packet, or what is left of the handshake. */
static size_t
place(const struct session *s, size_t i)
{
	size_t left = s->fed_length < HANDSHAKE_BYTES ? HANDSHAKE_BYTES - s->fed_length :
	    (PACKET_BYTES - (s->fed_length - HANDSHAKE_BYTES) % PACKET_BYTES) % PACKET_BYTES;
	size_t count = s->outbox_length < left ? 1 : (s->outbox_length - left) / PACKET_BYTES + 1;

	return left + i % count * PACKET_BYTES;
}

static void
exchange(struct session *s, size_t first, size_t second)
{
	uint8_t saved[PACKET_BYTES];

	if (first + PACKET_BYTES > s->outbox_length || second + PACKET_BYTES > s->outbox_length)
		return;
	memcpy(saved, outbox(s) + first, PACKET_BYTES);
	memmove(outbox(s) + first, outbox(s) + second, PACKET_BYTES);
	memcpy(outbox(s) + second, saved, PACKET_BYTES);
}

static void
meddle(struct session *s, const struct act *act)
{
	size_t number = act->a | (size_t)act->b << 8, extra = act->who >> 3;
	size_t at = number % (s->outbox_length + 1), size = sizes[extra % LENGTH(sizes)];
	struct session *other = &sessions[extra % SESSIONS];
	uint8_t copy[4096];

	switch (act->what) {
	case FLIP:
		if (at < s->outbox_length)
			outbox(s)[at] ^= 1 << extra % 8;
		break;
	case DROP:
		cut(s, at, size);
		break;
	case INSERT:
		memset(copy, (int)extra, size);
		insert(s, at, copy, size);
		break;
	case REPEAT:
		at = place(s, act->a);
		if (at + PACKET_BYTES > s->outbox_length)
			break;
		memcpy(copy, outbox(s) + at, PACKET_BYTES);
		insert(s, place(s, act->b), copy, PACKET_BYTES);
		break;
	case EXCHANGE:
		exchange(s, place(s, act->a), place(s, act->b));
		break;
	case SPLICE:
		at = HANDSHAKE_BYTES + (size_t)act->b * PACKET_BYTES;
		if (other->id != 0 && at + PACKET_BYTES <= other->said_length)
			insert(s, place(s, act->a), other->said + at, PACKET_BYTES);
		break;
	case REFLECT:
		if (s->socket[CRYPT] == NULL || size > s->socket[CRYPT]->sent)
			break;
		for (size_t i = 0; i < size; i++)
			copy[i] = s->heard[(s->socket[CRYPT]->sent - size + i) % HEARD_MAX];
		insert(s, at, copy, size);
		break;
	}
}

/* The peers, and the way to them. */

/* How much of what has been fed is what was said? */
static void
compare(struct session *s)
{
	size_t end = s->fed_length < s->said_length ? s->fed_length : s->said_length;

	if (memcmp(s->fed + s->good, s->said + s->good, end - s->good) == 0)
		s->good = end;
	while (s->good < end && s->fed[s->good] == s->said[s->good])
		s->good++;
}

static void
feed_crypt(struct session *s, size_t length)
{
	if (length > simulated_window(s->socket[CRYPT]))
		length = simulated_window(s->socket[CRYPT]);
	if (length > s->outbox_length)
		length = s->outbox_length;
	if (length > WIRE_MAX - s->fed_length)
		length = WIRE_MAX - s->fed_length;
	memcpy(s->fed + s->fed_length, outbox(s), length);
	s->fed_length += length;
	cut(s, 0, length);
	compare(s);
	if (is_spoilt(s) || s->good >= HANDSHAKE_BYTES + (s->forged + 1) * PACKET_BYTES)
		note_failure(s, CRYPT);
	simulated_arrive(s->socket[CRYPT], length);
}

static void
feed_plain(struct session *s, size_t length)
{
	struct simulated_socket *plain = s->socket[PLAIN];

	if (length > simulated_window(plain))
		length = simulated_window(plain);
	if (length > STREAM_MAX - plain->arrived)
		length = STREAM_MAX - plain->arrived;
	simulated_arrive(plain, length);
}

/* The peer on a side takes what the plane has sent. */
static uint64_t
take(struct session *s, int side, uint64_t length)
{
	struct simulated_socket *socket = s->socket[side];
	uint64_t position = socket->taken, count = simulated_take(socket, length);

	if (side == PLAIN) {
		s->got[PLAIN] += count;
		return count;
	}
	while (position < socket->taken) {
		size_t start = position % HEARD_MAX, part = HEARD_MAX - start;

		if (part > socket->taken - position)
			part = socket->taken - position;
		hear(s, s->heard + start, part);
		position += part;
	}
	check_end(s);
	return count;
}

/* The target answers, if it has been asked, and somebody still wants to know. */
static int
answer(struct session *s, int error)
{
	struct simulated_socket *socket = s->socket[target(s)];

	if (!socket->connecting || !socket->open)
		return 0;
	simulated_answer(socket, error);
	return 1;
}

static void
forget(struct session *s)
{
	for (int side = PLAIN; side <= CRYPT; side++) {
		if (s->socket[side] != NULL)
			simulated_forget(s->socket[side]);
	}
	s->id = 0;
}

/* The other planes have so many connections, but together not more than there may be. */
static void
others_have(uint64_t first, uint64_t last, uint64_t unauthenticated)
{
	uint64_t ours = counts[PLANE_ACTIVE], room = UINT64_MAX;

	if (service.limit > 0)
		room = service.limit > ours ? service.limit - ours : 0;
	first = first < room ? first : room;
	last = last < room - first ? last : room - first;
	counters[0][PLANE_ACTIVE] = first;
	counters[SLOTS - 1][PLANE_ACTIVE] = last;
	counters[0][PLANE_UNAUTHENTICATED] = unauthenticated;
}

/* Steps that a peer takes on one of the sockets. */
static void
peer_act(const struct act *act)
{
	struct session *s = &sessions[act->who % SESSIONS];
	int side = act->who >> 2 & 1;
	size_t number = act->a | (size_t)act->b << 8;
	struct simulated_socket *socket = s->socket[side];

	if (act->what == OTHERS) {
		others_have(act->a % 8, act->b % 8, act->who >> 3 & 3);
		return;
	}
	if (s->id == 0 || socket == NULL || !socket->open)
		return;
	switch (act->what) {
	case ANSWER:
		if (s->socket[target(s)] != NULL)
			answer(s, answers[act->a % LENGTH(answers)]);
		return;
	case STEAL:
		if (socket->waiting) {
			simulated_go(listener, socket);
			forget(s);
		}
		return;
	case FEED:
		if (side == PLAIN)
			feed_plain(s, number);
		else
			feed_crypt(s, number);
		break;
	case TAKE:
		take(s, side, number);
		break;
	case FINISH:
		simulated_finish(socket);
		break;
	case HANG_UP:
		simulated_hang_up(socket);
		break;
	case RESET:
		simulated_reset(socket, losses[act->a % LENGTH(losses)]);
		break;
	case MARK:
		simulated_mark(socket);
		break;
	}
	if (side == CRYPT && socket->finished && (s->fed_length < HANDSHAKE_BYTES ||
	    (s->fed_length - HANDSHAKE_BYTES) % PACKET_BYTES != 0))
		note_failure(s, CRYPT);
}

/* What the system calls of the plane come to. */

static void
what_comes_after(void)
{
	struct act act = after.act;

	after.calls = 0;
	trace("    now: %d %d %d %d\n", act.what, act.who, act.a, act.b);
	peer_act(&act);
}

void
on_call(void)
{
	if (after.calls > 0 && --after.calls == 0)
		what_comes_after();
}

/* Everybody gives and takes what there is.  Returns whether there was anything. */
static int
give(void)
{
	uint64_t count = 0;

	for (size_t i = 0; i < SESSIONS; i++) {
		struct session *s = &sessions[i];

		if (s->id == 0)
			continue;
		if (s->socket[target(s)] != NULL)
			count += (uint64_t)answer(s, 0);
		for (int side = PLAIN; side <= CRYPT; side++) {
			if (s->socket[side] != NULL)
				count += take(s, side, UINT64_MAX);
		}
		if (s->socket[CRYPT] != NULL && simulated_window(s->socket[CRYPT]) > 0) {
			size_t before = s->fed_length;

			feed_crypt(s, SIZE_MAX);
			count += s->fed_length - before;
		}
	}
	simulated_signal(wake, 0);		/* the others have seen it */
	return count > 0;
}

/* Both sockets are closed, and the end is to be told, or has been counted. */
static int
is_over(const struct session *s)
{
	for (int side = PLAIN; side <= CRYPT; side++) {
		if (s->socket[side] != NULL && s->socket[side]->open)
			return 0;
	}
	return 1;
}

/* The system has told the plane that the connection has failed. */
static int
is_noticeable(const struct session *s)
{
	for (int side = PLAIN; side <= CRYPT; side++) {
		const struct simulated_socket *socket = s->socket[side];

		if (socket != NULL && socket->family != AF_UNIX && has_failed(s, side) &&
		    (socket->reset || side == PLAIN || (has_bad_packet(s) && s->relayed)))
			return 1;
	}
	return 0;
}

/* A UNIX peer has left, and what it gave before is still on its way to the other one. */
static int
lingers(const struct session *s)
{
	return s->connection != NULL && s->connection->phase == PHASE_DRAINING &&
	    flows_failed(&s->connection->relay.flows) < 0;
}

/* Is there something for which a connection may linger? */
static int
is_on_its_way(const struct session *s)
{
	for (int side = PLAIN; side <= CRYPT; side++) {
		const struct simulated_socket *source = s->socket[side], *sink = s->socket[!side];

		if (source->deaf && source->family == AF_UNIX && source->read == source->arrived &&
		    sink->family != AF_UNIX && sink->sent > sink->taken)
			return 1;
	}
	return 0;
}

/* Look whether the connection has come to linger, and for how long it may. */
static void
look_whether_it_lingers(struct session *s)
{
	uint64_t now = simulated_now_ms();

	if (!lingers(s))
		return;
	if (s->lingers_until == UINT64_MAX)
		s->lingers_until = later(now, timeout_of(s));
	if (s->noticed > s->lingers_until)
		s->noticed = s->lingers_until;
	if (s->noticed > now && !is_on_its_way(s))
		s->noticed = now;	/* there is nothing to wait for */
}

/* When something has to happen to the connection, at the latest. */
static uint64_t
latest(const struct session *s)
{
	uint64_t by = UINT64_MAX;

	if (s->connection == NULL)
		return by;
	if (!s->reached && s->attempt_due < by)
		by = s->attempt_due;
	if (s->shaken_by < by && !has_shaken(s))
		by = s->shaken_by;
	if (lingers(s) && simulated_now_ms() + DRAIN_POLL_MS < by)
		by = simulated_now_ms() + DRAIN_POLL_MS;
	/* how often the plane finds that something is on its way in the system, it alone knows */
	if (s->relayed && !lingers(s) && flows_failed(&s->connection->relay.flows) < 0 &&
	    limits_of_time[s->timeouts].idle_ms != UINT64_MAX)
		by = s->connection->timeout.place == 0 ? 0 : s->connection->timeout.due_ms;
	return by;
}

/* The plane waits: everything that is due has been done, and what comes next has its time. */
static void
check_time(int wait_ms)
{
	uint64_t until = wait_ms < 0 ? UINT64_MAX : simulated_now_ms() + (uint64_t)wait_ms;

	for (size_t i = 0; i < SESSIONS; i++) {
		struct session *s = &sessions[i];

		if (s->id == 0 || !s->begun || is_over(s))
			continue;
		look(s);
		if (s->noticed == UINT64_MAX && is_noticeable(s)) {
			promise(s->relayed || s->excused, "a reset is noticed at any time");
			s->noticed = later(simulated_now_ms(), timeout_of(s));
		}
		look_whether_it_lingers(s);
		promise(until <= latest(s), "nothing is slept through");
		promise(s->noticed == UINT64_MAX ||
		    simulated_now_ms() < later(s->noticed, DRAIN_POLL_MS) || s->overdue++ == 0,
		    "a failure takes no more time than its rest");
	}
	if (!serving)
		return;
	promise(paused || listener->arrived == 0, "whoever comes is accepted");
	promise(!paused || (pause_is_due && until <= paused_at + PAUSE_MS),
	    "a pause has a reason and an end");
	promise(!paused || (counts[PLANE_ACTIVE] >= ours_at_limit &&
	    counts[PLANE_UNAUTHENTICATED] >= unproven_at_limit), "room is noticed");
}

/* Whoever has failed has been noticed, and does not wait for an event that will not come. */
static void
check_failed(void)
{
	for (size_t i = 0; i < SESSIONS; i++) {
		const struct session *s = &sessions[i];

		if (s->id == 0 || !s->relayed || is_over(s))
			continue;
		promise(!has_failed(s, PLAIN), "a failure is the end");
		promise(!has_failed(s, CRYPT) || (is_spoilt(s) && !has_bad_packet(s)),
		    "a failure is the end");
	}
}

static int is_settled(const struct session *s, int side);

/* Nothing that could go on, or had to be noticed, waits for an event that has passed. */
static void
check_liveness(void)
{
	for (size_t i = 0; i < SESSIONS; i++) {
		struct session *s = &sessions[i];

		if (s->id == 0 || !s->begun || is_over(s))
			continue;
		if (!s->relayed) {
			promise(s->excused || s->refused || s->socket[CRYPT] == NULL ||
			    s->socket[target(s)] == NULL || s->good < HANDSHAKE_BYTES ||
			    s->socket[CRYPT]->finished, "what can begin begins");
			continue;
		}
		for (int side = PLAIN; side <= CRYPT; side++) {
			promise(is_settled(s, side), "what can be delivered is delivered");
			promise(!s->socket[side]->finished || s->socket[!side]->shut,
			    "an end is passed on");
			promise(!s->socket[side]->deaf || s->socket[side]->family != AF_UNIX,
			    "whoever has gone is not waited for");
		}
	}
}

int
on_idle(int wait_ms)
{
	if (after.calls > 0) {
		what_comes_after();
		return 1;
	}
	if (giving && give())
		return 1;
	check_time(wait_ms);
	if (giving && (wait_ms < 0 || wait_ms > RETRY_MS)) {
		check_failed();
		check_liveness();
	}
	return 0;
}

/* Accepting and connecting. */

static void
own(struct session *s, int side, struct simulated_socket *socket)
{
	socket->owner = (int)(s - sessions);
	socket->side = side;
	socket->capacity = capacities[s->sizes >> (side == CRYPT ? 0 : 3) & 7];
	socket->window = windows[s->sizes >> 6 & 3];
	s->socket[side] = socket;
}

static struct session *
session_of(const struct connection *connection)
{
	for (size_t i = 0; i < SESSIONS; i++) {
		if (sessions[i].id != 0 && sessions[i].connection == connection)
			return &sessions[i];
	}
	return NULL;
}

/* Are there too many unauthenticated connections, with the one that may come? */
static int
is_unproven_limit(void)
{
	return service.unauthenticated > 0 && total(PLANE_UNAUTHENTICATED) > service.unauthenticated;
}

/* Why accepting may pause now. */
static int
is_pause_due(void)
{
	uint64_t ours = counts[PLANE_ACTIVE], all = total(PLANE_ACTIVE);

	return fault_at == simulated_now_ms() || (service.limit > 0 && all > service.limit) ||
	    is_unproven_limit() || computing_is_full(plane) ||
	    (counters[0][PLANE_SERVING] && ours > 1 && (ours - 1) * SLOTS * 4 > all * 5);
}

/* Who has come, by the address from which that is. */
socklen_t
on_accept(struct simulated_socket *socket, struct sockaddr_storage *address)
{
	static const char *const sources[] = { "192.0.2.1", "192.0.2.2" };
	struct session *s = owner(socket);
	struct plane_address made;
	uint8_t name[16] = { 0x20, 0x01, 0x0d, 0xb8 };

	promise(serving, "nobody is accepted by whom does not serve");
	promise(service.limit == 0 || total(PLANE_ACTIVE) <= service.limit,
	    "there are not more than there may be");
	if (socket->family == AF_UNIX) {
		name[0] = (uint8_t)('0' + (s - sessions));
		plane_address(&made, AF_UNIX, name, 1, 0, 0, 0);
	} else if (s->source < 2) {
		memcpy(name, sources[s->source] + 4, 4);
		plane_address(&made, AF_INET, name, 4, (uint16_t)(s - sessions), 0, 0);
	} else {
		name[15] = (uint8_t)s->source;
		plane_address(&made, AF_INET6, name, 16, (uint16_t)(s - sessions), 0, 0);
	}
	memcpy(address, made.bytes, made.length);
	s->number = ++sum_accepted;
	came_at = simulated_now_ms();
	return made.length;
}

/* The session of whom that is. */
static struct session *
session_at(const struct plane_address *address)
{
	struct sockaddr_in6 in;

	promise(address->length > 2, "it is told who that was");
	memcpy(&in, address->bytes, sizeof(in));
	if (in.sin6_family == AF_UNIX)
		return &sessions[address->bytes[2] - '0'];
	return &sessions[ntohs(in.sin6_port)];
}

void
on_watch(struct simulated_socket *socket, const struct epoll_event *event)
{
	struct endpoint *endpoint = (struct endpoint *)(uintptr_t)event->data.u64;
	struct connection *connection;
	struct session *s;

	if (socket->owner < 0) {
		if (socket == listener)
			paused = 0;
		return;
	}
	s = owner(socket);
	connection = connection_of_endpoint(endpoint);
	promise((int)endpoint->side == socket->side, "an event is of its side");
	if (socket->side == target(s)) {
		promise(connection == s->connection, "an event is of its connection");
		return;
	}
	s->connection = s->made = connection;
	s->begun = 1;
	s->begun_at = simulated_now_ms();
	for (size_t i = 0; i < PIPES; i++) {
		if (pipes[i].pipe == connection->pipe) {
			s->timeouts = pipes[i].timeouts;
			s->targets.count = pipes[i].targets.count;
			memcpy(s->targets.address, pipes[i].targets.address,
			    s->targets.count * sizeof(s->targets.address[0]));
		}
	}
	if (s->role == ROLE_S)
		s->shaken_by = later(simulated_now_ms(), timeout_of(s));
}

void
on_unwatch(struct simulated_socket *socket)
{
	if (socket != listener)
		return;
	paused = 1;
	paused_at = simulated_now_ms();
	pause_is_due = is_pause_due();
	ours_at_limit = fault_at != paused_at && service.limit > 0 && service.wake < 0 &&
	    total(PLANE_ACTIVE) > service.limit ? counts[PLANE_ACTIVE] - 1 : 0;
	unproven_at_limit = fault_at != paused_at && ours_at_limit == 0 && service.wake < 0 &&
	    is_unproven_limit() && !computing_is_full(plane) ? counts[PLANE_UNAUTHENTICATED] - 1 : 0;
}

/* What the plane calls to connect: we look who that is about, and what has come of it. */

static void
begin_trying(struct connector *connector)
{
	promise(trying == NULL, "one is connected at a time");
	trying = session_of(OWNER_OF(connector, struct connection, connector));
	promise(trying != NULL, "who has ended is not connected");
}

static enum connect_result
end_trying(enum connect_result result)
{
	struct session *s = trying;
	uint64_t now = simulated_now_ms();

	trying = NULL;
	if (result == CONNECT_FAILED || s->reached)
		return result;
	if (result == CONNECT_DONE) {
		s->reached = 1;
		if (s->role == ROLE_C)
			s->shaken_by = later(now, timeout_of(s));
	} else if (s->socket[target(s)] == NULL) {
		promise(now < s->reach_by, "nobody goes on who is too late");
		s->attempt_due = s->reach_by - now < RETRY_MS ? s->reach_by : now + RETRY_MS;
	}
	return result;
}

enum connect_result __real_connect_begin(struct connector *connector,
    const struct plane_pipe_settings *settings, int epoll, uint64_t now_ms);
enum connect_result __wrap_connect_begin(struct connector *connector,
    const struct plane_pipe_settings *settings, int epoll, uint64_t now_ms);
enum connect_result __real_connect_step(struct connector *connector,
    const struct plane_pipe_settings *settings, int epoll);
enum connect_result __wrap_connect_step(struct connector *connector,
    const struct plane_pipe_settings *settings, int epoll);
enum connect_result __real_connect_time_out(struct connector *connector,
    const struct plane_pipe_settings *settings, int epoll);
enum connect_result __wrap_connect_time_out(struct connector *connector,
    const struct plane_pipe_settings *settings, int epoll);

enum connect_result
__wrap_connect_begin(struct connector *connector, const struct plane_pipe_settings *settings,
    int epoll, uint64_t now_ms)
{
	begin_trying(connector);
	promise(now_ms == simulated_now_ms(), "it is told the time");
	promise(trying->role == ROLE_C || is_proved(trying), "only who is authentic reaches the target");
	trying->reach_by = later(simulated_now_ms(), timeout_of(trying));
	return end_trying(__real_connect_begin(connector, settings, epoll, now_ms));
}

enum connect_result
__wrap_connect_step(struct connector *connector, const struct plane_pipe_settings *settings,
    int epoll)
{
	enum connect_result result;

	begin_trying(connector);
	if (trying->socket[target(trying)] != NULL)
		return end_trying(__real_connect_step(connector, settings, epoll));
	result = __real_connect_step(connector, settings, epoll);
	promise(result == CONNECT_WAIT, "a pause is not cut short");
	trying = NULL;
	return result;
}

enum connect_result
__wrap_connect_time_out(struct connector *connector, const struct plane_pipe_settings *settings,
    int epoll)
{
	begin_trying(connector);
	promise(simulated_now_ms() >= trying->attempt_due || trying->socket[target(trying)] == NULL,
	    "a target has its time");
	return end_trying(__real_connect_time_out(connector, settings, epoll));
}

/* And what it calls for an exponentiation. */

void __real_opening_compute(struct plane *plane, struct connection *connection);
void __wrap_opening_compute(struct plane *plane, struct connection *connection);

void
__wrap_opening_compute(struct plane *the_plane, struct connection *connection)
{
	const struct session *s = session_of(connection);
	int is_in_vain = connection->endpoint[CRYPT].failed && s->socket[CRYPT]->error != 0;
	size_t before = simulated_powers;

	__real_opening_compute(the_plane, connection);
	promise(!is_in_vain || simulated_powers == before, "nothing is computed for whom was reset");
}

void
on_refused(int error)
{
	if (trying != NULL)
		trying->refused_error = error;
}

/* Begin with a new peer on the side of the target. */
static void
anew(struct session *s)
{
	s->failed_at[target(s)] = UINT64_MAX;
	s->unreadable[target(s)] = 0;
	if (s->role == ROLE_C) {
		s->refused = 0;
		s->inbox_length = s->said_length = 0;
		s->outbox_start = s->outbox_length = s->fed_length = s->good = 0;
		create_peer(s);
	}
}

void
on_socket(struct simulated_socket *socket)
{
	struct session *s = trying;

	promise(s != NULL && s->socket[target(s)] == NULL && s->connection != NULL,
	    "a socket is for somebody");
	own(s, target(s), socket);
	anew(s);
}

int
on_connect(struct simulated_socket *socket, const struct sockaddr *address, socklen_t length)
{
	struct session *s = trying;
	uint64_t left = s->reach_by - simulated_now_ms();
	size_t i = s->tried > 0 ? s->tried - 1 : 0;

	while (i < s->targets.count && (s->targets.address[i].length != length ||
	    memcmp(s->targets.address[i].bytes, address, length) != 0))
		i++;
	promise(i < s->targets.count, "the targets are those of when it began, in turn");
	promise(left > 0 || s->reach_by == UINT64_MAX, "nobody goes on who is too late");
	trace("    connect %d.%d: %zu of %zu\n", socket->owner, socket->side, i, s->targets.count);
	s->tried = i + 1;
	s->attempt_due = s->reach_by == UINT64_MAX ? UINT64_MAX :
	    simulated_now_ms() + left / (s->targets.count - i);
	if (socket->family != AF_UNIX)
		return EINPROGRESS;
	return crowded ? EAGAIN : 0;
}

void
on_recv(struct simulated_socket *socket, uint8_t *buffer, size_t length)
{
	struct session *s = owner(socket);

	s->moved_at = simulated_now_ms();
	trace("    recv %d.%d: %zu\n", socket->owner, socket->side, length);
	if (socket->side == PLAIN)
		memcpy(buffer, stream(s->id, PLAIN) + socket->read, length);
	else
		memcpy(buffer, s->fed + socket->read, length);
}

void
on_send(struct simulated_socket *socket, const uint8_t *data, size_t length)
{
	struct session *s = owner(socket);
	size_t start, part;

	s->moved_at = s->sent_at = simulated_now_ms();
	trace("    send %d.%d: %zu\n", socket->owner, socket->side, length);
	if (socket->side == PLAIN) {
		promise(socket->sent + length <= owed(s, CRYPT),
		    "nothing is delivered that is not authentic");
		promise(memcmp(data, stream(s->id, CRYPT) + socket->sent, length) == 0,
		    "the plain peer gets what the crypt peer has sealed");
		return;
	}
	promise(!has_bad_packet(s), "nothing is sent to whom a bad packet has come from");
	start = socket->sent % HEARD_MAX;
	part = length < HEARD_MAX - start ? length : HEARD_MAX - start;
	memcpy(s->heard + start, data, part);
	memcpy(s->heard, data + part, length - part);
}

void
on_shutdown(struct simulated_socket *socket)
{
	struct session *s = owner(socket);

	trace("    shutdown %d.%d\n", socket->owner, socket->side);
	promise(has_ended(s, !socket->side), "an end is passed on that was meant");
	promise(socket->side == CRYPT || socket->sent == owed(s, CRYPT),
	    "an end is passed on behind the whole stream");
}

/* Whoever is not reset gets the rest. */
void
on_close(struct simulated_socket *socket)
{
	struct session *s;

	if (socket->owner < 0)
		return;
	s = owner(socket);
	trace("    close %d.%d%s\n", socket->owner, socket->side,
	    socket->lingering ? " in order" : "");
	if (s->begun)
		look(s);
	if (s == trying && socket->side == target(s) && s->connection != NULL) {
		s->socket[socket->side] = NULL;		/* on to the next */
		simulated_forget(socket);
		return;
	}
	/* but closing TCP with something unread resets */
	if (!socket->unconnected && (socket->family == AF_UNIX ||
	    (socket->lingering && socket->read == socket->arrived)))
		take(s, socket->side, UINT64_MAX);
	if (socket->side == accepted(s)) {
		if (s->connection != NULL)
			s->carried = s->connection->entry->opened;
		s->connection = NULL;
		s->closed_at = simulated_now_ms();
		s->left_for_another = came_at == s->closed_at;
		promise(s->begun || s->excused || computing_is_full(plane),
		    "who is accepted is served, unless the system refuses, or it would be too late");
		sum_ended[PLANE_OVERLOAD] += !s->begun && !s->excused;
		if (!s->begun && !(s->options & CARRIED))
			forget(s);
	}
}

void
on_failure(struct simulated_socket *socket)
{
	trace("    failure of %d.%d\n", socket->owner, socket->side);
	note_failure(owner(socket), socket->side);
}

void
on_free(const void *memory, size_t size)
{
	static const uint8_t zeros[BATCH_PLAIN];

	for (size_t i = 0; i < SESSIONS; i++) {
		struct session *s = &sessions[i];

		if (s->id != 0 && s->made == memory)
			s->made = NULL;
		if (s->id != 0 && s->made != NULL && s->made->relay.flows.flow[CRYPT].unsent == memory)
			promise(memcmp(memory, zeros, size) == 0, "no plaintext is left behind");
	}
}

void
on_fault(enum simulated_call call, struct simulated_socket *socket)
{
	trace("    fault\n");
	fault_at = simulated_now_ms();
	faults++;
	if (call >= CALL_ACCEPT)
		return;
	if (socket != NULL)
		note_failure(owner(socket), socket->side);
	if (call == CALL_RECV)
		owner(socket)->unreadable[socket->side] = 1;
	for (size_t i = 0; i < SESSIONS && socket == NULL; i++)
		sessions[i].excused = 1;
}

/* The caller. */

/* Make an address that no other is equal to. */
static void
make_target(struct plane_address *address, unsigned kind, uint16_t number)
{
	static const uint8_t name[16] = { 192, 0, 2, 9 };
	uint8_t path[2] = { (uint8_t)('a' + number % 26), (uint8_t)('a' + number / 26 % 26) };

	if (kind == 1)
		plane_address(address, AF_UNIX, path, sizeof(path), 0, 0, 0);
	else if (kind == 2)
		plane_address(address, AF_INET6, name, 16, number, 0, 0);
	else
		plane_address(address, AF_INET, name, 4, number, 0, 0);
}

/* Tell a pipe its targets. */
static int
tell(struct told *told)
{
	size_t before = faults;

	if (plane_pipe_retarget(told->pipe, current.address, current.count) != 0) {
		promise(faults > before, "a pipe is retargeted, unless the system refuses");
		return 0;
	}
	told->targets.count = current.count;
	memcpy(told->targets.address, current.address, current.count * sizeof(current.address[0]));
	return 1;
}

static void
retarget(unsigned count, unsigned kinds)
{
	static uint16_t number;

	if (count == 0)
		number = 0;
	current.count = count;
	for (unsigned i = 0; i < count; i++)
		make_target(&current.address[i], kinds >> 2 * i & 3, number++);
	for (size_t i = 0; i < PIPES; i++) {
		if (pipes[i].pipe != NULL)
			tell(&pipes[i]);
	}
}

/* The pipe with these options, or NULL if the system refuses. */
static struct told *
pipe_with(int options, size_t timeouts)
{
	struct told *told = &pipes[(size_t)(options & PIPE_OPTIONS) * LENGTH(limits_of_time) + timeouts];
	struct plane_pipe_settings settings;
	size_t before = faults;

	if (told->pipe != NULL)
		return told;
	told->timeouts = timeouts;
	settings = (struct plane_pipe_settings){
		.role = options & SERVER ? ROLE_S : ROLE_C,
		.K = K,
		.weak = !(options & STRONG),
		.require_pfs = (options & REQUIRE_PFS) != 0,
		.keepalive = options & STRONG,
		.timeout_ms = limits_of_time[timeouts].timeout_ms,
		.idle_ms = limits_of_time[timeouts].idle_ms,
	};
	if (limits_of_time[timeouts].bound)	/* to a port, or to none */
		make_target(&settings.bind, 0, options & STRONG ? 1 : 0);
	told->pipe = plane_pipe_new(&settings);
	if (told->pipe == NULL) {
		promise(faults > before, "a pipe is made, unless the system refuses");
		return NULL;
	}
	return tell(told) ? told : NULL;
}

static void
serve(const struct act *act)
{
	struct told *told;
	size_t before = faults;
	int error;

	if (has_served || (told = pipe_with(act->a, act->who >> 3 & 3)) == NULL)
		return;
	service = (struct plane_service){
		.listener = listener->fd,
		.wake = act->a & SHARED ? wake->fd : -1,
		.pipe = told->pipe,
		.counters = counters[0],
		.stride = STRIDE,
		.used = &used,
		.slots = SLOTS,
		.limit = limits[act->b & 3],
		.unauthenticated = limits[act->b >> 2 & 3],
		.unauthenticated_per_source = limits[act->b >> 4 & 3],
		.tell_clean = (act->a & TELL_CLEAN) != 0,
		.tell_left = (act->a & HIDE_LEFT) == 0,
	};
	counters[0][PLANE_SERVING] = counters[SLOTS - 1][PLANE_SERVING] = (act->a & SHARED) != 0;
	error = plane_serve(plane, &service);
	promise(error == 0 || faults > before, "one can serve, unless the system refuses");
	has_served = serving = error == 0;
	service_options = act->a & PIPE_OPTIONS;
}

static void
stop_serving(void)
{
	plane_stop_serving(plane);
	has_stopped = 1;
	drained = 0;
	promise(!listener->watched && !wake->watched, "who does not serve does not look");
	if (!serving)
		return;
	serving = 0;
	for (size_t i = 0; i < SESSIONS; i++) {
		struct session *s = &sessions[i];

		if (s->id != 0 && s->socket[accepted(s)]->waiting) {
			simulated_go(listener, s->socket[accepted(s)]);
			forget(s);
		}
	}
}

static void
open_session(struct session *s, const struct act *act)
{
	struct told *told = NULL;
	struct simulated_socket *socket;

	if (s->id != 0 || last_id == SESSIONS_MAX)
		return;
	memset(s, 0, offsetof(struct session, targets));
	s->options = serving && !(act->a & CARRIED) ?
	    (act->a & ~(PIPE_OPTIONS | CARRIED)) | service_options : act->a | CARRIED;
	if (s->options & CARRIED && (told = pipe_with(act->a, act->who >> 5 & 3)) == NULL)
		return;
	s->id = ++last_id;
	s->sizes = act->b;
	s->source = act->who >> 3 & 3;
	s->role = s->options & SERVER ? ROLE_S : ROLE_C;
	s->failed_at[PLAIN] = s->failed_at[CRYPT] = UINT64_MAX;
	s->reach_by = s->attempt_due = s->shaken_by = s->noticed = s->lingers_until = UINT64_MAX;
	s->forged = PACKETS_MAX;
	socket = simulated_new(STREAM, s->options & ACCEPTED_UNIX ? AF_UNIX : AF_INET);
	own(s, accepted(s), socket);
	if (s->role == ROLE_S)
		create_peer(s);
	has_carried |= s->options & CARRIED;
	if (!(s->options & CARRIED))
		simulated_come(listener, socket);
	else if (plane_carry(plane, s->id, socket->fd, told->pipe) != 0) {
		promise(s->excused, "a connection begins, unless the system refuses");
		simulated_close(socket->fd);
		forget(s);
	}
}

/* Has everything that a side owes to the other reached that? */
static int
is_settled(const struct session *s, int side)
{
	const struct simulated_socket *sink = s->socket[!side];

	if (!s->relayed || s->excused || s->unreadable[side] || has_failed(s, !side) || sink->deaf)
		return 1;
	if (has_failed(s, side) && simulated_now_ms() >= later(s->failed_at[side], timeout_of(s)))
		return 1;
	return s->got[!side] == owed(s, side);
}

static int
is_shortage(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

static int
is_target(const struct plane_address *address, const struct session *s, size_t i)
{
	const struct plane_address *told = &s->targets.address[i];

	return address->length == told->length &&
	    memcmp(address->bytes, told->bytes, told->length) == 0;
}

/* The peer has left, as this error says. */
static int
is_gone(int error)
{
	return error == ECONNRESET || error == EPIPE;
}

/* C has heard its own handshake: whoever says that takes itself for C. */
static int
is_reflected(const struct session *s)
{
	return s->role == ROLE_C && s->fed_length >= HANDSHAKE_BYTES &&
	    memcmp(s->fed, s->heard, HANDSHAKE_BYTES) == 0;
}

/* How far has the peer come in the handshake, as the plane has found it? */
static int
is_heard(const struct session *s, const struct plane_ending *ending)
{
	uint64_t read = s->socket[CRYPT] == NULL ? 0 : s->socket[CRYPT]->read;

	switch (ending->cause) {
	case PLANE_NO_KEY: case PLANE_SAME_ROLE: case PLANE_OUT_OF_RANGE: case PLANE_NO_PFS:
		return ending->heard == HEARD_NONCE;
	}
	if (read == 0)
		return ending->heard == HEARD_NOTHING;
	if (read < NONCE_BYTES)
		return ending->heard == HEARD_SOMETHING;
	return ending->heard == (is_proved(s) ? HEARD_PROOF : HEARD_NONCE);
}

/* Is the side right that has failed? */
static int
is_side(const struct session *s, const struct plane_ending *ending)
{
	int failed = ending->side - PLANE_SIDE_PLAIN;

	switch (ending->cause) {
	case PLANE_CLEAN: case PLANE_SHED: case PLANE_TOO_MANY: case PLANE_IDLE: case PLANE_ABORTED:
	case PLANE_SHORTAGE:
		return ending->side == PLANE_SIDE_NONE;
	case PLANE_UNREACHED: case PLANE_UNANSWERED:
		return failed == target(s);
	case PLANE_PLAIN_LOST:
		return failed == PLAIN;
	case PLANE_SOCKET_ERROR:
		return (failed == PLAIN || failed == CRYPT) &&
		    (has_failed(s, failed) || s->socket[failed]->deaf || s->excused);
	case PLANE_LEFT:
		return failed == accepted(s);
	default:
		return failed == CRYPT;
	}
}

static void
check_cause(const struct session *s, const struct plane_ending *ending)
{
	int crypt_failed = has_failed(s, CRYPT), hung_up = 0, is_last;
	size_t targets = s->targets.count;

	for (int side = PLAIN; side <= CRYPT; side++)
		hung_up |= s->socket[side] != NULL && s->socket[side]->deaf;
	is_last = targets == 0 ? ending->target.length == 0 :
	    is_target(&ending->target, s, targets - 1);
	switch (ending->cause) {
	case PLANE_CLEAN:
		promise(s->relayed, "only what was relayed comes to a clean end");
		for (int side = PLAIN; side <= CRYPT; side++) {
			promise(s->socket[side]->lingering, "after a clean end, nobody is reset");
			promise(s->socket[!side]->deaf || s->closed_at >= s->lingers_until ||
			    (has_ended(s, side) && s->got[!side] == owed(s, side)),
			    "a clean end means that everything has been passed on");
		}
		return;
	case PLANE_UNREACHED:
		promise(!s->reached, "the cause is right");
		promise(is_last, "all targets are tried");
		promise(targets == 0 ? ending->error == 0 : ending->error == s->refused_error ||
		    (ending->error == EAFNOSUPPORT && limits_of_time[s->timeouts].bound),
		    "the cause is right");
		break;
	case PLANE_SHORTAGE:
		promise(!s->reached && is_shortage(ending->error), "the cause is right");
		break;
	case PLANE_UNANSWERED:
		promise(!s->reached && targets > 0 && s->closed_at >= s->reach_by,
		    "the cause is right");
		promise(ending->target.length > 0, "it is told who has not answered");
		break;
	case PLANE_PLAIN_LOST:
		promise(!s->relayed && has_failed(s, PLAIN), "the cause is right");
		promise(s->role == ROLE_S || !is_gone(ending->error), "who has left has not failed");
		break;
	case PLANE_TOO_SLOW:
		promise(!s->relayed && s->closed_at >= s->shaken_by && (s->options & STRONG ||
		    !has_shaken(s)), "who is in time is not hurried");	/* or has to compute yet */
		break;
	case PLANE_SHED:
		promise(service.unauthenticated > 0 && !s->relayed, "the cause is right");
		promise(s->left_for_another && s->closed_at - s->begun_at >= ADMISSION_GRACE_MS,
		    "whoever makes room has had its time, and somebody else has come");
		break;
	case PLANE_TOO_MANY:
		promise(service.unauthenticated_per_source > 0 && !s->relayed &&
		    !(s->options & (CARRIED | ACCEPTED_UNIX)), "the cause is right");
		break;
	case PLANE_IDLE:
		promise(s->relayed &&
		    s->closed_at >= later(s->sent_at, limits_of_time[s->timeouts].idle_ms),
		    "nobody is idle who carries something");
		break;			/* what fails in the same moment may not have been told yet */
	case PLANE_NO_KEY:
		promise(!s->relayed && is_spoilt(s) && s->good < HANDSHAKE_BYTES && !is_reflected(s),
		    "whoever holds the key is not refused");
		break;
	case PLANE_SAME_ROLE:
		promise(!s->relayed && is_reflected(s), "the cause is right");
		break;
	case PLANE_OUT_OF_RANGE:
		promise(!s->relayed && s->options & PEER_OUT_OF_RANGE, "the cause is right");
		break;
	case PLANE_NO_PFS:
		promise(!s->relayed && s->options & REQUIRE_PFS && !(s->options & PEER_STRONG),
		    "the cause is right");
		break;
	case PLANE_CLOSED:
		promise(s->socket[CRYPT]->finished && !s->relayed, "the cause is right");
		promise(s->role == ROLE_C || s->socket[CRYPT]->read > 0, "who has left has not failed");
		break;
	case PLANE_LOST:
		promise(crypt_failed || hung_up || s->excused, "the cause is right");
		promise(s->role == ROLE_C || s->socket[CRYPT]->read > 0 || !is_gone(ending->error),
		    "who has left has not failed");
		break;
	case PLANE_BAD_TAG:
		promise(s->relayed && is_spoilt(s) && has_bad_packet(s), "the cause is right");
		break;
	case PLANE_BAD_LENGTH:
		promise(s->relayed && good_packets(s) == s->forged && has_bad_packet(s),
		    "the cause is right");
		break;
	case PLANE_TRUNCATED:
		promise(s->relayed && s->socket[CRYPT]->finished &&
		    (s->fed_length - HANDSHAKE_BYTES) % PACKET_BYTES != 0, "the cause is right");
		break;
	case PLANE_SOCKET_ERROR:
		promise(s->relayed && (crypt_failed || has_failed(s, PLAIN) || hung_up || s->excused),
		    "the cause is right");
		break;
	case PLANE_ABORTED:
		promise(s->aborted, "the cause is right");
		break;
	case PLANE_LEFT:
		promise(!s->relayed && (has_failed(s, accepted(s)) || s->socket[accepted(s)]->deaf ||
		    (s->role == ROLE_S && s->socket[CRYPT]->finished)), "the cause is right");
		promise(s->socket[accepted(s)]->read == 0, "nothing was read from whoever has left");
		break;
	default:
		promise(0, "there is a cause");
	}
	for (int side = PLAIN; side <= CRYPT; side++)
		promise(s->socket[side] == NULL || !s->socket[side]->lingering,
		    "no failure looks like an end");
}

static void
check_ended(struct session *s, const struct plane_ending *ending)
{
	const struct simulated_socket *plain = s->socket[PLAIN];

	for (int side = PLAIN; side <= CRYPT; side++) {
		promise(s->socket[side] == NULL || !s->socket[side]->open,
		    "both sockets of what has ended are closed");
		promise(s->aborted || ending->cause == PLANE_IDLE || is_settled(s, side),
		    "what came before a failure is delivered");
	}
	check_cause(s, ending);
	promise(ending->sealed == (plain != NULL ? plain->read : 0), "what is sealed is counted");
	promise(ending->opened <= owed(s, CRYPT) && ending->opened >= (plain != NULL ? plain->sent : 0),
	    "what is opened is counted");
	promise(ending->cause != PLANE_CLEAN || ending->opened == plain->sent,
	    "before a clean end, everything opened is sent");
	sum_sealed += ending->sealed;
	sum_opened += ending->opened;
	sum_ended[ending->cause]++;
	forget(s);
}

/* Does the caller want to hear of such an end, of who was accepted by the plane? */
static int
is_wanted(const struct plane_ending *ending)
{
	switch (ending->cause) {
	case PLANE_CLEAN: case PLANE_ABORTED:
		return service.tell_clean;
	case PLANE_LEFT:
		return service.tell_left;
	default:
		return 1;
	}
}

static void
take_ending(const struct plane_ending *ending)
{
	struct session *s = sessions;

	trace("    end of %d: cause %d, error %d\n", (int)ending->id, ending->cause, ending->error);
	if (ending->id == 0)
		s = session_at(&ending->peer);
	else {
		while (s < sessions + SESSIONS && s->id != ending->id)
			s++;
	}
	promise(s < sessions + SESSIONS && s->id != 0 && s->begun && s->connection == NULL &&
	    !(s->options & CARRIED) == (ending->id == 0), "every end is told once");
	promise(ending->role == (int)s->role, "it is told of which kind it was");
	promise(ending->number == s->number, "it is told which one it was");
	promise(ending->duration_ms >= s->closed_at - s->begun_at &&
	    ending->duration_ms <= simulated_now_ms() - s->begun_at, "it is told how long it was");
	promise(is_side(s, ending), "it is told which side has failed");
	promise(is_heard(s, ending), "it is told how far the peer has come");
	promise(ending->id != 0 || is_wanted(ending), "what nobody wants to hear is not told");
	check_ended(s, ending);
}

/* Those of whose end nobody wants to hear: they are freed without being told. */
static void
take_untold(void)
{
	for (size_t i = 0; i < SESSIONS; i++) {
		struct session *s = &sessions[i];
		const struct simulated_socket *plain = s->socket[PLAIN];
		struct plane_ending ending = { .opened = s->carried };

		if (s->id == 0 || !s->begun || s->made != NULL)
			continue;
		ending.sealed = plain != NULL ? plain->read : 0;
		ending.cause = plain != NULL && plain->lingering ? PLANE_CLEAN :
		    s->aborted ? PLANE_ABORTED : PLANE_LEFT;
		promise(!(s->options & CARRIED) && !is_wanted(&ending),
		    "every end is told that somebody wants to hear");
		check_ended(s, &ending);
	}
}

/* Do two sessions count as one source? */
static int
is_like(const struct session *a, const struct session *b)
{
	return !((a->options | b->options) & (CARRIED | ACCEPTED_UNIX)) &&
	    (a->source == b->source || (a->source >= 2 && b->source >= 2));
}

static int
is_unauthenticated(const struct session *s)
{
	return s->id != 0 && s->connection != NULL &&
	    !(s->socket[CRYPT] != NULL && is_proved(s));
}

/* Is somebody there who has this number? */
static int
is_there(uint64_t number)
{
	for (size_t i = 0; i < SESSIONS; i++) {
		const struct session *s = &sessions[i];

		if (s->id != 0 && s->begun && !(s->options & CARRIED) && s->number == number)
			return 1;
	}
	return 0;
}

static void
check_entries(void)
{
	for (size_t i = 0; i < ENTRIES; i++)
		promise(entries[i].number == 0 || is_there(entries[i].number),
		    "who has gone is not shown");
}

static void
check_counters(void)
{
	uint64_t active = 0, unauthenticated = 0;

	for (size_t i = 0; i < SESSIONS; i++) {
		const struct session *s = &sessions[i];
		uint64_t alike = 0;

		active += s->id != 0 && s->begun;
		unauthenticated += (uint64_t)is_unauthenticated(s);
		for (size_t k = 0; k < SESSIONS && is_unauthenticated(s); k++)
			alike += is_unauthenticated(&sessions[k]) && is_like(s, &sessions[k]);
		promise(service.unauthenticated_per_source == 0 || alike <= service.unauthenticated_per_source,
		    "one source has not too many unauthenticated connections");
	}
	promise(counts[PLANE_ACTIVE] == active, "who is there is counted");
	promise(counts[PLANE_UNAUTHENTICATED] == unauthenticated,
	    "unauthenticated connections are counted");
	promise(service.unauthenticated == 0 || has_carried ||
	    unauthenticated <= service.unauthenticated,
	    "there are not too many unauthenticated connections");
}

/* Returns what else is wanted. */
static int
run(int64_t timeout_ms, size_t room)
{
	struct plane_ending endings[8];
	uint64_t start = simulated_now_ms();
	int wanted = 0;
	size_t count;

	simulated_polls = 0;
	count = plane_run(plane, timeout_ms, &wanted, endings, room);
	promise(count <= room, "there is room for the endings");
	promise(timeout_ms < 0 || simulated_now_ms() <= start + (uint64_t)timeout_ms,
	    "nobody waits longer than is allowed");
	promise(!(wanted & PLANE_CONTROL) || control->arrived > 0, "somebody wants control");
	promise(!(wanted & PLANE_LIMIT_REACHED) || service.limit > 0, "there is a limit");
	promise(!(wanted & PLANE_CANNOT_ACCEPT) || (faults > 0 && plane_accept_error(plane) != 0),
	    "there is trouble");
	promise(!(wanted & PLANE_OVERLOADED) || counts[PLANE_ENDED + PLANE_OVERLOAD] > 0,
	    "somebody was refused");
	for (size_t i = 0; i < SESSIONS; i++) {
		if (sessions[i].id == 0)
			continue;
		look(&sessions[i]);
		look_whether_it_lingers(&sessions[i]);
	}
	for (size_t i = 0; i < count; i++)
		take_ending(&endings[i]);
	take_untold();
	check_counters();
	check_entries();
	if (wanted & PLANE_DRAINED) {
		promise(has_stopped && !serving && !drained && counts[PLANE_ACTIVE] == 0,
		    "it is told once that the last has ended");
		drained = 1;
	}
	return wanted;
}

/* Let the plane go on until it waits. */
static int
run_until_it_waits(size_t room)
{
	int wanted;

	simulated_held = 1;
	wanted = run(-1, room);
	simulated_held = 0;
	return wanted;
}

static void
abort_all(void)
{
	for (size_t i = 0; i < SESSIONS; i++)
		sessions[i].aborted |= sessions[i].begun;
	plane_abort_all(plane);
	for (size_t i = 0; i < SESSIONS; i++) {
		for (int side = PLAIN; side <= CRYPT && sessions[i].begun; side++)
			promise(sessions[i].id == 0 || sessions[i].socket[side] == NULL ||
			    !sessions[i].socket[side]->open, "what is aborted is closed at once");
	}
}

/* The target answers, and then the handshake, as between friends. */
static void
shake(struct session *s)
{
	for (int i = 0; i < 8 && s->id != 0 && !s->relayed; i++) {
		run_until_it_waits(1);
		if (s->id != 0 && s->socket[target(s)] != NULL)
			answer(s, 0);
		if (s->id != 0 && s->socket[CRYPT] != NULL && s->socket[CRYPT]->open) {
			take(s, CRYPT, UINT64_MAX);
			feed_crypt(s, SIZE_MAX);
		}
	}
}

/* A call fails once, with an error that it can return without a peer's doing. */
static void
fault(enum simulated_call call, uint8_t b)
{
	static const int *const others[CALLS] = {
		[CALL_RECV] = errors, [CALL_SEND] = errors, [CALL_ACCEPT] = accept_errors,
		[CALL_SOCKET] = socket_errors, [CALL_BIND] = bind_errors,
		[CALL_CONNECT] = connect_errors,
	};
	int error = ENOMEM;

	if (call == CALL_EPOLL_WAIT)
		error = EINTR;
	else if (call == CALL_WRITE)
		error = EAGAIN;
	else if (others[call] != NULL)
		error = others[call][b % 4];
	simulated_fail(call, error);
}

static void
perform(const struct act *act)
{
	struct session *s = &sessions[act->who % SESSIONS];
	int side = act->who >> 2 & 1;
	size_t number = act->a | (size_t)act->b << 8;

	trace("%d %d %d %d\n", act->what, act->who, act->a, act->b);
	switch (act->what) {
	case SERVE:
		serve(act);
		break;
	case STOP:
		stop_serving();
		break;
	case OPEN:
		open_session(s, act);
		break;
	case RETARGET:
		retarget(act->a & 3, act->b);
		break;
	case CROWD:
		crowded = act->a & 1;
		break;
	case RUN:
		if (run_times[act->a % LENGTH(run_times)] < 0)
			run_until_it_waits(1 + act->b % 4);
		else
			run(run_times[act->a % LENGTH(run_times)], 1 + act->b % 4);
		break;
	case ABORT_ALL:
		abort_all();
		break;
	case TICK:
		simulated_pass(number);
		break;
	case SIGNAL:
		simulated_signal(side ? wake : control, act->a & 1);
		break;
	case FAULT:
		fault(act->a % CALLS, act->b);
		break;
	case SHAKE:
		shake(s);
		break;
	case SEAL:
		if (s->id != 0)
			seal(s, number % (7 * MESSAGE_MAX));
		break;
	case FORGE:
		if (s->id != 0)
			forge(s, act->a);
		break;
	case FLIP: case DROP: case INSERT: case REPEAT: case EXCHANGE: case SPLICE: case REFLECT:
		if (s->id != 0)
			meddle(s, act);
		break;
	default:
		peer_act(act);
	}
}

/* The end: everybody gets what they wait for. */

/* Let the plane go on until everything has happened for which it does not wait forever. */
static void
rest(void)
{
	uint64_t until = simulated_now_ms() + REST_MS;

	while (simulated_now_ms() < until)
		run((int64_t)(until - simulated_now_ms()), 8);
}

static int
is_anybody_left(void)
{
	for (size_t i = 0; i < SESSIONS; i++) {
		if (sessions[i].id != 0)
			return 1;
	}
	return 0;
}

static void
everybody_ends(uint8_t how)
{
	struct act act = { how & 1 ? RESET : FINISH, 0, 0, 0 };

	for (size_t i = 0; i < SESSIONS; i++) {
		for (int side = PLAIN; side <= CRYPT; side++) {
			act.who = (uint8_t)(i | (unsigned)side << 2);
			peer_act(&act);
		}
	}
	rest();
}

/* Everybody reads, whatever can go on goes on, and then all of it ends. */
static void
finish(uint8_t how)
{
	simulated_fail_no_more();
	if (after.calls > 0)
		what_comes_after();
	simulated_signal(control, 0);
	memset(counters[0], 0, sizeof(counters[0]));
	memset(counters[SLOTS - 1], 0, sizeof(counters[0]));
	crowded = 0;
	giving = 1;
	rest();
	if (how & 2) {
		abort_all();
		rest();
	}
	if (how & 4)
		stop_serving();
	/* those who have waited for room come when others end */
	for (size_t i = 0; i < SESSIONS && is_anybody_left(); i++)
		everybody_ends(how);
	promise(!is_anybody_left(), "what both peers have ended ends");
	stop_serving();
	run(0, 1);
	promise(drained, "it is told that the last has ended");
	giving = 0;
}

static void
begin(void)
{
	simulated_begin();
	for (size_t i = 0; i < SESSIONS; i++)
		sessions[i].id = 0;
	memset(pipes, 0, sizeof(pipes));
	memset(counters, 0, sizeof(counters));
	last_id = sum_sealed = sum_opened = sum_relayed = sum_accepted = 0;
	memset(sum_ended, 0, sizeof(sum_ended));
	after.calls = 0;
	serving = has_served = has_carried = paused = crowded = drained = has_stopped = 0;
	came_at = UINT64_MAX;
	service = (struct plane_service){ .tell_clean = 1, .tell_left = 1 };
	faults = 0;
	fault_at = UINT64_MAX;
	trying = NULL;
	control = simulated_new(SIGNAL_ONLY, AF_UNSPEC);
	listener = simulated_new(LISTENER, AF_UNSPEC);
	wake = simulated_new(COUNTER, AF_UNSPEC);
	retarget(0, 0);
	retarget(1, 0);
	memset(entries, 0, sizeof(entries));
	plane = plane_new(control->fd, counts, entries, ENTRIES);
	assert(plane != NULL);
}

static void
end(void)
{
	promise(counts[PLANE_SEALED] == sum_sealed && counts[PLANE_OPENED] == sum_opened &&
	    counts[PLANE_ESTABLISHED] == sum_relayed && counts[PLANE_ACCEPTED] == sum_accepted,
	    "the totals are right");
	for (size_t cause = 0; cause < PLANE_CAUSES; cause++)
		promise(counts[PLANE_ENDED + cause] == sum_ended[cause], "every end is counted once");
	plane_free(plane);
	for (size_t i = 0; i < PIPES; i++) {
		if (pipes[i].pipe != NULL)
			plane_pipe_free(pipes[i].pipe);
	}
	promise(simulated_allocated() == 0, "everything is freed");
	for (size_t i = 0; i < ENTRIES; i++)
		promise(entries[i].number == 0, "who has gone is not shown");
	simulated_close(control->fd);
	simulated_close(listener->fd);
	simulated_close(wake->fd);
	promise(simulated_open() == 0, "all descriptors are closed");
}

int
LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
	size_t count = size / sizeof(struct act);
	struct act act;

	begin();
	for (size_t i = 0; i < count && i < ACTS_MAX; i++) {
		memcpy(&act, input + i * sizeof(act), sizeof(act));
		act.what %= KINDS;
		if (act.what == AFTER && after.calls == 0 && i + 1 < count) {
			after.calls = 1 + act.a % 16;
			i++;
			memcpy(&after.act, input + i * sizeof(act), sizeof(act));
			if (after.act.what < FEED || after.act.what >= AFTER)
				after.act.what = FEED + after.act.what % (AFTER - FEED);
			continue;
		}
		perform(&act);
	}
	finish(size > 0 ? input[0] / KINDS : 0);
	end();
	return 0;
}

int
LLVMFuzzerInitialize(int *count, char ***arguments)
{
	static const struct primitive *const primitives[] = { &sha256_primitive, &aes256ctr_primitive };
	uint64_t x = 1;

	(void)count, (void)arguments;
	for (size_t i = 0; i < LENGTH(primitives); i++) {	/* the fastest kernels */
		size_t k = 0;

		while (primitives[i]->kernel(k)->available == NULL ||
		    !primitives[i]->kernel(k)->available())
			k++;
		for (size_t b = 0; b < primitives[i]->batch_count; b++)
			primitives[i]->select(k, b);
	}
	for (size_t i = 0; i < sizeof(noise); i++) {
		x = x * 6364136223846793005u + 1442695040888963407u;
		noise[i] = (uint8_t)(x >> 56);
	}
	tracing = getenv("TRACE") != NULL;
	return 0;
}

/* Mutations. */

static uint32_t
draw(uint64_t *state, size_t below)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)((*state >> 33) % below);
}

/* Change a program by whole acts.  Returns the new number of acts; there is room for one more. */
static size_t
edit(struct act *acts, size_t count, uint64_t *state)
{
	size_t at = draw(state, count + 1), other = draw(state, count + 1);
	size_t tail = (count - at) * sizeof(acts[0]);
	struct act act = { (uint8_t)draw(state, KINDS), (uint8_t)draw(state, 256),
	    (uint8_t)draw(state, 256), (uint8_t)draw(state, 256) };

	if (draw(state, 2))		/* mostly, there is one session */
		act.who &= 4;
	switch (draw(state, 6)) {
	case 0:				/* insert a new one */
		memmove(acts + at + 1, acts + at, tail);
		acts[at] = act;
		return count + 1;
	case 1:				/* or the copy of one */
		if (other == count)
			return count;
		act = acts[other];
		memmove(acts + at + 1, acts + at, tail);
		acts[at] = act;
		return count + 1;
	case 2:				/* remove one */
		if (at == count)
			return count;
		memmove(acts + at, acts + at + 1, tail - sizeof(acts[0]));
		return count - 1;
	case 3:				/* exchange two */
		if (at == count || other == count)
			return count;
		act = acts[at];
		acts[at] = acts[other];
		acts[other] = act;
		return count;
	default:			/* change a part of one */
		if (at < count)
			((uint8_t *)&acts[at])[draw(state, sizeof(act))] = act.a;
		return count;
	}
}

size_t
LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned int seed)
{
	struct act acts[ACTS_MAX + 1];
	uint64_t state = seed;
	size_t count = size / sizeof(acts[0]);

	if (draw(&state, 4) == 0 || count > ACTS_MAX)
		return LLVMFuzzerMutate(data, size, room);
	memcpy(acts, data, count * sizeof(acts[0]));
	for (size_t edits = 1 + draw(&state, 4); edits > 0 && count <= ACTS_MAX; edits--)
		count = edit(acts, count, &state);
	if (count > room / sizeof(acts[0]))
		count = room / sizeof(acts[0]);
	memcpy(data, acts, count * sizeof(acts[0]));
	return count * sizeof(acts[0]);
}
