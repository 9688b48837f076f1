#ifndef PLANE_ENDPOINT_H
#define PLANE_ENDPOINT_H

/*
 * An endpoint: one of the two sockets of a connection, and what events have told about it.
 *
 * Both are in the plane's epoll set, edge-triggered and registered once; the data of their events is
 * the address of the endpoint.
 */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#ifdef __linux__
#include <sys/epoll.h>
#endif

#include "ending.h"

/* The places of the two in an array of endpoints, and of the flow that reads from each. */
enum { PLAIN, CRYPT };

struct endpoint {
	int fd;				/* -1: there is none yet, or not any more */
	unsigned side : 1;		/* its place: PLAIN or CRYPT */
	unsigned readable : 1;		/* recv() may give something */
	unsigned writable : 1;		/* send() may take something */
	unsigned closing : 1;		/* the peer has sent its FIN: read on until it is reached */
	unsigned hung_up : 1;		/* a UNIX peer has closed: it never reads again */
	unsigned failed : 1;		/* an error may be pending */
	unsigned local : 1;		/* a UNIX socket */
	unsigned short_reads : 1;	/* urgent data may cut reads short */
	unsigned bulky : 1;		/* the last read gave much */
};

/* The side at a place, as an ending names it. */
static inline enum plane_side
side_of(int place)
{
	return PLANE_SIDE_PLAIN + (enum plane_side)place;
}

/* Make an endpoint without a socket. */
void endpoint_init(struct endpoint *endpoint, int side);

/* Take over a socket of this domain (AF_ value) and watch it.  Returns 0; or an errno value, and then
 * the socket is still the caller's. */
int endpoint_open(struct endpoint *endpoint, int epoll, int fd, int domain);

#ifdef __linux__
/* Note what epoll has reported of its socket. */
static inline void
endpoint_take_events(struct endpoint *endpoint, uint32_t events)
{
	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR | EPOLLPRI))
		endpoint->readable = 1;
	if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
		endpoint->writable = 1;
	if (events & (EPOLLRDHUP | EPOLLHUP))
		endpoint->closing = 1;
	if ((events & EPOLLHUP) && endpoint->local)
		endpoint->hung_up = 1;
	if (events & EPOLLERR)
		endpoint->failed = 1;
	if (events & EPOLLPRI)
		endpoint->short_reads = 1;
}
#endif

/*
 * Receive at most `room` bytes, as recv() does.  *emptied says whether the socket is known to hold nothing
 * more, so that an event will tell of the next: it gave less than there was room for, and nothing else cut
 * the read short.
 */
ssize_t endpoint_receive(const struct endpoint *endpoint, uint8_t *buffer, size_t room, int *emptied);

/* Ask the system for the error that is pending on a socket, for endpoint_take_error(). */
int endpoint_read_error(struct endpoint *endpoint);

/* The error that is pending on a socket, which is then pending no more; 0 if there is none. */
static inline int
endpoint_take_error(struct endpoint *endpoint)
{
	return endpoint->failed ? endpoint_read_error(endpoint) : 0;
}

/* From now on, closing the socket ends its stream in order, instead of resetting the connection. */
void endpoint_make_graceful(struct endpoint *endpoint);

/* Close the socket, if there is one. */
void endpoint_close(struct endpoint *endpoint);

#endif
