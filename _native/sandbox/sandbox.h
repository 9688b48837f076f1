#ifndef SANDBOX_H
#define SANDBOX_H

/*
 * What a process gives up once it has everything that it needs (DESIGN.md,
 * "Privilege"): for good, for itself and for its children.  Linux has all of it;
 * elsewhere every function here refuses with ENOSYS.
 *
 * Functions return 0 or an errno value.
 */

#include <stddef.h>
#include <stdint.h>

/* What a process still has to do. */
enum sandbox_needs {
	SANDBOX_TCP = 1,		/* make TCP connections */
	SANDBOX_UNIX = 2,		/* make connections to UNIX sockets */
	SANDBOX_BIND = 4,		/* from an address of its choice */
	SANDBOX_SYSLOG = 8,		/* connect to the system's log anew */
	SANDBOX_THREADS = 16		/* start threads */
};

/* Execute nothing with more privileges than this process has; the other two need that. */
int sandbox_forbid_new_privileges(void);

/* The version of Landlock that the kernel has; or minus an errno value, if it has none. */
int sandbox_landlock_abi(void);

/*
 * Landlock: no access to files but through the descriptors that are open; TCP connections to no
 * other ports than these, and TCP sockets bound to no other port than `bind` (0: one that the system
 * chooses; -1: none); no signals to others, and no abstract UNIX sockets of theirs.  All of it as far
 * as this version has it.  `needs` is a set of enum sandbox_needs.
 */
int sandbox_landlock(int abi, unsigned needs, const uint16_t *ports, size_t count, int bind);

/* Can this kernel filter system calls, and do we have a filter for this architecture? */
int sandbox_can_filter(void);

/*
 * Filter system calls.  `needs` is a set of enum sandbox_needs.  What is not allowed fails with EPERM;
 * what only an attacker would try, and what no caller checks, ends the process with SIGSYS.
 */
int sandbox_filter(unsigned needs);

#endif
