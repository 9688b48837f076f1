#ifndef CONNECTION_H
#define CONNECTION_H

/*
 * What the files of the data plane (plane.c, accept.c, connect.c, negotiate.c,
 * relay.c) share: connections, and the lists in which they wait for their turn.
 */

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>

#include "plane.h"
#include "protocol/packet.h"
#include "timers.h"

/* Packets in a batch: larger ones gain nothing measurable (DESIGN.md, "Measured"). */
#define BATCH_PACKETS 128
#define BATCH_PLAIN (BATCH_PACKETS * MESSAGE_MAX)
#define BATCH_CRYPT (BATCH_PACKETS * PACKET_BYTES)

/* Whoever moves more than this at once is served one at a time, behind those who do not. */
#define LIGHT_BYTES 16384

/* The two sockets of a connection, and the flow that reads from each. */
enum { PLAIN, CRYPT };

struct endpoint {
	int fd;				/* -1: there is none yet, or not any more */
	unsigned readable : 1;		/* recv() may have something for us */
	unsigned writable : 1;		/* send() may take something */
	unsigned closing : 1;		/* the peer has sent its FIN: read on until it is reached */
	unsigned gone : 1;		/* a UNIX peer has closed: it will never read again */
	unsigned failed : 1;		/* an error may be pending */
	unsigned connecting : 1;	/* to the target, which has not answered yet */
	unsigned local : 1;		/* a UNIX socket */
	unsigned ragged : 1;		/* a short read does not mean that it is empty */
	unsigned bulky : 1;		/* the last read gave more than LIGHT_BYTES */
};

enum flow_state {
	FLOW_OPEN,
	FLOW_ENDING,			/* nothing more to receive, perhaps something to send */
	FLOW_ENDED
};

struct flow {
	struct packet_key key;
	uint64_t number;		/* of the next packet */
	uint64_t carried;		/* payload bytes */
	uint8_t *unsent;		/* allocated while the sink is slow, else NULL */
	uint32_t unsent_start;
	uint32_t unsent_end;
	enum flow_state state;
};

struct link {
	struct link *next;
	struct link *previous;
};

/* Where a pipe leads, for as long as somebody is going through the list. */
struct targets {
	size_t users;
	size_t count;
	struct plane_address address[];
};

struct plane_pipe {
	enum role role;
	int weak;
	int require_pfs;
	int keepalive;
	uint64_t timeout_ms;
	uint64_t idle_ms;
	struct plane_address bind;
	struct targets *targets;
	const uint8_t *K;		/* the caller's */
};

/* The data of events that are not of a connection; no connection has these addresses. */
enum { TAG_CONTROL = 0, TAG_LISTENER = 2, TAG_NUDGE = 4 };

/* What there is a timer for. */
enum { TIMER_PAUSE, TIMER_ATTEMPT, TIMER_PATIENCE };

struct connection {
	struct link link;		/* first, so that a link is its connection */
	struct link *list;		/* the one of the plane's lists that it is in */
	struct link stranger;		/* linked while the peer has not proved to hold the key */
	uint64_t id;
	const struct plane_pipe *pipe;
	struct endpoint endpoint[2];
	struct targets *targets;	/* until one has been reached, then NULL */
	uint32_t attempt;		/* which of them is being tried */
	struct timer attempt_timer;	/* until it is the next one's turn */
	uint64_t reach_by_ms;		/* one of them, at the latest */
	struct handshake *handshake;	/* while it lasts, else NULL */
	struct timer patience;		/* with the handshake, and then with silence */
	uint64_t active_ms;		/* when something was carried, if anybody wants to know */
	int queued;			/* what the system had still to deliver when we last asked */
	struct flow flow[2];		/* flow[PLAIN] seals, flow[CRYPT] opens */
	unsigned keyed : 1;		/* the handshake is complete: the flows have their keys */
	unsigned relaying : 1;
	int lost;			/* the endpoint that failed, or -1 */
	int cause;
	int error;
	uint64_t deadline_ms;		/* of draining, once that has begun */
	struct sockaddr_in6 peer;	/* or a shorter one */
	uint32_t peer_length;
	uint32_t partial_length;	/* of an incomplete packet from crypt */
	uint8_t partial[PACKET_BYTES];
};

/* Accepting: what is to be done, and what is to be thought of before the next one is accepted. */
struct accepting {
	struct plane_service service;	/* .listener is -1 while there is none */
	struct timer pause;		/* set while nothing is accepted */
	unsigned leftover : 1;		/* then take one, although we have more than our share */
	unsigned at_limit : 1;		/* then end the pause when a connection ends */
	unsigned acceptable : 1;	/* there may be somebody */
	int wanted;			/* enum plane_wanted, to be told */
	int error;			/* of PLANE_CANNOT_ACCEPT */
};

