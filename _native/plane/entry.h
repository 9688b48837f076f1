#ifndef PLANE_ENTRY_H
#define PLANE_ENTRY_H

/*
 * What others may see of a connection, in a table that other processes read at any time.
 *
 * A reader takes an entry for what it says if its number is the same before and after.
 */

#include <stddef.h>
#include <stdint.h>

enum entry_state {
	ENTRY_CONNECTING,		/* the target has not been reached */
	ENTRY_HANDSHAKE,
	ENTRY_RELAYING,
	ENTRY_HALF_CLOSED,		/* one direction has ended */
	ENTRY_DRAINING			/* an endpoint has failed, and the rest is being delivered */
};

#define ENTRY_ADDRESS_BYTES 28		/* of a struct sockaddr_in6, or a shorter one */

/* Two cache lines, of which one changes with every batch. */
struct plane_entry {
	uint64_t number;		/* of the connection; 0: nobody has this entry */
	uint64_t began_ms;		/* by the system's monotonic clock */
	uint8_t state;			/* enum entry_state */
	uint8_t peer_length;
	uint8_t target_length;		/* 0: it has none yet, or that is a UNIX socket */
	uint8_t unused;
	uint16_t pipe;			/* .number of its settings */
	uint16_t key;			/* 0: there is only one */
	uint8_t peer[ENTRY_ADDRESS_BYTES];
	uint8_t padding[12];

	uint64_t sealed;		/* payload bytes from plain to crypt, */
	uint64_t opened;		/* and from crypt to plain */
	uint32_t unsent[2];		/* bytes that a sink has not taken: of the flow from plain, from crypt */
	uint8_t target[ENTRY_ADDRESS_BYTES];
	uint8_t padding_too[12];
};

/* The entries of a plane. */
struct entries {
	struct plane_entry *entry;	/* the caller's, and zero at first */
	size_t count;
	size_t fresh;			/* entries from here on have never been used */
	size_t freed;			/* one more than the last one freed, or 0; its began_ms names the next */
};

/* Take an entry, which is zero; whoever fills it in stores its number last.  Returns NULL if all are taken. */
struct plane_entry *entries_take(struct entries *entries);

/* Give an entry back. */
void entries_give_back(struct entries *entries, struct plane_entry *entry);

#endif
