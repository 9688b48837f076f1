#ifndef PLANE_WANTED_H
#define PLANE_WANTED_H

/*
 * What a plane wants of its caller, beside that it takes endings.
 */

/* What plane_run() may return for, beside connections that have ended. */
enum plane_wanted {
	PLANE_CONTROL = 1,		/* the control descriptor is readable */
	PLANE_INTERRUPTED = 2,		/* a signal has arrived */
	PLANE_LIMIT_REACHED = 4,	/* there are as many connections as there may be */
	PLANE_CANNOT_ACCEPT = 8,	/* plane_accept_error() says why */
	PLANE_OVERLOADED = 16,		/* connections had to be refused: PLANE_OVERLOAD */
	PLANE_DRAINED = 32		/* nobody is accepted any more, and the last connection has ended */
};

#endif
