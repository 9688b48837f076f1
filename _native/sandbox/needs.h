#ifndef SANDBOX_NEEDS_H
#define SANDBOX_NEEDS_H

/*
 * What a process still has to do when it has entered the sandbox (DESIGN.md, "Privilege").
 */

enum sandbox_needs {
	SANDBOX_TCP = 1,		/* make TCP connections */
	SANDBOX_UNIX = 2,		/* make connections to UNIX sockets */
	SANDBOX_BIND = 4,		/* from an address of its choice */
	SANDBOX_THREADS = 8		/* start threads */
};

#endif
