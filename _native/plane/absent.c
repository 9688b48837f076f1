/*
 * Where there is no epoll, there is no plane: the portable one in Python serves, plane_supported() says
 * so, and what has to be here for the linker is not called.
 */
#include "plane.h"

#ifndef __linux__

#include <stdlib.h>

#define ABSENT(declaration) declaration { abort(); }

#pragma GCC diagnostic ignored "-Wunused-parameter"

int plane_supported(void) { return 0; }

ABSENT(struct plane *plane_new(int control, uint64_t *counters, struct plane_entry *entries,
    size_t count))
ABSENT(void plane_free(struct plane *plane))
ABSENT(int plane_serve(struct plane *plane, const struct plane_service *service))
ABSENT(void plane_report(struct plane *plane, int clean, int left, int begun))
ABSENT(void plane_stop_serving(struct plane *plane))
ABSENT(int plane_carry(struct plane *plane, uint64_t id, int accepted, struct plane_pipe *pipe))
ABSENT(size_t plane_run(struct plane *plane, int64_t timeout_ms, int *wanted,
    struct plane_ending *endings, size_t room))
ABSENT(int plane_accept_error(const struct plane *plane))
ABSENT(int plane_kill(struct plane *plane, uint64_t number))
ABSENT(void plane_abort_all(struct plane *plane))
ABSENT(void plane_give_back(struct plane *plane))

#endif
