#ifndef PLANE_ADMISSION_H
#define PLANE_ADMISSION_H

/*
 * Admission: may one more connection come?  There are limits of how many there may be in all, of peers that
 * have not proved to hold the key, of what can be computed in time, and of this plane's share.
 */

#include <stdint.h>

struct connection;
struct plane;

enum admission {
	ADMIT,
	OVER_LIMIT,			/* there are as many as there may be */
	OVER_SHARE,			/* other planes have fewer */
	OVERLOADED,			/* its keys could not be computed in time */
	UNPROVEN			/* as many unauthenticated ones as may be, and none can go yet */
};

/* How all planes stand that share the service, at one look. */
struct census {
	uint64_t active;		/* connections */
	uint64_t unauthenticated;
	uint64_t serving;		/* planes that accept, */
	uint64_t of_serving;		/* and their connections */
};

/* Look at the counters of all of them. */
void admission_look(const struct plane *plane, struct census *census);

/*
 * May the connection come that has just been counted?  anyhow: although our share is exceeded.
 *
 * If it comes to be one unauthenticated connection too many, *leaving is the one that is to be ended for
 * it, else NULL: the oldest, because its peer is the least likely to hold the key, but none that has not
 * had ADMISSION_GRACE_MS, or that waits for us.
 */
enum admission admission_decide(const struct plane *plane, const struct census *census, int anyhow,
    struct connection **leaving);

#define ADMISSION_GRACE_MS 200

/* 1 if the plane has a quarter more connections than those that serve have on average, plus one; else 0. */
int admission_share_is_exceeded(const struct plane *plane, const struct census *census);

/* When the next unauthenticated connection of this plane has had its time; UINT64_MAX if there is none. */
uint64_t admission_grace_ends_ms(const struct plane *plane);

/* 1 if there are too many unauthenticated connections from where this one comes from, else 0. */
int admission_source_is_exceeded(const struct plane *plane, const struct connection *newest);

#endif
