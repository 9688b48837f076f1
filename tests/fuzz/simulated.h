#ifndef SIMULATED_H
#define SIMULATED_H

/*
 * A system for the data plane to run on that makes no system call: stream
 * sockets, listening ones, epoll, a clock, entropy and memory, all of them small, deterministic
 * and under the control of whoever plays the peers.
 *
 * This header comes before everything else (-include): behind it, the calls of
 * the table below go to simulated.c.  A call that the data plane learns to make
 * belongs into that table.  What the sockets do is what Linux does, as far as
 * epoll's readers can tell: `net/ipv4/tcp.c`, `net/unix/af_unix.c`.
 */

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "plane/admission.h"
#include "plane/computing.h"
#include "plane/connection.h"
#include "plane/plane.h"
#include "plane/state.h"
#include "protocol/handshake.h"
#include "secret/secret_memory.h"

/* Batches of a few packets, so that filling one costs little; the plane's own buffers are larger. */
#undef BATCH_PACKETS
#define BATCH_PACKETS 4
#undef LIGHT_PACKETS
#define LIGHT_PACKETS 1

/* There are never many at once. */
#undef COMPUTING_ALWAYS
#define COMPUTING_ALWAYS 1

#define accept4 simulated_accept4
#define bind(fd, address, length) simulated_bind(fd, address, length)
#define clock_gettime simulated_clock_gettime
#define close simulated_close
#define connect(fd, address, length) simulated_connect(fd, address, length)
#define epoll_create1 simulated_epoll_create1
#define epoll_ctl simulated_epoll_ctl
#define epoll_wait simulated_epoll_wait
#define getentropy simulated_getentropy
#define getsockopt simulated_getsockopt
#define ioctl simulated_ioctl
#define read(fd, buffer, room) simulated_read(fd, buffer, room)
#define recv simulated_recv
#define recvmsg simulated_recvmsg
#define sched_yield() ((void)0)
#define send simulated_send
#define setsockopt simulated_setsockopt
#define shutdown simulated_shutdown
#define socket(family, type, protocol) simulated_socket(family, type, protocol)
#define write(fd, data, length) simulated_write(fd, data, length)

#define calloc simulated_calloc
#define free simulated_free
#define malloc simulated_malloc
#define realloc simulated_realloc
#define secret_alloc simulated_secret_alloc
#define secret_free simulated_secret_free

#define group14_power simulated_group14_power
#define group14_power_of_generator simulated_group14_power_of_generator

int simulated_accept4(int fd, struct sockaddr *address, socklen_t *length, int flags);
int simulated_bind(int fd, const struct sockaddr *address, socklen_t length);
int simulated_clock_gettime(clockid_t clock, struct timespec *now);
int simulated_close(int fd);
int simulated_connect(int fd, const struct sockaddr *address, socklen_t length);
int simulated_epoll_create1(int flags);
int simulated_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event);
int simulated_epoll_wait(int epoll, struct epoll_event *events, int room, int wait_ms);
int simulated_getentropy(void *buffer, size_t length);
int simulated_getsockopt(int fd, int level, int option, void *value, socklen_t *size);
int simulated_ioctl(int fd, unsigned long request, ...);
ssize_t simulated_read(int fd, void *buffer, size_t room);
ssize_t simulated_recv(int fd, void *buffer, size_t room, int flags);
ssize_t simulated_recvmsg(int fd, struct msghdr *message, int flags);
ssize_t simulated_send(int fd, const void *data, size_t length, int flags);
int simulated_setsockopt(int fd, int level, int option, const void *value, socklen_t size);
int simulated_shutdown(int fd, int how);
int simulated_socket(int family, int type, int protocol);
ssize_t simulated_write(int fd, const void *data, size_t length);

void *simulated_calloc(size_t count, size_t size);
void simulated_free(void *p);
void *simulated_malloc(size_t size);
void *simulated_realloc(void *p, size_t size);
void *simulated_secret_alloc(size_t size);
void simulated_secret_free(void *p, size_t size);

/* Stand-ins for the exponentiations that commute as those do, and take no time; and how many there
 * were. */
extern size_t simulated_powers;
void simulated_group14_power(const uint8_t base[256], const uint8_t x[32], uint8_t y[256]);
void simulated_group14_power_of_generator(const uint8_t x[32], uint8_t y[256]);

/* Sockets, as those see them who play the peers. */

#define SOCKETS_MAX 32

enum simulated_kind {
	STREAM,
	SIGNAL_ONLY,			/* only watched; arrived: is it readable? */
	LISTENER,			/* arrived: how many wait */
	COUNTER				/* an eventfd; arrived: what it has counted */
};

struct simulated_socket {
	enum simulated_kind kind;
	int fd;
	int owner;			/* the caller's: whose it is, or -1, */
	int side;			/* and on which side */
	int family;			/* AF_INET, AF_INET6, AF_UNIX */
	int open;			/* our program has not closed it */
	int kept;			/* the caller still looks at it */
	unsigned waiting : 1;		/* at the listener */
	unsigned connecting : 1;	/* and not answered */
	unsigned unconnected : 1;	/* not even that */
	unsigned reusable : 1;		/* SO_REUSEADDR */
	unsigned portless : 1;		/* IP_BIND_ADDRESS_NO_PORT */
	int lingering;			/* closing it lets the rest go out, instead of resetting */

