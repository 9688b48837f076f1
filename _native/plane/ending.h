#ifndef PLANE_ENDING_H
#define PLANE_ENDING_H

/*
 * How a connection has ended, as the caller is told; or that one has begun.
 */

#include <stdint.h>

#include "address.h"

/* Why.  Unless said otherwise, the ending names the side whose socket it was. */
enum plane_cause {
	PLANE_CLEAN,			/* both directions came to their end; no side */
	PLANE_UNREACHED,		/* no target could be reached: .target and .error, of the last */
	PLANE_UNANSWERED,		/* .target did not answer in time */
	PLANE_PLAIN_LOST,		/* an error on the plain socket before the relay: .error */
	PLANE_NO_KEY,			/* as enum handshake_status */
	PLANE_OUT_OF_RANGE,
	PLANE_NO_PFS,
	PLANE_CLOSED,			/* by the peer, during the handshake */
	PLANE_LOST,			/* an error during the handshake: .error says which */
	PLANE_TOO_SLOW,			/* the handshake took longer than it may */
	PLANE_SHED,			/* unauthenticated, and the oldest of too many; no side */
	PLANE_TOO_MANY,			/* unauthenticated, and one too many from its address; no side */
	PLANE_BAD_TAG,
	PLANE_BAD_LENGTH,
	PLANE_TRUNCATED,		/* the stream ended inside a packet */
	PLANE_SOCKET_ERROR,		/* on an established connection: .error says which */
	PLANE_IDLE,			/* nothing was carried for longer than is allowed; no side */
	PLANE_ABORTED,			/* by plane_abort_all(); no side */
	PLANE_LEFT,			/* whoever connected left before sending a byte, or being served */
	PLANE_SAME_ROLE,		/* as enum handshake_status */
	PLANE_OVERLOAD,			/* more came than could be computed in time; only ever counted */
	PLANE_KILLED,			/* by plane_kill(); no side */
	PLANE_SHORTAGE,			/* we have run out of what it takes to connect: .error; no side */
	PLANE_CAUSES,
	PLANE_BEGUN			/* no end: it has been accepted; only .number and .peer are set */
};

/* Which of the two sockets.  The target's is the crypt one of ROLE_C and the plain one of ROLE_S. */
enum plane_side {
	PLANE_SIDE_NONE,
	PLANE_SIDE_PLAIN,
	PLANE_SIDE_CRYPT
};

struct plane_ending {
	uint64_t id;			/* given to plane_carry(); 0: it was accepted here */
	uint64_t number;		/* of the connections accepted here, from 1; 0: plane_carry() */
	int role;			/* enum role, of its pipe */
	uint64_t sealed;		/* payload bytes from plain to crypt, */
	uint64_t opened;		/* and from crypt to plain */
	uint64_t duration_ms;		/* from when it was accepted, or given to plane_carry() */
	int cause;			/* enum plane_cause */
	int error;			/* an errno value, or 0 */
	int side;			/* enum plane_side */
	int heard;			/* enum heard: how far the peer has come in the handshake */
	struct plane_address peer;	/* who was accepted */
	struct plane_address target;	/* of PLANE_UNREACHED and PLANE_UNANSWERED */
};

#endif
