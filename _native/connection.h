#ifndef CONNECTION_H
#define CONNECTION_H

/*
 * What the files of the data plane (plane.c, negotiate.c, relay.c) share:
 * connections, and the lists in which they wait for their turn.
 */

#include <stddef.h>
#include <stdint.h>

#include "packet.h"
#include "plane.h"

/* Packets in a batch: larger ones gain nothing measurable (DESIGN.md, "Measured"). */
#define BATCH_PACKETS 128
#define BATCH_PLAIN (BATCH_PACKETS * MESSAGE_MAX)
#define BATCH_CRYPT (BATCH_PACKETS * PACKET_BYTES)

/* The two sockets of a connection, and the flow that reads from each. */
enum { PLAIN, CRYPT };

struct endpoint {
	int fd;				/* -1: there is none yet, or not any more */
	unsigned readable : 1;		/* recv() may have something for us */
	unsigned writable : 1;		/* send() may take something */
	unsigned closing : 1;		/* the peer has sent its FIN: read on until it is reached */
	unsigned gone : 1;		/* a UNIX peer has closed: it will never read again */
	unsigned failed : 1;		/* an error may be pending */
	unsigned local : 1;		/* a UNIX socket */
	unsigned ragged : 1;		/* a short read does not mean that it is empty */
	unsigned bulky : 1;		/* the last read filled a batch */
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

struct connection {
	struct link link;		/* first, so that a link is its connection */
	struct link *list;		/* the one of the plane's lists that it is in */
	struct connection *next_news;	/* among those of which there is news */
	uint64_t id;
	struct endpoint endpoint[2];
	struct handshake *handshake;	/* while it lasts, else NULL */
	struct flow flow[2];		/* flow[PLAIN] seals, flow[CRYPT] opens */
	int news;			/* not reported yet */
	int lost;			/* the endpoint that failed, or -1 */
	int cause;
	int error;
	uint64_t deadline_ms;		/* of draining, once that has begun */
	uint32_t partial_length;	/* of an incomplete packet from crypt */
	uint8_t partial[PACKET_BYTES];
};

struct plane {
	int epoll;
	uint64_t drain_ms;
	uint64_t *total[2];		/* payload bytes by flow */
	struct link idle;		/* waiting for events, or for the caller */
	struct link ready;		/* have events, and little to move as far as we know */
	struct link computing;		/* their handshake is due for an exponentiation */
	struct link bulk;		/* filled their last batch, or have to be asked again */
	struct link draining;		/* failed, delivering what was received before */
	struct link ended;		/* closed, to be reported */
	struct connection *first_news;
	struct connection *last_news;
	uint8_t received[BATCH_CRYPT];	/* what recv() gives */
	uint8_t transformed[BATCH_CRYPT];	/* what send() gets */
};

/* plane.c: put a connection into another list. */
void connection_move(struct connection *connection, struct link *list);

/* plane.c: tell the caller something about a connection. */
void connection_report(struct plane *plane, struct connection *connection, int news);

/* plane.c: close the sockets, erase the secrets, and report the end, for the cause that is set. */
void connection_end(struct plane *plane, struct connection *connection);

/* plane.c: the monotonic clock. */
uint64_t now_ms(void);

/* negotiate.c: go on with a handshake as far as that is possible now. */
void negotiate(struct plane *plane, struct connection *connection);

/* negotiate.c: do the computation for which a connection waits, and go on. */
void negotiate_compute(struct plane *plane, struct connection *connection);

/* relay.c: move a batch in each direction, and see what has become of the connection. */
void relay_serve(struct plane *plane, struct connection *connection);

/* relay.c: look after those that deliver the rest of a failed connection. */
void relay_drain_all(struct plane *plane);

/* plane.c: the error that is pending on a socket, 0 if there is none. */
int endpoint_take_error(struct endpoint *endpoint);

/* plane.c: close an endpoint, which resets it unless it has been told otherwise. */
void endpoint_close(struct endpoint *endpoint);

#endif