	uint64_t arrived, read;		/* bytes from the peer: in all, and taken by our program */
	uint64_t window;		/* how many may wait */
	uint64_t mark;			/* where a read ends early */
	unsigned urgent : 1;		/* because of urgent data */
	unsigned finished : 1;		/* the peer has said that there is no more */
	unsigned deaf : 1;		/* the peer has closed: it neither reads nor writes */
	unsigned reset : 1;		/* the peer, or the way to it, is gone */
	int error;			/* pending, or 0 */

	uint64_t sent, taken;		/* bytes to the peer: in all, and acknowledged */
	uint64_t capacity;		/* how many may wait */
	unsigned shut : 1;		/* our program has said that there is no more */
	unsigned wants_space : 1;	/* and it has been told that there is none */

	unsigned watched : 1;
	unsigned queued : 1;		/* in epoll's ready list */
	struct epoll_event interest;
};

/* Begin anew.  Nothing is open, and everything that was allocated is freed. */
void simulated_begin(void);

/* A new descriptor. */
struct simulated_socket *simulated_new(enum simulated_kind kind, int family);

/* The caller does not look at the socket any more. */
void simulated_forget(struct simulated_socket *socket);

/* A client comes to the listener; or goes to another process that accepts there. */
void simulated_come(struct simulated_socket *listener, struct simulated_socket *client);
void simulated_go(struct simulated_socket *listener, struct simulated_socket *client);

/* Whom our program connects to answers: 0, or why not. */
void simulated_answer(struct simulated_socket *socket, int error);

/* What a peer does.  Each has no effect once it cannot have one. */
void simulated_arrive(struct simulated_socket *socket, uint64_t length);	/* at most the window */
void simulated_mark(struct simulated_socket *socket);		/* urgent data, or a descriptor */
void simulated_finish(struct simulated_socket *socket);
void simulated_hang_up(struct simulated_socket *socket);	/* close */
void simulated_reset(struct simulated_socket *socket, int error);
uint64_t simulated_take(struct simulated_socket *socket, uint64_t length);	/* returns how much */

/* How much may arrive now. */
uint64_t simulated_window(const struct simulated_socket *socket);

/* Make a descriptor that is no stream readable, or not. */
void simulated_signal(struct simulated_socket *socket, int readable);

/* Calls that may be told to fail once. */
enum simulated_call {
	CALL_EPOLL_CTL,
	CALL_EPOLL_WAIT,
	CALL_RECV,
	CALL_SEND,
	CALL_SHUTDOWN,
	CALL_GETENTROPY,
	CALL_MALLOC,
	CALL_ACCEPT,
	CALL_SOCKET,
	CALL_BIND,
	CALL_CONNECT,
	CALL_WRITE,
	CALLS
};

void simulated_fail(enum simulated_call call, int error);
void simulated_fail_no_more(void);

/* Time.  While it is held, whoever waits is interrupted instead. */
uint64_t simulated_now_ms(void);
void simulated_pass(uint64_t ms);
extern int simulated_held;

/* How many pieces of memory are allocated, descriptors open, and turns made. */
size_t simulated_allocated(void);
size_t simulated_open(void);
extern size_t simulated_polls;

/* What whoever plays the peers has to provide. */

/* Something is asked of the system: a moment at which a peer may do something. */
void on_call(void);

/* Our program accepts the socket: write who it comes from. */
socklen_t on_accept(struct simulated_socket *socket, struct sockaddr_storage *address);

/* Our program has made a socket; or cannot have, use or watch one, or is told of an error on it. */
void on_socket(struct simulated_socket *socket);
void on_refused(int error);

/* Our program connects.  Returns 0, EINPROGRESS, or why it cannot. */
int on_connect(struct simulated_socket *socket, const struct sockaddr *address, socklen_t length);

/* Our program watches the socket from now on, or does not any more. */
void on_watch(struct simulated_socket *socket, const struct epoll_event *event);
void on_unwatch(struct simulated_socket *socket);

/* Our program waits, and nothing is ready.  Returns whether something has happened since. */
int on_idle(int wait_ms);

/* Our program takes `length` bytes at the stream's position socket->read. */
void on_recv(struct simulated_socket *socket, uint8_t *buffer, size_t length);

/* Our program gives `length` bytes at the stream's position socket->sent. */
void on_send(struct simulated_socket *socket, const uint8_t *data, size_t length);

/* Our program ends its stream: what has been sent is all. */
void on_shutdown(struct simulated_socket *socket);

/* Our program is about to close the socket. */
void on_close(struct simulated_socket *socket);

/* From now on, there may be an error on the socket. */
void on_failure(struct simulated_socket *socket);

/* Our program frees memory that it has allocated. */
void on_free(const void *memory, size_t size);

/* A call about the socket, or about none in particular (NULL), fails as it was told to. */
void on_fault(enum simulated_call call, struct simulated_socket *socket);

/* Tell what happens, if somebody has asked for it. */
extern int tracing;
#define trace(...) ((void)(tracing && fprintf(stderr, __VA_ARGS__)))

/* This must hold, or the input has found a fault. */
#define promise(condition, what) \
	do { \
		if (!(condition)) \
			broken(what, #condition, __LINE__); \
	} while (0)

_Noreturn void broken(const char *what, const char *condition, int line);

#endif
