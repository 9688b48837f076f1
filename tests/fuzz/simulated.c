/*
 * The simulated system.  See simulated.h.
 */
#include <sanitizer/allocator_interface.h>
#include <sanitizer/asan_interface.h>
#include <stdarg.h>

#include <linux/sockios.h>

#undef calloc
#undef free
#undef malloc
#undef realloc

#define EPOLL_FD 900
#define IDLE_TURNS_MAX 12
#define FIRST_FD 1000			/* not the descriptors of the fuzzer */

static struct {
	struct simulated_socket sockets[SOCKETS_MAX];
	struct simulated_socket *ready[SOCKETS_MAX];	/* epoll's list, in the order of its events */
	struct simulated_socket *backlog[SOCKETS_MAX];
	size_t count, last, ready_count, backlog_count;
	size_t calls;			/* that move something */
	size_t idle_turns;		/* in which nothing has moved */
	size_t calls_before;
	int epoll_open;
	int fault[CALLS];
	uint64_t now_ms;
	uint64_t entropy;
	size_t allocated;
} the;

size_t simulated_polls;
size_t simulated_powers;
int simulated_held;
int tracing;

void
broken(const char *what, const char *condition, int line)
{
	fprintf(stderr, "broken promise: %s (%s, line %d)\n", what, condition, line);
	abort();
}

void
simulated_begin(void)
{
	promise(the.allocated == 0, "all memory is freed");
	promise(simulated_open() == 0, "all descriptors are closed");
	memset(&the, 0, sizeof(the));
	the.now_ms = 1000;
}

uint64_t
simulated_now_ms(void)
{
	return the.now_ms;
}

void
simulated_pass(uint64_t ms)
{
	the.now_ms += ms;
}

size_t
simulated_allocated(void)
{
	return the.allocated;
}

size_t
simulated_open(void)
{
	size_t count = (size_t)the.epoll_open;

	for (size_t i = 0; i < the.count; i++)
		count += (size_t)(the.sockets[i].open && !the.sockets[i].waiting);
	return count;
}

/* Faults. */

void
simulated_fail(enum simulated_call call, int error)
{
	the.fault[call] = error;
}

static void
move(void)
{
	the.calls++;
	on_call();
}

void
simulated_fail_no_more(void)
{
	memset(the.fault, 0, sizeof(the.fault));
}

/* Is this call to fail?  Then it sets errno. */
static int
fails(enum simulated_call call, struct simulated_socket *socket)
{
	int error = the.fault[call];

	if (error == 0)
		return 0;
	the.fault[call] = 0;
	if (error != EINTR)
		on_fault(call, socket);
	errno = error;
	return 1;
}

/* Memory.  The plane alone is large: its place is kept, because mapping it anew would take more
 * time than everything else. */

static uint8_t plane_memory[sizeof(struct plane)] __attribute__((aligned(16)));
static int plane_memory_used;

void *
simulated_malloc(size_t size)
{
	void *p;

	promise(size == sizeof(struct plane) || size == sizeof(struct connection) ||
	    size == sizeof(struct handshake) || (size > 0 && size <= BATCH_CRYPT),
	    "no more than a batch waits in one direction");
	if (fails(CALL_MALLOC, NULL))
		return NULL;
	if (size == sizeof(struct plane)) {
		promise(!plane_memory_used, "there is one plane");
		plane_memory_used = 1;
		ASAN_UNPOISON_MEMORY_REGION(plane_memory, sizeof(plane_memory));
		p = plane_memory;
	} else
		p = malloc(size);
	assert(p != NULL);
	the.allocated++;
	return p;
}

void *
simulated_calloc(size_t count, size_t size)
{
	void *p = simulated_malloc(count * size);

	return p == NULL ? NULL : memset(p, 0, count * size);
}

void
simulated_free(void *p)
{
	if (p == NULL)
		return;
	the.allocated--;
	if (p == plane_memory) {
		plane_memory_used = 0;
		ASAN_POISON_MEMORY_REGION(plane_memory, sizeof(plane_memory));
	} else {
		on_free(p, __sanitizer_get_allocated_size(p));
		free(p);
	}
}

void *
simulated_realloc(void *p, size_t size)
{
	if (fails(CALL_MALLOC, NULL))
		return NULL;
	the.allocated += p == NULL;
	p = realloc(p, size);
	assert(p != NULL);
	return p;
}

