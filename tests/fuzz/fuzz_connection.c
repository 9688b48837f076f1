/*
 * libFuzzer target: the data plane whole (plane.c, negotiate.c, relay.c,
 * handshake.c), on the simulated system, between simulated peers.
 *
 * The input is a program of `struct act`s: what the peers, the network, the
 * clock and the plane's caller do, one after the other.  The crypt peer is
 * authentic: it holds K, does the handshake and seals; what it says goes through
 * hands that may change it before it is fed to the plane.
 *
 * So it is known at any time what may come out, and that is what is checked, as
 * it comes out.  When the program is over, everybody gets what they wait for and
 * then ends; and whatever has not come out or not ended by then was lost.
 *
 * With TRACE in the environment, an input tells its story.
 */

#include "bytes.h"
#include "kernel.h"

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
	OPEN,				/* a: enum option; b: capacities and windows */
	RELAY,
	RUN,				/* a: the timeout; b: room for news */
	CANCEL,
	ABORT_ALL,
	TICK,				/* number: milliseconds */
	SIGNAL,				/* a: readable? on side 0: control, 1: the listener */
	FAULT,				/* a: the call; b: the error */
	SHAKE,				/* the handshake, undisturbed; extra & 1: relay as well */
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
	AFTER,				/* a: how many calls; the next act is what happens then */
	KINDS
};

enum option {
	SERVER = 1, STRONG = 2, PEER_STRONG = 4, REQUIRE_PFS = 8,
	CRYPT_UNIX = 16, PLAIN_UNIX = 32, PEER_OUT_OF_RANGE = 64, PEER_REQUIRES_PFS = 128
};

static const uint32_t capacities[] = { 50, 300, 1060, 3000, 4240, 5000, 9000, 20000 };
static const uint32_t windows[] = { 20000, 5000, 1060, 100 };
static const uint32_t sizes[] = { 1, 4, 32, 1028, 1060, 1061, 2120, 288 };
static const int64_t timeouts[] = { 0, -1, 5, 1000 };
static const int losses[] = { ECONNRESET, ETIMEDOUT, EHOSTUNREACH };
static const int errors[] = { EINTR, ENOMEM, ENOBUFS, ECONNRESET };

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

#define DRAIN_MS 200
#define ACTS_MAX 128
#define SESSIONS 4			/* at once, */
#define SESSIONS_MAX 7			/* and in all */
#define HANDSHAKE_BYTES (NONCE_BYTES + HELLO_BYTES)
#define STREAM_MAX 24000		/* of the plain peer, and of the authentic one */
#define WIRE_MAX 40000
#define PACKETS_MAX (STREAM_MAX / 300)
#define HEARD_MAX 32768			/* a power of two above every capacity */

static const uint8_t K[32] = "a key, and not a very secret one";

struct session {
	uint64_t id;			/* 0: there is none */
	struct connection *connection;
	enum role role;
	int options;
	uint8_t sizes;
	int news;			/* that has been reported */
	int relayed;
	int aborted;
	int excused;			/* the system has failed it: nothing is owed any more */
	struct simulated_socket *socket[2];
	uint64_t failed_at[2];		/* when a side has begun to fail, or UINT64_MAX */
	int unreadable[2];		/* the system does not give what has arrived */
	uint64_t got[2];		/* payload that has reached a side's peer for good */

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
	uint8_t inbox[PACKET_BYTES];
	uint8_t said[WIRE_MAX];
	uint8_t outbox[WIRE_MAX];
	uint8_t fed[WIRE_MAX];
	uint8_t heard[HEARD_MAX];	/* a ring of what the plane says */
};

static struct session sessions[SESSIONS];
static struct plane *plane;
static struct simulated_socket *control, *listener;
static int control_fd, listener_fd;
static uint64_t last_id;
static uint64_t total_sealed, total_opened, sum_sealed, sum_opened;
static int giving;			/* the peers read whatever comes */

static struct {
	int calls;			/* 0: there is nothing to come */
	struct act act;
} after;

/* Streams: every one is a different piece of the same noise. */

#define NOISE 65521

static uint8_t noise[2 * NOISE];

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
		if (size > s->socket[CRYPT]->sent)
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

