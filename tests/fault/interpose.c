/*
 * Faults of system calls: preloaded into a daemon, it stands between its
 * workers and the C library, and fails the calls that a plan in shared memory
 * names.  plan.py has the other half of this file, and writes the plan.
 *
 * A fault is told as honestly as the system would tell it: who reads that there
 * is nothing to read is sent an event behind it, a connection whose error says
 * that it is gone is gone, a descriptor is closed even if close() fails.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/sockios.h>

#define EXPORT __attribute__((visibility("default")))

/* plan.py: Call, Where, How, Plan. */
enum call {
	NO_CALL,
	ACCEPT, SOCKET, SOCKETPAIR, CONNECT, BIND, GETSOCKNAME, SETSOCKOPT, GETSOCKOPT,
	RECV, SEND, SHUTDOWN, CLOSE, IOCTL, FCNTL,
	EPOLL_CREATE, EPOLL_CTL, EPOLL_WAIT, RANDOM, MALLOC
};
enum where {
	ANYWHERE,
	LISTENER,		/* what connections come from */
	ACCEPTED,		/* accepted in this epoch */
	CONNECTED,		/* made to be connected in this epoch */
	CHANNEL			/* to the supervisor, or to ourselves */
};
enum how {
	FAIL,			/* the call is not made */
	FAIL_AFTER,		/* it is made, and what it gave is taken away */
	FAIL_DEAD,		/* the connection is reset first */
	SHORT,			/* it carries a single byte */
	PENDING			/* getsockopt() succeeds, and tells of this error */
};

struct plan {
	uint32_t epoch;		/* counts the connections that faults are meant for */
	uint32_t call;
	uint32_t where;
	uint32_t how;
	uint32_t error;
	uint32_t skip;		/* so many calls are let through, */
	uint32_t times;		/* and then so many fail */
	uint32_t hits;		/* so many have failed */
	uint32_t calls;		/* how often workers have called any of these, but for waiting */
	uint32_t started;	/* how many workers have come so far that they wait */
	uint32_t buffer;	/* bytes that the system may hold of what a worker sends */
};

static struct plan *plan;
static int in_worker;

/* What is known of a descriptor. */
static struct {
	uint32_t epoch;
	uint32_t where;
	int epoll;		/* the last set that it was added to, or 0 */
	struct epoll_event event;
} known[1 << 16];

/* The C library's function of that name. */
#define REAL(name)                                                                          \
	static __typeof__(name) *real;                                                      \
	if (real == NULL)                                                                   \
		real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

static void
enter_worker(void)
{
	in_worker = 1;
}