/* Secrets. */

void *
simulated_secret_alloc(size_t size)
{
	return simulated_calloc(1, size);
}

void
simulated_secret_free(void *p, size_t size)
{
	promise(p == NULL || __sanitizer_get_allocated_size(p) == size, "secrets are freed whole");
	simulated_free(p);
}

int
simulated_getentropy(void *buffer, size_t length)
{
	uint8_t *bytes = buffer;

	if (fails(CALL_GETENTROPY, NULL))
		return -1;
	while (length-- > 0) {		/* never the same twice */
		the.entropy = the.entropy * 6364136223846793005u + 1442695040888963407u;
		*bytes++ = (uint8_t)(the.entropy >> 56);
	}
	return 0;
}

void
simulated_group14_power_of_generator(const uint8_t x[32], uint8_t y[256])
{
	simulated_powers++;
	memset(y, 0, 256);
	for (size_t i = 0; i < 32; i++)
		y[i] = x[i];
}

void
simulated_group14_power(const uint8_t base[256], const uint8_t x[32], uint8_t y[256])
{
	int is_one = 1;

	simulated_powers++;
	for (size_t i = 0; i < 256; i++)
		is_one &= base[i] == (i == 255);
	memcpy(y, base, 256);
	for (size_t i = 0; i < 32 && !is_one; i++)
		y[i] ^= x[i];
}

/* Time. */

int
simulated_clock_gettime(clockid_t clock, struct timespec *now)
{
	promise(clock == CLOCK_MONOTONIC, "time does not jump");
	now->tv_sec = (time_t)(the.now_ms / 1000);
	now->tv_nsec = (long)(the.now_ms % 1000) * 1000000;
	return 0;
}

/* Sockets. */

/* The descriptor that has been closed for longest is the next to be used again. */
struct simulated_socket *
simulated_new(enum simulated_kind kind, int family)
{
	struct simulated_socket *socket;
	size_t place = the.count;

	if (the.count < SOCKETS_MAX)
		the.count++;
	else {
		place = the.last;
		do {
			place = (place + 1) % SOCKETS_MAX;
			assert(place != the.last);
		} while (the.sockets[place].open || the.sockets[place].kept);
	}
	the.last = place;
	socket = &the.sockets[place];
	*socket = (struct simulated_socket){
		.kind = kind, .fd = FIRST_FD + (int)place, .owner = -1, .family = family,
		.open = 1, .kept = 1, .mark = UINT64_MAX,
	};
	return socket;
}

void
simulated_forget(struct simulated_socket *socket)
{
	socket->kept = 0;
}

static struct simulated_socket *
at(int fd)
{
	promise(fd >= FIRST_FD && fd < FIRST_FD + (int)the.count &&
	    the.sockets[fd - FIRST_FD].open && !the.sockets[fd - FIRST_FD].waiting,
	    "only open descriptors are used");
	return &the.sockets[fd - FIRST_FD];
}

/* The same, of a socket on which there is somebody. */
static struct simulated_socket *
connected_at(int fd)
{
	struct simulated_socket *socket = at(fd);

	promise(socket->kind == STREAM && !socket->unconnected && !socket->connecting,
	    "nothing is said to who has not answered");
	return socket;
}

/* Something has happened that those are told of who wait for any of `events`, or for anything. */
static void
wake(struct simulated_socket *socket, uint32_t events)
{
	if (!socket->watched || socket->queued || !((socket->interest.events | EPOLLERR) & events))
		return;
	socket->queued = 1;
	the.ready[the.ready_count++] = socket;
}

static uint64_t
waiting(const struct simulated_socket *socket)
{
	return socket->sent - socket->taken;
}

static int
is_writable(const struct simulated_socket *socket)
{
	if (socket->family == AF_UNIX)
		return 4 * waiting(socket) <= socket->capacity;
	return 3 * waiting(socket) <= 2 * socket->capacity;
}