struct plane {
	int epoll;
	uint64_t *counters;		/* enum plane_counter */
	size_t connections;
	struct accepting accepting;
	struct timers timers;
	struct link idle;		/* waiting for events */
	struct link ready;		/* have events, and little to move as far as we know */
	struct link computing;		/* their handshake is due for an exponentiation */
	struct link bulk;		/* have much to move, or have to be asked again */
	struct link draining;		/* failed, delivering what was received before */
	uint64_t drain_due_ms;		/* when to look after those */
	struct link ended;		/* closed, to be reported */
	struct link strangers;		/* by connection->stranger, the oldest first */
	uint8_t received[BATCH_CRYPT];	/* what recv() gives */
	uint8_t transformed[BATCH_CRYPT];	/* what send() gets */
};

/* The side that is accepted, and the one that is connected to the target. */
static inline int
accepted_side(const struct connection *connection)
{
	return connection->pipe->role == ROLE_C ? PLAIN : CRYPT;
}

/* The connection that is linked in plane->strangers. */
static inline struct connection *
stranger_of(struct link *link)
{
	return (struct connection *)(void *)((char *)link - offsetof(struct connection, stranger));
}

/* plane.c: count, where others can see it. */
void plane_count(struct plane *plane, enum plane_counter counter, uint64_t change);

/*
 * plane.c: begin a connection from an accepted socket, and take that over.  Returns
 * 0 and the connection, which may have ended already; or an errno value, and then the
 * socket is still the caller's.  peer may be NULL.
 */
int connection_begin(struct plane *plane, uint64_t id, int accepted, struct plane_pipe *pipe,
    const struct sockaddr_storage *peer, size_t peer_length, struct connection **begun);

/* plane.c: the peer has proved to hold the key, or it is over. */
void connection_vouch(struct plane *plane, struct connection *connection);

/* plane.c: put a connection into another list. */
void connection_move(struct connection *connection, struct link *list);

/* plane.c: close the sockets, erase the secrets, and report the end, for the cause that is set. */
void connection_end(struct plane *plane, struct connection *connection);

/* plane.c: the same, for this cause and this error number. */
void connection_fail(struct plane *plane, struct connection *connection, int cause, int error);

/* plane.c: is it over? */
int connection_has_ended(const struct plane *plane, const struct connection *connection);

/* plane.c: relay, if both sides are there. */
void connection_establish(struct plane *plane, struct connection *connection);

/* plane.c: take over a socket.  Returns 0 or an errno value. */
int endpoint_open(struct plane *plane, struct connection *connection, int side, int fd, int domain);

/* plane.c: the error that is pending on a socket, 0 if there is none. */
int endpoint_take_error(struct endpoint *endpoint);

/* plane.c: close an endpoint, which resets it unless it has been told otherwise. */
void endpoint_close(struct endpoint *endpoint);

/* plane.c: the monotonic clock. */
uint64_t now_ms(void);

/* plane.c: so many milliseconds from now; UINT64_MAX is never. */
uint64_t due_in(uint64_t ms);

/* accept.c: another plane has left somebody to us. */
void accept_nudged(struct plane *plane);

/* accept.c: accept those who have come. */
void accept_some(struct plane *plane);

/* accept.c: the system has run out of something: accept nobody for a moment, and say why. */
void accept_pause(struct plane *plane, int error);

/* accept.c: the pause is over. */
void accept_again(struct plane *plane);

/* accept.c: a connection has ended, so that there may be room for another. */
void accept_made_room(struct plane *plane);

/* connect.c: begin to reach the target. */
void connect_begin(struct plane *plane, struct connection *connection);

/* connect.c: there are events of the socket that is being connected. */
void connect_go_on(struct plane *plane, struct connection *connection);

/* connect.c: the time of an attempt, or the pause before it, is over. */
void connect_timed_out(struct plane *plane, struct connection *connection);

/* connect.c: let go of the list of targets. */
void targets_release(struct targets *targets);

/* negotiate.c: begin a handshake on the crypt socket. */
void negotiate_begin(struct plane *plane, struct connection *connection);

/* negotiate.c: go on with a handshake as far as that is possible now. */
void negotiate(struct plane *plane, struct connection *connection);

/* relay.c: move a batch in each direction, and see what has become of the connection. */
void relay_serve(struct plane *plane, struct connection *connection);

/* relay.c: has what the system has still to deliver changed since we last asked? */
int relay_has_moved(struct connection *connection);

/* relay.c: look after those that deliver the rest of a failed connection. */
void relay_drain_all(struct plane *plane);

#endif
