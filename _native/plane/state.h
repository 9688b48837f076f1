#ifndef PLANE_STATE_H
#define PLANE_STATE_H

/*
 * The state of a plane, which the loop, accepting and the life of connections share.
 */

#include <stddef.h>
#include <stdint.h>

#include "ending.h"
#include "entry.h"
#include "flow.h"
#include "list.h"
#include "service.h"
#include "timers.h"

/* The data of events that are not an endpoint's; no endpoint has these addresses. */
enum event_tag { TAG_CONTROL = 0, TAG_LISTENER = 2, TAG_WAKE = 4 };

/* What there is a timer for. */
enum timer_kind {
	TIMER_PAUSE,			/* of accepting */
	TIMER_ATTEMPT,			/* of a connection, to connect */
	TIMER_TIMEOUT			/* of a connection: of its handshake, and then of silence */
};

/* Why nothing is accepted for a while. */
enum pause {
	PAUSE_NONE,
	PAUSE_TROUBLE,			/* the system has run out of something */
	PAUSE_SHARE,			/* others have fewer connections: let them accept */
	PAUSE_OVERLOAD,			/* others may have more time to compute: let them accept */
	PAUSE_LIMIT,			/* there are as many connections as there may be */
	PAUSE_UNPROVEN			/* as many unauthenticated ones, and none has had its time */
};

/* The state of accepting. */
struct accepting {
	struct plane_service service;	/* .listener is -1 while there is none */
	struct timer pause;		/* set while nothing is accepted */
	enum pause reason;		/* of that */
	unsigned pending : 1;		/* a connection may be waiting */
	unsigned limit_reached : 1;	/* to be reported: there are as many connections as there may be */
	unsigned overloaded : 1;	/* to be reported: connections had to be refused */
	unsigned has_trouble : 1;	/* to be reported: the system refuses, */
	int error;			/* with this errno value */
};

/* The exponentiations that connections wait for, and how fast they go. */
struct computing {
	size_t waiting;			/* connections in QUEUE_COMMITTING */
	uint64_t done_us;		/* when the last one was done, if others waited then; else 0 */
	uint64_t sum_us;		/* of the last intervals between two; 0: none is known */
};

/* How many more failures may be reported. */
struct budget {
	uint64_t left;
	uint64_t at_ms;			/* when it was counted */
};

/* Every connection is in one of these queues. */
enum queue {
	QUEUE_IDLE,			/* waiting for events */
	QUEUE_READY,			/* have events, and little to move as far as is known */
	QUEUE_AGREEING,			/* due for the second exponentiation of their handshake, */
	QUEUE_COMMITTING,		/* or for the first */
	QUEUE_BULK,			/* have much to move, or have to be asked again */
	QUEUE_DRAINING,			/* failed, delivering what was received before */
	QUEUE_ENDED,			/* closed, to be reported */
	QUEUES
};

struct plane {
	int epoll;
	uint64_t *counters;		/* enum plane_counter */
	uint64_t accepted;		/* connections, so far */
	size_t connections;		/* that are not freed */
	struct entries entries;		/* what others see of them */
	struct timers timers;
	struct link queue[QUEUES];	/* enum queue, by connection->link */
	uint64_t drain_due_ms;		/* when to poll those that drain */
	struct link unauthenticated;	/* by connection->unauthenticated, the oldest first */

	/* What connections report to the loop, which looks at it at once. */
	int shortage;			/* the system has run out of something: an errno value; 0: no */
	int room_made;			/* a connection has been freed, or has authenticated itself */

	struct accepting accepting;
	int stopping;			/* nobody is accepted any more: tell when the last has ended */
	struct computing computing;
	uint64_t yielded_ms;		/* when a bulk transfer last let others have the CPU */
	size_t begun_count;		/* connections that have begun, to be reported */
	struct plane_ending begun[BEGUN_MOST];
	struct budget budget;		/* of reports of failures */
	struct batch batch;
};

#endif