static uint32_t
state(struct simulated_socket *socket)
{
	int no_reading = socket->finished || socket->deaf || socket->reset;
	int no_writing = socket->shut || socket->reset ||
	    (socket->deaf && socket->family == AF_UNIX);
	uint32_t events = 0;

	if (socket->kind != STREAM)
		return socket->arrived > 0 ? EPOLLIN : 0;
	if (socket->connecting)
		return 0;
	if (no_reading && no_writing)
		events |= EPOLLHUP;
	if (no_reading)
		events |= EPOLLIN | EPOLLRDHUP;
	if (socket->arrived > socket->read)
		events |= EPOLLIN;
	if (is_writable(socket) || (no_writing && socket->family != AF_UNIX))
		events |= EPOLLOUT;
	else
		socket->wants_space = 1;
	if (socket->urgent)
		events |= EPOLLPRI;
	if (socket->error != 0)
		events |= EPOLLERR;
	return events;
}

static int
take_error(struct simulated_socket *socket)
{
	int error = socket->error;

	socket->error = 0;
	return error;
}

/* The peer can do something on it. */
static int
is_reachable(const struct simulated_socket *socket)
{
	return socket->open && !socket->connecting && !socket->unconnected && !socket->deaf &&
	    !socket->reset;
}

uint64_t
simulated_window(const struct simulated_socket *socket)
{
	if (!is_reachable(socket) || socket->finished)
		return 0;
	return socket->window - (socket->arrived - socket->read);
}

void
simulated_arrive(struct simulated_socket *socket, uint64_t length)
{
	assert(length <= simulated_window(socket));
	if (length == 0)
		return;
	socket->arrived += length;
	wake(socket, EPOLLIN);
}

void
simulated_mark(struct simulated_socket *socket)
{
	if (simulated_window(socket) == 0)
		return;
	socket->mark = socket->arrived;
	if (socket->family == AF_UNIX)
		return;			/* known by the data that it comes with */
	socket->urgent = 1;
	wake(socket, EPOLLPRI);
}

void
simulated_finish(struct simulated_socket *socket)
{
	if (!is_reachable(socket) || socket->finished)
		return;
	socket->finished = 1;
	wake(socket, UINT32_MAX);
}

void
simulated_hang_up(struct simulated_socket *socket)
{
	if (!is_reachable(socket))
		return;
	if (socket->family != AF_UNIX && waiting(socket) > 0) {
		simulated_reset(socket, ECONNRESET);
		return;
	}
	socket->finished = socket->deaf = 1;
	if (waiting(socket) > 0)
		socket->error = ECONNRESET;
	if (socket->family == AF_UNIX)
		on_failure(socket);	/* of the next send */
	wake(socket, UINT32_MAX);
}

void
simulated_reset(struct simulated_socket *socket, int error)
{
	if (!socket->open || socket->connecting || socket->unconnected || socket->reset)
		return;
	if (socket->family == AF_UNIX) {
		simulated_hang_up(socket);
		return;
	}
	socket->error = socket->finished ? EPIPE : error;
	socket->reset = 1;
	on_failure(socket);
	wake(socket, UINT32_MAX);
}

uint64_t
simulated_take(struct simulated_socket *socket, uint64_t length)
{
	if (!is_reachable(socket))
		return 0;
	if (length > waiting(socket))
		length = waiting(socket);
	socket->taken += length;
	if (length > 0 && is_writable(socket) &&
	    (socket->family == AF_UNIX || socket->wants_space)) {
		socket->wants_space = 0;
		wake(socket, EPOLLOUT);
	}
	return length;
}

void
simulated_signal(struct simulated_socket *socket, int readable)
{
	socket->arrived = (uint64_t)readable;
	if (readable)
		wake(socket, EPOLLIN);
}

ssize_t
simulated_recv(int fd, void *buffer, size_t room, int flags)
{
	struct simulated_socket *socket = connected_at(fd);
	uint64_t length;

	(void)flags;
	promise(room > 0, "no call is in vain");
	move();
	if (fails(CALL_RECV, socket))
		return -1;
	length = socket->arrived - socket->read;
	if (length > 0) {
		if (length > room)
			length = room;
		if (socket->mark > socket->read && length > socket->mark - socket->read)
			length = socket->mark - socket->read;
		on_recv(socket, buffer, (size_t)length);
		socket->read += length;
		if (socket->read > socket->mark)
			socket->urgent = 0;
		return (ssize_t)length;
	}
	if (socket->finished && socket->family != AF_UNIX)
		return 0;		/* that comes before any error */
	errno = take_error(socket);
	trace("    recv %d.%d: error %d\n", socket->owner, socket->side, errno);
	if (errno != 0)
		return -1;
	if (socket->finished || socket->deaf || socket->reset)
		return 0;
	errno = EAGAIN;
	return -1;
}

