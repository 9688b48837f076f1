/*
 * Where there is no epoll, the portable data plane serves, and plane_supported() says
 * so: nobody calls what has to be there for the linker.
 */
#include "plane.h"

#ifndef __linux__

#include <stdlib.h>

#define ABSENT(declaration) declaration { abort(); }

#pragma GCC diagnostic ignored "-Wunused-parameter"

int plane_supported(void) { return 0; }

ABSENT(void plane_address(struct plane_address *address, int family, const uint8_t *bytes,
    size_t length, uint16_t port, uint32_t flow, uint32_t scope))
ABSENT(struct plane_pipe *plane_pipe_new(enum role role, const uint8_t K[32], int weak,
    int require_pfs, int keepalive, uint64_t timeout_ms, uint64_t idle_ms,
    const struct plane_address *bind))
ABSENT(int plane_pipe_retarget(struct plane_pipe *pipe, const struct plane_address *targets,
    size_t count))
ABSENT(void plane_pipe_free(struct plane_pipe *pipe))
ABSENT(struct plane *plane_new(int control, uint64_t *counters))
ABSENT(void plane_free(struct plane *plane))
ABSENT(int plane_serve(struct plane *plane, const struct plane_service *service))
ABSENT(void plane_stop_serving(struct plane *plane))
ABSENT(int plane_carry(struct plane *plane, uint64_t id, int accepted, struct plane_pipe *pipe))
ABSENT(size_t plane_run(struct plane *plane, int64_t timeout_ms, int *wanted,
    struct plane_ending *endings, size_t room))
ABSENT(int plane_accept_error(const struct plane *plane))
ABSENT(void plane_abort_all(struct plane *plane))

#endif