__attribute__((constructor)) static void
load_plan(void)
{
	const char *path = getenv("FAULT_PLAN");
	int fd = path == NULL ? -1 : open(path, O_RDWR | O_CLOEXEC);
	void *map;

	if (fd < 0)
		return;
	map = mmap(NULL, sizeof(*plan), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		abort();
	((int (*)(int))dlsym(RTLD_NEXT, "close"))(fd);
	plan = map;
	pthread_atfork(NULL, NULL, enter_worker);	/* whatever the supervisor forks */
}

static int
is_known(int fd)
{
	return fd >= 0 && (size_t)fd < sizeof(known) / sizeof(known[0]);
}

/* Remember how a worker has come by a descriptor.  Returns the descriptor. */
static int
remember(int fd, enum where where)
{
	int size;

	if (plan == NULL || !in_worker || !is_known(fd))
		return fd;
	memset(&known[fd], 0, sizeof(known[fd]));
	known[fd].epoch = plan->epoch;
	known[fd].where = where;
	size = (int)plan->buffer;
	if (size > 0 && where != CHANNEL) {
		int saved = errno;
		int (*set)(int, int, int, const void *, socklen_t) =
		    (int (*)(int, int, int, const void *, socklen_t))dlsym(RTLD_NEXT, "setsockopt");

		set(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
		errno = saved;
	}
	return fd;
}

/* What getsockopt() says, whatever the plan. */
static int
option_of(int fd, int name)
{
	int (*get)(int, int, int, void *, socklen_t *) =
	    (int (*)(int, int, int, void *, socklen_t *))dlsym(RTLD_NEXT, "getsockopt");
	int saved = errno, value = -1;
	socklen_t size = sizeof(value);

	if (get(fd, SOL_SOCKET, name, &value, &size) != 0)
		value = -1;
	errno = saved;
	return value;
}

static int
concerns(int fd)
{
	switch (plan->where) {
	case ANYWHERE:
		return 1;
	case LISTENER:
		return option_of(fd, SO_ACCEPTCONN) == 1;
	case CHANNEL:
		return option_of(fd, SO_DOMAIN) == AF_UNIX;
	default:
		return is_known(fd) && known[fd].where == plan->where &&
		    known[fd].epoch == plan->epoch;
	}
}

/* Count down, unless it is 0 already.  Returns whether it was not. */
static int
take(uint32_t *counter)
{
	uint32_t value = __atomic_load_n(counter, __ATOMIC_SEQ_CST);

	while (value > 0 && !__atomic_compare_exchange_n(counter, &value, value - 1, 0,
	    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		;
	return value > 0;
}

/* Shall this call, on this descriptor (or -1), fail?  If so, errno is set. */
static int
strikes(enum call call, int fd)
{
	if (plan == NULL || !in_worker)
		return 0;
	if (call != EPOLL_WAIT && call != IOCTL && call != MALLOC)
		__atomic_add_fetch(&plan->calls, 1, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&plan->call, __ATOMIC_SEQ_CST) != (uint32_t)call || !concerns(fd))
		return 0;
	if (take(&plan->skip) || !take(&plan->times))
		return 0;
	__atomic_add_fetch(&plan->hits, 1, __ATOMIC_SEQ_CST);
	errno = (int)plan->error;
	return 1;
}

/* Who was told that there is nothing to be had now waits for an event: let there be one. */
static void
announce(int fd)
{
	int (*control)(int, int, int, struct epoll_event *) =
	    (int (*)(int, int, int, struct epoll_event *))dlsym(RTLD_NEXT, "epoll_ctl");
	int saved = errno;

	if (is_known(fd) && known[fd].epoll > 0)
		control(known[fd].epoll, EPOLL_CTL_MOD, fd, &known[fd].event);
	errno = saved;
}

/* Reset a connection. */
static void
kill_connection(int fd)
{
	static const struct sockaddr nowhere = { .sa_family = AF_UNSPEC };
	int (*attach)(int, const struct sockaddr *, socklen_t) =
	    (int (*)(int, const struct sockaddr *, socklen_t))dlsym(RTLD_NEXT, "connect");
	int saved = errno;

	attach(fd, &nowhere, sizeof(nowhere));
	errno = saved;
}

/*
 * A transfer of `length` bytes.  Returns 0 if it is to fail; else how much of it
 * may be carried.
 */
static size_t
transfer(enum call call, int fd, size_t length)
{
	if (!strikes(call, fd))
		return length;
	if (plan->how == SHORT) {
		announce(fd);
		return length < 1 ? length : 1;
	}
	if (plan->how == FAIL_DEAD)
		kill_connection(fd);
	if (errno == EAGAIN)
		announce(fd);
	return 0;
}

#define TRANSFER(call, fd, length)                                                          \
	do {                                                                                \
		if ((length) > 0 && ((length) = transfer(call, fd, length)) == 0)           \
			return -1;                                                          \
	} while (0)

EXPORT ssize_t
recv(int fd, void *buffer, size_t length, int flags)
{
	REAL(recv);
	TRANSFER(RECV, fd, length);
	return real(fd, buffer, length, flags);
}

EXPORT ssize_t
recvfrom(int fd, void *buffer, size_t length, int flags, struct sockaddr *address, socklen_t *size)
{
	REAL(recvfrom);
	TRANSFER(RECV, fd, length);
	return real(fd, buffer, length, flags, address, size);
}

EXPORT ssize_t
recvmsg(int fd, struct msghdr *message, int flags)
{
	struct iovec *vector = message->msg_iov;
	size_t length = vector->iov_len;
	ssize_t got;

	REAL(recvmsg);
	TRANSFER(RECV, fd, vector->iov_len);
	got = real(fd, message, flags);
	vector->iov_len = length;
	return got;
}

EXPORT ssize_t
read(int fd, void *buffer, size_t length)
{
	REAL(read);
	TRANSFER(RECV, fd, length);
	return real(fd, buffer, length);
}

EXPORT ssize_t
send(int fd, const void *buffer, size_t length, int flags)
{
	REAL(send);
	TRANSFER(SEND, fd, length);
	return real(fd, buffer, length, flags);
}

EXPORT ssize_t
sendto(int fd, const void *buffer, size_t length, int flags, const struct sockaddr *address,
    socklen_t size)
{
	REAL(sendto);
	TRANSFER(SEND, fd, length);
	return real(fd, buffer, length, flags, address, size);
}

EXPORT ssize_t
write(int fd, const void *buffer, size_t length)
{
	REAL(write);
	TRANSFER(SEND, fd, length);
	return real(fd, buffer, length);
}

EXPORT int
close(int fd)
{
	int failed = strikes(CLOSE, fd), error = errno, result;

	REAL(close);
	if (is_known(fd))
		memset(&known[fd], 0, sizeof(known[fd]));
	result = real(fd);
	if (!failed)
		return result;
	errno = error;
	return -1;
}

/* An accepted connection, as `where` says it is; or it fails. */
static int
accepted(int listener, int fd)
{
	static const struct linger reset = { .l_onoff = 1, .l_linger = 0 };
	int (*set)(int, int, int, const void *, socklen_t) =
	    (int (*)(int, int, int, const void *, socklen_t))dlsym(RTLD_NEXT, "setsockopt");
	int error;

	if (fd < 0 || plan == NULL || plan->how != FAIL_AFTER || !strikes(ACCEPT, listener))
		return remember(fd, ACCEPTED);
	error = errno;
	set(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	((int (*)(int))dlsym(RTLD_NEXT, "close"))(fd);
	errno = error;
	return -1;
}

/* accept() is to fail before it has a connection. */
static int
accept_strikes(int listener)
{
	return plan != NULL && plan->how != FAIL_AFTER && strikes(ACCEPT, listener);
}

EXPORT int
accept4(int fd, struct sockaddr *address, socklen_t *size, int flags)
{
	REAL(accept4);
	return accept_strikes(fd) ? -1 : accepted(fd, real(fd, address, size, flags));
}

EXPORT int
accept(int fd, struct sockaddr *address, socklen_t *size)
{
	REAL(accept);
	return accept_strikes(fd) ? -1 : accepted(fd, real(fd, address, size));
}

EXPORT int
socket(int domain, int type, int protocol)
{
	REAL(socket);
	return strikes(SOCKET, -1) ? -1 : remember(real(domain, type, protocol), CONNECTED);
}

EXPORT int
socketpair(int domain, int type, int protocol, int fds[2])
{
	REAL(socketpair);
	return strikes(SOCKETPAIR, -1) ? -1 : real(domain, type, protocol, fds);
}

EXPORT int
connect(int fd, const struct sockaddr *address, socklen_t size)
{
	REAL(connect);
	if (strikes(CONNECT, fd)) {
		int error = errno;

		if (plan->how == FAIL_AFTER)
			real(fd, address, size);
		errno = error;
		return -1;
	}
	return real(fd, address, size);
}

EXPORT int
bind(int fd, const struct sockaddr *address, socklen_t size)
{
	REAL(bind);
	return strikes(BIND, fd) ? -1 : real(fd, address, size);
}

EXPORT int
getsockname(int fd, struct sockaddr *address, socklen_t *size)
{
	REAL(getsockname);
	return strikes(GETSOCKNAME, fd) ? -1 : real(fd, address, size);
}

EXPORT int
setsockopt(int fd, int level, int name, const void *value, socklen_t size)
{
	REAL(setsockopt);
	return strikes(SETSOCKOPT, fd) ? -1 : real(fd, level, name, value, size);
}

EXPORT int
getsockopt(int fd, int level, int name, void *value, socklen_t *size)
{
	REAL(getsockopt);
	if (level == SOL_SOCKET && name == SO_ERROR && strikes(GETSOCKOPT, fd)) {
		if (plan->how != PENDING)
			return -1;
		memcpy(value, &plan->error, sizeof(int));
		*size = sizeof(int);
		return 0;
	}
	return real(fd, level, name, value, size);
}

EXPORT int
shutdown(int fd, int how)
{
	REAL(shutdown);
	if (!strikes(SHUTDOWN, fd))
		return real(fd, how);
	if (plan->how == FAIL_DEAD)
		kill_connection(fd);
	return -1;
}

/* How much of what was sent has not been acknowledged. */
EXPORT int
ioctl(int fd, unsigned long request, ...)
{
	va_list arguments;
	void *argument;

	REAL(ioctl);
	va_start(arguments, request);
	argument = va_arg(arguments, void *);
	va_end(arguments);
	return request == SIOCOUTQ && strikes(IOCTL, fd) ? -1 : real(fd, request, argument);
}

/* The lock under which connections are counted. */
static int
lock_strikes(int fd, int command)
{
	return (command == F_SETLK || command == F_SETLKW) && strikes(FCNTL, fd);
}

EXPORT int
fcntl(int fd, int command, ...)
{
	va_list arguments;
	void *argument;

	REAL(fcntl);
	va_start(arguments, command);
	argument = va_arg(arguments, void *);
	va_end(arguments);
	return lock_strikes(fd, command) ? -1 : real(fd, command, argument);
}

EXPORT int
fcntl64(int fd, int command, ...)
{
	va_list arguments;
	void *argument;

	REAL(fcntl64);
	va_start(arguments, command);
	argument = va_arg(arguments, void *);
	va_end(arguments);
	return lock_strikes(fd, command) ? -1 : real(fd, command, argument);
}

EXPORT int
epoll_create1(int flags)
{
	REAL(epoll_create1);
	return strikes(EPOLL_CREATE, -1) ? -1 : real(flags);
}

/* Only what is new can be too much: changing and removing always succeed. */
EXPORT int
epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
	int result;

	REAL(epoll_ctl);
	if (operation == EPOLL_CTL_ADD && strikes(EPOLL_CTL, fd))
		return -1;
	result = real(epoll, operation, fd, event);
	if (result == 0 && is_known(fd)) {
		if (operation != EPOLL_CTL_DEL) {
			known[fd].epoll = epoll;
			known[fd].event = *event;
		} else if (known[fd].epoll == epoll) {
			known[fd].epoll = 0;
		}
	}
	return result;
}

EXPORT int
epoll_wait(int epoll, struct epoll_event *events, int room, int timeout)
{
	static int waited;

	REAL(epoll_wait);
	if (plan != NULL && in_worker && !waited) {
		waited = 1;
		__atomic_add_fetch(&plan->started, 1, __ATOMIC_SEQ_CST);
	}
	return strikes(EPOLL_WAIT, -1) ? -1 : real(epoll, events, room, timeout);
}

EXPORT ssize_t
getrandom(void *buffer, size_t length, unsigned flags)
{
	REAL(getrandom);
	return strikes(RANDOM, -1) ? -1 : real(buffer, length, flags);
}

EXPORT int
getentropy(void *buffer, size_t length)
{
	REAL(getentropy);
	return strikes(RANDOM, -1) ? -1 : real(buffer, length);
}

/* Who watches over descriptors has to be let in. */
EXPORT int
prctl(int option, ...)
{
	va_list arguments;
	unsigned long a, b, c, d;

	REAL(prctl);
	va_start(arguments, option);
	a = va_arg(arguments, unsigned long);
	b = va_arg(arguments, unsigned long);
	c = va_arg(arguments, unsigned long);
	d = va_arg(arguments, unsigned long);
	va_end(arguments);
	return option == PR_SET_DUMPABLE ? 0 : real(option, a, b, c, d);
}

/* Memory, of which only the extension runs out: of Python, MemoryError is another matter. */

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);

static uintptr_t extension_begin, extension_end;

static int
find_extension(struct dl_phdr_info *info, size_t size, void *unused)
{
	(void)size, (void)unused;
	if (strstr(info->dlpi_name, "/spiped/_native") == NULL)
		return 0;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *part = &info->dlpi_phdr[i];

		if (part->p_type == PT_LOAD && (part->p_flags & PF_X)) {
			extension_begin = info->dlpi_addr + part->p_vaddr;
			extension_end = extension_begin + part->p_memsz;
		}
	}
	return 1;
}

static int
memory_strikes(const void *caller)
{
	uintptr_t address = (uintptr_t)caller;

	if (plan == NULL || !in_worker || plan->call != MALLOC)
		return 0;
	if (extension_end == 0)
		dl_iterate_phdr(find_extension, NULL);
	return address >= extension_begin && address < extension_end && strikes(MALLOC, -1);
}

EXPORT void *
malloc(size_t size)
{
	return memory_strikes(__builtin_return_address(0)) ? NULL : __libc_malloc(size);
}

EXPORT void *
calloc(size_t count, size_t size)
{
	return memory_strikes(__builtin_return_address(0)) ? NULL : __libc_calloc(count, size);
}