/* What a UNIX socket's mark stands for is descriptors, which end the read that gets there. */
ssize_t
simulated_recvmsg(int fd, struct msghdr *message, int flags)
{
	const struct simulated_socket *socket = connected_at(fd);
	uint64_t before = socket->read;
	ssize_t got = simulated_recv(fd, message->msg_iov->iov_base, message->msg_iov->iov_len, flags);

	promise(socket->family == AF_UNIX && message->msg_iovlen == 1, "only of a UNIX socket");
	message->msg_flags = got > 0 && before < socket->mark && socket->read == socket->mark ?
	    MSG_CTRUNC : 0;
	return got;
}

ssize_t
simulated_send(int fd, const void *data, size_t length, int flags)
{
	struct simulated_socket *socket = connected_at(fd);
	uint64_t room;

	promise(flags & MSG_NOSIGNAL, "no signal is raised");
	promise(length > 0, "no call is in vain");
	move();
	if (fails(CALL_SEND, socket))
		return -1;
	promise(!socket->shut, "nothing is sent behind the end");
	if (socket->reset || socket->error != 0 || (socket->deaf && socket->family == AF_UNIX)) {
		errno = socket->family == AF_UNIX ? 0 : take_error(socket);
		if (errno == 0)
			errno = EPIPE;
		return -1;
	}
	room = socket->capacity - waiting(socket);
	if (room < length)
		socket->wants_space = 1;
	if (room == 0) {
		trace("    send %d.%d: no room\n", socket->owner, socket->side);
		errno = EAGAIN;
		return -1;
	}
	if (length > room)
		length = (size_t)room;
	on_send(socket, data, length);
	socket->sent += length;
	if (socket->deaf)		/* whom that reaches says so */
		simulated_reset(socket, ECONNRESET);
	return (ssize_t)length;
}

int
simulated_shutdown(int fd, int how)
{
	struct simulated_socket *socket = connected_at(fd);

	promise(how == SHUT_WR, "only our own direction is ended");
	move();
	if (fails(CALL_SHUTDOWN, socket))
		return -1;
	promise(!socket->shut, "an end is passed on once");
	if (!socket->reset)
		on_shutdown(socket);
	socket->shut = 1;
	wake(socket, UINT32_MAX);
	if (socket->reset && socket->family != AF_UNIX) {
		errno = ENOTCONN;
		return -1;
	}
	return 0;
}

int
simulated_getsockopt(int fd, int level, int option, void *value, socklen_t *size)
{
	struct simulated_socket *socket = at(fd);

	assert(level == SOL_SOCKET && *size == sizeof(int));
	assert(option == SO_ERROR || option == SO_DOMAIN);
	on_call();
	*(int *)value = option == SO_ERROR ? take_error(socket) : socket->family;
	if (option == SO_ERROR && *(int *)value != 0)
		on_refused(*(int *)value);
	trace("    getsockopt %d.%d: %d\n", socket->owner, socket->side, *(int *)value);
	return 0;
}

int
simulated_setsockopt(int fd, int level, int option, const void *value, socklen_t size)
{
	const struct linger *linger = value;
	struct simulated_socket *socket = at(fd);

	if (level == SOL_SOCKET && option == SO_LINGER) {
		assert(size == sizeof(*linger));
		socket->lingering = !linger->l_onoff;
		return 0;
	}
	assert(size == sizeof(int) && *(const int *)value == 1);
	if (level == SOL_SOCKET && option == SO_REUSEADDR)
		socket->reusable = 1;
	else if (level == IPPROTO_IP) {
		assert(option == IP_BIND_ADDRESS_NO_PORT && socket->family != AF_UNIX);
		socket->portless = 1;
	} else if (level == IPPROTO_TCP)
		assert(option == TCP_NODELAY && socket->family != AF_UNIX);
	else
		assert(option == SO_KEEPALIVE);
	return 0;
}

int
simulated_ioctl(int fd, unsigned long request, ...)
{
	va_list arguments;

	assert(request == SIOCOUTQ);
	on_call();
	va_start(arguments, request);
	*va_arg(arguments, int *) = (int)waiting(at(fd));
	va_end(arguments);
	return 0;
}

/* Coming together. */

