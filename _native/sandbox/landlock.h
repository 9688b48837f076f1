#ifndef SANDBOX_LANDLOCK_H
#define SANDBOX_LANDLOCK_H

/*
 * Landlock: which files, ports and other processes this process and its children may reach, from now
 * on and for good.
 */

#include <stddef.h>
#include <stdint.h>

/* The version of Landlock that the kernel has; or minus an errno value, if it has none. */
int sandbox_landlock_abi(void);

/*
 * Allow no access to files but through the descriptors that are open; TCP connections to no other
 * ports than these, and TCP sockets bound to no other port than `bind` (0: one that the system
 * chooses; -1: none); no signals to others, and no abstract UNIX sockets of theirs.  All of it as far
 * as this version has it.  `needs` is a set of enum sandbox_needs.  Returns 0 or an errno value, which
 * is ENOSYS on systems other than Linux.
 */
int sandbox_landlock(int abi, unsigned needs, const uint16_t *ports, size_t count, int bind);

#endif
