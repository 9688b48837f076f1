/*
 * Landlock by its system calls.  <linux/landlock.h> may be absent, or older than the kernel; and what a
 * newer version handles that we do not know, we may need: UNIX sockets, for example.
 */
#include "landlock.h"

#include <errno.h>

#ifdef __linux__

#include <sys/syscall.h>
#include <unistd.h>

#include "needs.h"

#define LANDLOCK_CREATE_RULESET 444	/* the same on all architectures */
#define LANDLOCK_ADD_RULE 445
#define LANDLOCK_RESTRICT_SELF 446

#define VERSION_FLAG 1
#define RULE_NET_PORT 2

#define FS_MAKE_SOCK (1ULL << 9)
#define NET_BIND_TCP 1
#define NET_CONNECT_TCP 2
#define SCOPE_ABSTRACT_UNIX_SOCKET 1
#define SCOPE_SIGNAL 2

struct ruleset {
	uint64_t fs;
	uint64_t net;
	uint64_t scoped;
};

struct port_rule {
	uint64_t access;
	uint64_t port;
};

/* The last access to files that a version has brought, by its bit. */
static const struct {
	int abi;
	int bit;
} fs_rights[] = {
	{ 1, 12 },			/* 0: execute, ... 12: make symbolic links */
	{ 2, 13 },			/* link and rename between directories */
	{ 3, 14 },			/* truncate */
	{ 5, 15 },			/* ioctl() on devices */
};

int
sandbox_landlock_abi(void)
{
	long abi = syscall(LANDLOCK_CREATE_RULESET, NULL, (size_t)0, VERSION_FLAG);

	return abi > 0 ? (int)abi : -(abi < 0 ? errno : ENOSYS);
}

static struct ruleset
make_ruleset(int abi, unsigned needs)
{
	struct ruleset ruleset = { 0, 0, 0 };

	for (size_t i = 0; i < sizeof(fs_rights) / sizeof(fs_rights[0]); i++) {
		if (abi >= fs_rights[i].abi)
			ruleset.fs = (2ULL << fs_rights[i].bit) - 1;
	}
	if ((needs & SANDBOX_UNIX) && (needs & SANDBOX_BIND))
		ruleset.fs &= ~FS_MAKE_SOCK;
	if (abi >= 4)
		ruleset.net = NET_BIND_TCP | NET_CONNECT_TCP;
	if (abi >= 6)
		ruleset.scoped = SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL;
	return ruleset;
}

static int
allow_port(int fd, uint64_t access, uint64_t port)
{
	struct port_rule rule = { .access = access, .port = port };

	return syscall(LANDLOCK_ADD_RULE, fd, RULE_NET_PORT, &rule, 0) == 0 ? 0 : errno;
}

int
sandbox_landlock(int abi, unsigned needs, const uint16_t *ports, size_t count, int bind)
{
	struct ruleset ruleset = make_ruleset(abi, needs);
	int fd = (int)syscall(LANDLOCK_CREATE_RULESET, &ruleset, sizeof(ruleset), 0);
	int error = fd < 0 ? errno : 0;

	if (fd < 0)
		return error;
	if (ruleset.net != 0) {
		for (size_t i = 0; i < count && error == 0; i++)
			error = allow_port(fd, NET_CONNECT_TCP, ports[i]);
		if (bind >= 0 && error == 0)
			error = allow_port(fd, NET_BIND_TCP, (uint64_t)bind);
	}
	if (error == 0 && syscall(LANDLOCK_RESTRICT_SELF, fd, 0) != 0)
		error = errno;
	close(fd);
	return error;
}

#else

int
sandbox_landlock_abi(void)
{
	return -ENOSYS;
}

int
sandbox_landlock(int abi, unsigned needs, const uint16_t *ports, size_t count, int bind)
{
	(void)abi, (void)needs, (void)ports, (void)count, (void)bind;
	return ENOSYS;
}

#endif
