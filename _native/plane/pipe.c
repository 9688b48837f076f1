/*
 * Pipes, and the lists of targets that they and their connections share.
 */
#include "pipe.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct plane_pipe *
plane_pipe_new(const struct plane_pipe_settings *settings)
{
	struct plane_pipe *pipe = calloc(1, sizeof(*pipe));

	if (pipe == NULL)
		return NULL;
	pipe->settings = *settings;
	if (plane_pipe_retarget(pipe, NULL, 0) != 0) {
		plane_pipe_free(pipe);
		return NULL;
	}
	return pipe;
}

int
plane_pipe_retarget(struct plane_pipe *pipe, const struct plane_address *targets, size_t count)
{
	struct targets *list = malloc(sizeof(*list) + count * sizeof(list->address[0]));

	if (list == NULL)
		return ENOMEM;
	list->users = 1;
	list->count = count;
	if (count > 0)
		memcpy(list->address, targets, count * sizeof(list->address[0]));
	targets_release(pipe->targets);
	pipe->targets = list;
	return 0;
}

void
plane_pipe_free(struct plane_pipe *pipe)
{
	targets_release(pipe->targets);
	free(pipe);
}

struct targets *
targets_hold(const struct plane_pipe *pipe)
{
	pipe->targets->users++;
	return pipe->targets;
}

void
targets_release(struct targets *targets)
{
	if (targets != NULL && --targets->users == 0)
		free(targets);
}
