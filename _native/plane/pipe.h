#ifndef PLANE_PIPE_H
#define PLANE_PIPE_H

/*
 * Pipes: what connections have in common, and where they lead.
 */

#include <stddef.h>
#include <stdint.h>

#include "address.h"
#include "protocol/role.h"

/* Times are in milliseconds; UINT64_MAX means no limit. */
struct plane_pipe_settings {
	enum role role;
	uint16_t number;		/* by which entries name it */
	const uint8_t *K;		/* 32 bytes; the caller's, valid for as long as the pipe */
	int weak;			/* do without forward secrecy */
	int require_pfs;		/* refuse peers that do */
	int keepalive;			/* SO_KEEPALIVE on the target's socket */
	uint64_t timeout_ms;		/* of connecting, of a handshake, of the rest after a failure */
	uint64_t idle_ms;		/* how long a connection may carry nothing */
	struct plane_address bind;	/* of the target's socket; length 0: none */
};

/* A list of targets, shared by the pipe and the connections that are going through it. */
struct targets {
	size_t users;
	size_t count;
	struct plane_address address[];
};

/* Its members are for the files of the data plane alone. */
struct plane_pipe {
	struct plane_pipe_settings settings;
	struct targets *targets;	/* of connections that begin now */
};

/* Make a pipe, without a target yet.  Copies *settings.  Returns NULL if there is no memory. */
struct plane_pipe *plane_pipe_new(const struct plane_pipe_settings *settings);

/* Connect to these, in turn, for connections that begin from now on.  Returns 0 or an errno value. */
int plane_pipe_retarget(struct plane_pipe *pipe, const struct plane_address *targets, size_t count);

/* Free a pipe that no connection uses. */
void plane_pipe_free(struct plane_pipe *pipe);

/* The targets of now, to be given back by targets_release(). */
struct targets *targets_hold(const struct plane_pipe *pipe);

/* Give them back; NULL is fine. */
void targets_release(struct targets *targets);

#endif