/* Steps that a peer takes on one of the sockets. */
static void
peer_act(const struct act *act)
{
	struct session *s = &sessions[act->who % SESSIONS];
	int side = act->who >> 2 & 1;
	size_t number = act->a | (size_t)act->b << 8;
	struct simulated_socket *socket = s->socket[side];

	if (s->id == 0 || socket == NULL || !socket->open)
		return;
	switch (act->what) {
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

/* Whoever has failed has been noticed, and does not wait for an event that will not come. */
static void
check_failed(void)
{
	for (size_t i = 0; i < SESSIONS; i++) {
		const struct session *s = &sessions[i];

		if (s->id == 0 || !s->relayed)
			continue;
		promise(!has_failed(s, PLAIN), "a failure is the end");
		promise(!has_failed(s, CRYPT) || (is_spoilt(s) && !has_bad_packet(s)),
		    "a failure is the end");
	}
}

int
on_idle(int wait_ms)
{
	uint64_t count = 0;

	if (after.calls > 0) {
		what_comes_after();
		return 1;
	}
	for (size_t i = 0; i < SESSIONS && giving; i++) {
		for (int side = PLAIN; side <= CRYPT; side++) {
			if (sessions[i].id != 0 && sessions[i].socket[side] != NULL)
				count += take(&sessions[i], side, UINT64_MAX);
		}
	}
	if (giving && count == 0 && wait_ms < 0)
		check_failed();
	return count > 0;
}

void
on_recv(struct simulated_socket *socket, uint8_t *buffer, size_t length)
{
	struct session *s = owner(socket);

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
	if (socket->owner < 0)
		return;
	trace("    close %d.%d%s\n", socket->owner, socket->side,
	    socket->lingering ? " in order" : "");
	if (socket->lingering || socket->family == AF_UNIX)
		take(owner(socket), socket->side, UINT64_MAX);
}

void
on_failure(struct simulated_socket *socket)
{
	trace("    failure of %d.%d\n", socket->owner, socket->side);
	note_failure(owner(socket), socket->side);
}

void
on_fault(enum simulated_call call, struct simulated_socket *socket)
{
	trace("    fault\n");
	if (socket != NULL)
		note_failure(owner(socket), socket->side);
	if (call == CALL_RECV)
		owner(socket)->unreadable[socket->side] = 1;
	for (size_t i = 0; i < SESSIONS && socket == NULL; i++)
		sessions[i].excused = 1;
}

/* The caller. */

static struct simulated_socket *
add_socket(struct session *s, int side, int *fd)
{
	int local = s->options & (side == CRYPT ? CRYPT_UNIX : PLAIN_UNIX);
	struct simulated_socket *socket = simulated_socket(local ? AF_UNIX : AF_INET, fd);

	socket->owner = (int)(s - sessions);
	socket->side = side;
	socket->capacity = capacities[s->sizes >> (side == CRYPT ? 0 : 3) & 7];
	socket->window = windows[s->sizes >> 6 & 3];
	s->socket[side] = socket;
	return socket;
}

static void
open_session(struct session *s, const struct act *act)
{
	int fd;

	if (s->id != 0 || last_id == SESSIONS_MAX)
		return;
	memset(s, 0, offsetof(struct session, inbox));
	s->id = ++last_id;
	s->options = act->a;
	s->sizes = act->b;
	s->role = s->options & SERVER ? ROLE_S : ROLE_C;
	s->failed_at[PLAIN] = s->failed_at[CRYPT] = UINT64_MAX;
	s->forged = PACKETS_MAX;
	add_socket(s, CRYPT, &fd);
	s->connection = plane_negotiate(plane, s->id, fd, s->role, K, !(s->options & STRONG),
	    (s->options & REQUIRE_PFS) != 0);
	if (s->connection == NULL) {
		promise(s->excused && errno != 0, "a connection begins, unless the system refuses");
		simulated_close(fd);
		s->id = 0;
		return;
	}
	s->excused = 0;
	create_peer(s);
}

static void
cancel(struct session *s)
{
	if (s->id == 0 || s->relayed)
		return;
	plane_cancel(plane, s->connection);
	promise(!s->socket[CRYPT]->open && !s->socket[CRYPT]->lingering,
	    "what is cancelled is reset");
	s->id = 0;
}

static void
relay(struct session *s)
{
	int fd, error;

	if (s->id == 0 || s->relayed || !(s->news & PLANE_READY))
		return;
	add_socket(s, PLAIN, &fd);
	error = plane_relay(plane, s->connection, fd);
	if (error != 0) {
		promise(s->excused, "a connection is relayed, unless the system refuses");
		simulated_close(fd);
		cancel(s);
	} else
		s->relayed = 1;
}

/* Has everything that a side owes to the other reached that? */
static int
is_settled(const struct session *s, int side)
{
	const struct simulated_socket *sink = s->socket[!side];

	if (!s->relayed || s->excused || s->unreadable[side] || has_failed(s, !side) || sink->deaf)
		return 1;
	if (has_failed(s, side) && simulated_now_ms() >= s->failed_at[side] + DRAIN_MS)
		return 1;
	return s->got[!side] == owed(s, side);
}

static void
check_cause(const struct session *s, int cause)
{
	int crypt_failed = has_failed(s, CRYPT), hung_up;

	hung_up = s->socket[CRYPT]->deaf || (s->relayed && s->socket[PLAIN]->deaf);
	switch (cause) {
	case PLANE_CLEAN:
		promise(s->relayed, "only what was relayed comes to a clean end");
		for (int side = PLAIN; side <= CRYPT; side++) {
			promise(s->socket[side]->lingering, "after a clean end, nobody is reset");
			promise(s->socket[!side]->deaf ||
			    (has_ended(s, side) && s->got[!side] == owed(s, side)),
			    "a clean end means that everything has been passed on");
		}
		return;
	case PLANE_NO_KEY:
		promise(!s->relayed && is_spoilt(s) && s->good < HANDSHAKE_BYTES,
		    "whoever holds the key is not refused");
		break;
	case PLANE_OUT_OF_RANGE:
		promise(!s->relayed && s->options & PEER_OUT_OF_RANGE, "the cause is right");
		break;
	case PLANE_NO_PFS:
		promise(!s->relayed && s->options & REQUIRE_PFS && !(s->options & PEER_STRONG),
		    "the cause is right");
		break;
	case PLANE_CLOSED:
		promise(s->socket[CRYPT]->finished && !(s->news & PLANE_READY), "the cause is right");
		break;
	case PLANE_LOST:
		promise(crypt_failed || hung_up, "the cause is right");
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
	default:
		promise(0, "there is a cause");
	}
	for (int side = PLAIN; side <= CRYPT; side++)
		promise(s->socket[side] == NULL || !s->socket[side]->lingering,
		    "no failure looks like an end");
}

static void
check_ended(struct session *s, const struct plane_event *event)
{
	for (int side = PLAIN; side <= CRYPT; side++) {
		promise(s->socket[side] == NULL || !s->socket[side]->open,
		    "both sockets of what has ended are closed");
		promise(s->aborted || is_settled(s, side),
		    "what came before a failure is delivered");
	}
	check_cause(s, event->cause);
	promise(event->sealed == (s->relayed ? s->socket[PLAIN]->read : 0),
	    "what is sealed is counted");
	promise(event->opened <= owed(s, CRYPT) &&
	    event->opened >= (s->relayed ? s->socket[PLAIN]->sent : 0), "what is opened is counted");
	promise(event->cause != PLANE_CLEAN || event->opened == s->socket[PLAIN]->sent,
	    "before a clean end, everything opened is sent");
	sum_sealed += event->sealed;
	sum_opened += event->opened;
	s->id = 0;
}

static void
take_news(const struct plane_event *event)
{
	struct session *s = sessions;

	trace("    news of %d: %d, cause %d, error %d\n", (int)event->id, event->news,
	    event->cause, event->error);
	while (s < sessions + SESSIONS && s->id != event->id)
		s++;
	promise(event->id != 0 && s < sessions + SESSIONS, "there is news of the living only");
	promise(event->news != 0 && (event->news & s->news) == 0, "everything is reported once");
	s->news |= event->news;
	promise(!(s->news & PLANE_READY) || (s->news & PLANE_AUTHENTIC),
	    "nobody is ready who is not authentic");
	promise(!(s->news & PLANE_AUTHENTIC) || s->good >= HANDSHAKE_BYTES,
	    "nobody is authentic who does not hold the key");
	if (event->news & PLANE_ENDED)
		check_ended(s, event);
}

/* Returns what else is wanted. */
static int
run(int64_t timeout_ms, size_t room)
{
	struct plane_event events[8];
	int wanted = 0;
	size_t count;

	simulated_polls = 0;
	count = plane_run(plane, timeout_ms, &wanted, events, room);
	promise(count <= room, "there is room for the news");
	promise(!(wanted & PLANE_CONTROL) || control->arrived > 0, "somebody wants control");
	promise(!(wanted & PLANE_ACCEPTABLE) || listener->arrived > 0, "somebody has come");
	for (size_t i = 0; i < count; i++)
		take_news(&events[i]);
	return wanted;
}

static void
abort_all(void)
{
	for (size_t i = 0; i < SESSIONS; i++)
		sessions[i].aborted = 1;
	plane_abort_all(plane);
	for (size_t i = 0; i < SESSIONS; i++) {
		for (int side = PLAIN; side <= CRYPT; side++)
			promise(sessions[i].id == 0 || sessions[i].socket[side] == NULL ||
			    !sessions[i].socket[side]->open, "what is aborted is closed at once");
	}
}

/* The handshake, as between friends. */
static void
shake(struct session *s, int relay_too)
{
	for (int i = 0; i < 3 && s->id != 0 && !(s->news & PLANE_READY); i++) {
		run(-1, 1);
		if (s->id == 0 || !s->socket[CRYPT]->open)
			return;
		take(s, CRYPT, UINT64_MAX);
		feed_crypt(s, SIZE_MAX);
	}
	run(-1, 1);
	if (relay_too)
		relay(s);
}

/* A call fails once, with an error that it can return without a peer's doing. */
static void
fault(enum simulated_call call, int error)
{
	if (call == CALL_EPOLL_WAIT)
		error = EINTR;
	else if (call != CALL_RECV && call != CALL_SEND)
		error = ENOMEM;
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
	case OPEN:
		open_session(s, act);
		break;
	case RELAY:
		relay(s);
		break;
	case RUN:
		run(timeouts[act->a % LENGTH(timeouts)], 1 + act->b % 4);
		break;
	case CANCEL:
		cancel(s);
		break;
	case ABORT_ALL:
		abort_all();
		break;
	case TICK:
		simulated_pass(number);
		break;
	case SIGNAL:
		simulated_signal(side ? listener : control, act->a & 1);
		if (side && act->a & 2)
			plane_yield_listener(plane, listener_fd);
		break;
	case FAULT:
		fault(act->a % CALLS, errors[act->b % LENGTH(errors)]);
		break;
	case SHAKE:
		shake(s, act->who >> 3 & 1);
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

/* How far everything is; different whenever something has moved. */
static uint64_t
progress(void)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < SESSIONS; i++) {
		const struct session *s = &sessions[i];

		sum += s->id == 0 ? 1 : (uint64_t)s->news;
		for (int side = PLAIN; s->id != 0 && side <= CRYPT; side++) {
			const struct simulated_socket *socket = s->socket[side];

			if (socket != NULL)
				sum += socket->read + socket->arrived + socket->sent + socket->taken;
		}
	}
	return sum;
}

/* Let the plane go on until it waits for something that does not come. */
static void
rest(void)
{
	uint64_t start = simulated_now_ms();

	while (!(run(-1, 8) & PLANE_INTERRUPTED))
		;
	promise(simulated_now_ms() - start < DRAIN_MS, "a failure takes no more time than its rest");
}

/* Let everything move until nothing does. */
static void
settle_down(void)
{
	uint64_t before;

	rest();
	for (size_t i = 0; i < SESSIONS; i++)
		promise(sessions[i].id == 0 || !sessions[i].socket[CRYPT]->reset,
		    "a reset is noticed at any time");
	do {
		before = progress();
		for (size_t i = 0; i < SESSIONS; i++) {
			struct session *s = &sessions[i];

			if (s->id != 0 && s->socket[CRYPT]->open)
				feed_crypt(s, SIZE_MAX);
			relay(s);
		}
		rest();
	} while (progress() != before);
}

/* Nothing that could be delivered, or had to be noticed, waits for an event that has passed. */
static void
check_liveness(void)
{
	for (size_t i = 0; i < SESSIONS; i++) {
		struct session *s = &sessions[i];

		if (s->id == 0 || !s->relayed)
			continue;
		for (int side = PLAIN; side <= CRYPT; side++) {
			promise(is_settled(s, side), "what can be delivered is delivered");
			promise(!s->socket[side]->finished || s->socket[!side]->shut,
			    "an end is passed on");
			promise(!s->socket[side]->deaf || s->socket[side]->family != AF_UNIX,
			    "whoever has gone is not waited for");
		}
	}
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
	settle_down();
	for (size_t i = 0; i < SESSIONS; i++)
		promise(sessions[i].id == 0, "what both peers have ended ends");
}

/* Everybody reads, whatever can go on goes on, and then all of it ends. */
static void
finish(uint8_t how)
{
	simulated_fail_no_more();
	if (after.calls > 0)
		what_comes_after();
	simulated_signal(control, 0);
	simulated_signal(listener, 0);
	giving = 1;
	settle_down();
	check_liveness();
	if (how & 2) {
		abort_all();
		settle_down();
	} else
		everybody_ends(how);
	giving = 0;
}

static void
begin(void)
{
	simulated_begin();
	for (size_t i = 0; i < SESSIONS; i++)
		sessions[i].id = 0;
	last_id = total_sealed = total_opened = sum_sealed = sum_opened = 0;
	after.calls = 0;
	control = simulated_socket(AF_UNSPEC, &control_fd);
	listener = simulated_socket(AF_UNSPEC, &listener_fd);
	control->owner = listener->owner = -1;
	plane = plane_new(control_fd, DRAIN_MS, &total_sealed, &total_opened);
	assert(plane != NULL);
	plane_watch_listener(plane, listener_fd);
}

static void
end(void)
{
	promise(total_sealed == sum_sealed && total_opened == sum_opened, "the totals are right");
	promise(simulated_allocated() == 1, "only the plane itself is left");
	plane_free(plane);
	simulated_close(control_fd);
	simulated_close(listener_fd);
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
		primitives[i]->select(k);
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