void
simulated_come(struct simulated_socket *listener, struct simulated_socket *client)
{
	client->waiting = 1;
	the.backlog[the.backlog_count++] = client;
	simulated_signal(listener, (int)the.backlog_count);
}

void
simulated_go(struct simulated_socket *listener, struct simulated_socket *client)
{
	size_t kept = 0;

	for (size_t i = 0; i < the.backlog_count; i++) {
		if (the.backlog[i] != client)
			the.backlog[kept++] = the.backlog[i];
	}
	assert(client->waiting && kept + 1 == the.backlog_count);
	listener->arrived = the.backlog_count = kept;
	client->waiting = 0;
	client->open = 0;
}

int
simulated_accept4(int fd, struct sockaddr *address, socklen_t *length, int flags)
{
	struct simulated_socket *listener = at(fd), *socket;
	struct sockaddr_storage peer;
	socklen_t peer_length;

	assert(listener->kind == LISTENER);
	assert(address == NULL || *length == sizeof(peer));
	promise(flags == (SOCK_NONBLOCK | SOCK_CLOEXEC), "nothing blocks or is inherited");
	move();
	if (fails(CALL_ACCEPT, NULL))
		return -1;
	if (the.backlog_count == 0) {
		errno = EAGAIN;
		return -1;
	}
	socket = the.backlog[0];
	simulated_go(listener, socket);
	socket->open = 1;
	peer_length = on_accept(socket, &peer);
	if (address != NULL) {
		memcpy(address, &peer, peer_length);
		*length = peer_length;
	}
	return socket->fd;
}

int
simulated_socket(int family, int type, int protocol)
{
	struct simulated_socket *socket;

	promise(type == (SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC) && protocol == 0,
	    "nothing blocks or is inherited");
	move();
	if (fails(CALL_SOCKET, NULL)) {
		on_refused(errno);
		return -1;
	}
	socket = simulated_new(STREAM, family);
	socket->unconnected = socket->lingering = 1;
	on_socket(socket);
	return socket->fd;
}

int
simulated_bind(int fd, const struct sockaddr *address, socklen_t length)
{
	struct simulated_socket *socket = at(fd);
	struct sockaddr_in in;		/* sockaddr_in6 has its port at the same place */

	promise(socket->unconnected && address->sa_family == socket->family, "bind has a sense");
	if (socket->family != AF_UNIX) {
		assert(length >= sizeof(in));
		memcpy(&in, address, sizeof(in));
		promise(in.sin_port == 0 ? socket->portless : socket->reusable,
		    "an address can be used again");
	}
	if (fails(CALL_BIND, NULL)) {
		on_refused(errno);
		return -1;
	}
	return 0;
}

int
simulated_connect(int fd, const struct sockaddr *address, socklen_t length)
{
	struct simulated_socket *socket = at(fd);
	int error;

	promise(socket->unconnected && address->sa_family == socket->family, "connect has a sense");
	promise(!socket->lingering, "closing what is connected resets it");
	error = on_connect(socket, address, length);
	if (fails(CALL_CONNECT, NULL))
		error = errno;
	if (error == 0 || error == EINPROGRESS) {
		socket->unconnected = 0;
		socket->connecting = error != 0;
	} else
		on_refused(error);
	errno = error;
	move();
	return error == 0 ? 0 : (errno = error, -1);
}

void
simulated_answer(struct simulated_socket *socket, int error)
{
	if (!socket->open || !socket->connecting)
		return;
	socket->connecting = 0;
	if (error != 0)
		simulated_reset(socket, error);
	else
		wake(socket, UINT32_MAX);
}

/* An eventfd. */

ssize_t
simulated_read(int fd, void *buffer, size_t room)
{
	struct simulated_socket *socket = at(fd);

	assert(socket->kind == COUNTER && room == sizeof(uint64_t));
	move();
	if (socket->arrived == 0) {
		errno = EAGAIN;
		return -1;
	}
	*(uint64_t *)buffer = socket->arrived;
	socket->arrived = 0;
	return sizeof(uint64_t);
}

ssize_t
simulated_write(int fd, const void *data, size_t length)
{
	struct simulated_socket *socket = at(fd);

	assert(socket->kind == COUNTER && length == sizeof(uint64_t) && *(const uint64_t *)data == 1);
	move();
	if (fails(CALL_WRITE, NULL))
		return -1;
	simulated_signal(socket, (int)socket->arrived + 1);
	return sizeof(uint64_t);
}

static void
unwatch(struct simulated_socket *socket)
{
	size_t kept = 0;

	socket->watched = socket->queued = 0;
	for (size_t i = 0; i < the.ready_count; i++) {
		if (the.ready[i] != socket)
			the.ready[kept++] = the.ready[i];
	}
	the.ready_count = kept;
}

int
simulated_close(int fd)
{
	struct simulated_socket *socket;

	if (fd == EPOLL_FD) {
		promise(the.epoll_open, "a descriptor is closed once");
		the.epoll_open = 0;
		return 0;
	}
	socket = at(fd);
	the.calls++;
	on_close(socket);
	unwatch(socket);
	socket->open = 0;
	return 0;
}

/* epoll. */

int
simulated_epoll_create1(int flags)
{
	promise(flags & EPOLL_CLOEXEC, "no descriptor is inherited");
	assert(!the.epoll_open);
	the.epoll_open = 1;
	return EPOLL_FD;
}

int
simulated_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
	struct simulated_socket *socket = at(fd);

	assert(epoll == EPOLL_FD && the.epoll_open);
	if (operation == EPOLL_CTL_DEL) {
		int was_watched = socket->watched;

		unwatch(socket);
		on_unwatch(socket);
		errno = ENOENT;
		return was_watched ? 0 : -1;
	}
	if (socket->kind != SIGNAL_ONLY && fails(CALL_EPOLL_CTL, NULL)) {
		on_refused(errno);
		return -1;
	}
	assert(operation == EPOLL_CTL_ADD);
	promise(!socket->watched, "a descriptor is watched once");
	promise(socket->kind == STREAM || !(event->events & EPOLLET), "who waits is not forgotten");
	promise(socket->kind == STREAM || socket->kind == SIGNAL_ONLY || event->events & EPOLLEXCLUSIVE,
	    "of all that wait, one is woken");
	socket->watched = 1;
	socket->interest = *event;
	on_watch(socket, event);
	if (state(socket) & (event->events | EPOLLERR | EPOLLHUP))
		wake(socket, UINT32_MAX);
	return 0;
}

/* Report at most `room` of those that are ready; who is watched for edges is reported once. */
static int
collect(struct epoll_event *events, int room)
{
	struct simulated_socket *again[SOCKETS_MAX];
	size_t taken = 0, kept = 0;
	int count = 0;

	while (taken < the.ready_count && count < room) {
		struct simulated_socket *socket = the.ready[taken++];
		uint32_t mask = state(socket) & (socket->interest.events | EPOLLERR | EPOLLHUP);

		socket->queued = 0;
		if (mask == 0)
			continue;
		trace("    event %d.%d: %x\n", socket->owner, socket->side, mask);
		events[count].events = mask;
		events[count++].data = socket->interest.data;
		if (!(socket->interest.events & EPOLLET))
			again[kept++] = socket;
	}
	the.ready_count -= taken;
	memmove(the.ready, the.ready + taken, the.ready_count * sizeof(the.ready[0]));
	for (size_t i = 0; i < kept; i++)
		wake(again[i], UINT32_MAX);
	return count;
}

int
simulated_epoll_wait(int epoll, struct epoll_event *events, int room, int wait_ms)
{
	int count;

	assert(epoll == EPOLL_FD && the.epoll_open && room > 0);
	promise(simulated_polls++ < 10000, "it comes to rest");
	on_call();
	if (fails(CALL_EPOLL_WAIT, NULL))
		return -1;
	while ((count = collect(events, room)) == 0 && wait_ms != 0 && on_idle(wait_ms))
		;
	/* what one turn has left to do without a call, the next one does */
	if (count > 0 || wait_ms != 0 || the.calls != the.calls_before || simulated_polls == 1)
		the.idle_turns = 0;
	promise(the.idle_turns++ < IDLE_TURNS_MAX, "it waits when there is nothing to do");
	the.calls_before = the.calls;
	if (count > 0 || wait_ms == 0)
		return count;
	trace("    wait: %d\n", wait_ms);
	if (wait_ms > 0 && !simulated_held) {
		the.now_ms += (uint64_t)wait_ms;
		return 0;
	}
	errno = EINTR;			/* or it would wait forever */
	return -1;
}
