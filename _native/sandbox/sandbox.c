#include "sandbox.h"

#include <errno.h>

#ifdef __linux__

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

int
sandbox_forbid_new_privileges(void)
{
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 ? 0 : errno;
}

/*
 * Landlock.  <linux/landlock.h> may be absent, or older than the kernel; and what a newer version
 * handles that we do not know, we may need: UNIX sockets, for example.
 */

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

/* The filter. */

#ifdef __x86_64__
#define ARCHITECTURE 0xc000003e		/* AUDIT_ARCH_X86_64 */
#elif defined(__aarch64__) && defined(__AARCH64EL__)
#define ARCHITECTURE 0xc00000b7		/* AUDIT_ARCH_AARCH64 */
#endif

#ifdef ARCHITECTURE

#define X32_BIT 0x40000000
#define CLONE3 435			/* the same on all architectures */
#define NEWEST_CALL 463			/* the last that was looked at for these lists */

#define FILTER_SPEC_ALLOW 4		/* SECCOMP_FILTER_FLAG_SPEC_ALLOW */
#define KILL_PROCESS 0x80000000		/* to old kernels, any unknown action means to kill */

#define PROGRAM_MAX 1024

struct program {
	struct sock_filter code[PROGRAM_MAX];
	unsigned short length;
};

/* What any process of ours may call, with any arguments; the most frequent first, because older
 * kernels go through all of them. */
static const int allowed[] = {
	SYS_recvfrom,
#ifdef SYS_epoll_wait
	SYS_epoll_wait,
#endif
	SYS_epoll_pwait,
	SYS_clock_gettime, SYS_read, SYS_write, SYS_epoll_ctl, SYS_getsockopt, SYS_accept4,
	SYS_close, SYS_shutdown,

	/* sockets and descriptors */
	SYS_accept, SYS_connect, SYS_getpeername, SYS_getsockname,
	SYS_readv, SYS_writev, SYS_dup, SYS_dup3, SYS_fstat,
	SYS_epoll_create1, SYS_ppoll, SYS_pselect6,
#ifdef SYS_epoll_pwait2
	SYS_epoll_pwait2,
#endif
#ifdef SYS_dup2
	SYS_dup2, SYS_poll, SYS_select,
#endif

	/* memory, but for mmap() and mprotect() */
	SYS_brk, SYS_madvise, SYS_mlock, SYS_munlock, SYS_mremap, SYS_munmap,
#ifdef SYS_mlock2
	SYS_mlock2,
#endif

	/* time and randomness */
	SYS_clock_getres, SYS_clock_nanosleep, SYS_getrandom, SYS_gettimeofday, SYS_nanosleep,
#ifdef SYS_time
	SYS_time,
#endif

	/* oneself */
	SYS_exit, SYS_exit_group, SYS_futex, SYS_getegid, SYS_geteuid, SYS_getgid, SYS_getpid,
	SYS_getppid, SYS_gettid, SYS_getuid, SYS_restart_syscall, SYS_rt_sigaction,
	SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_sched_getaffinity, SYS_sched_yield,
	SYS_set_robust_list, SYS_sigaltstack,
#ifdef SYS_rseq
	SYS_rseq,
#endif
};

/* What neither we nor the libraries that we use ever call. */
static const int attacks[] = {
	/* other programs and processes (clone: see below) */
	SYS_execve, SYS_execveat, SYS_kill, SYS_process_vm_readv, SYS_process_vm_writev, SYS_ptrace,
	SYS_rt_sigqueueinfo, SYS_rt_tgsigqueueinfo, SYS_setns, SYS_unshare,
#ifdef SYS_fork
	SYS_fork, SYS_vfork,
#endif
#ifdef SYS_pidfd_getfd
	SYS_pidfd_getfd,
#endif
#ifdef SYS_pidfd_send_signal
	SYS_pidfd_send_signal,
#endif

	/* another identity */
	SYS_capset, SYS_setfsgid, SYS_setfsuid, SYS_setgid, SYS_setgroups, SYS_setregid,
	SYS_setresgid, SYS_setresuid, SYS_setreuid, SYS_setuid,

	/* the system */
	SYS_chroot, SYS_delete_module, SYS_finit_module, SYS_init_module, SYS_kexec_load, SYS_mount,
	SYS_open_by_handle_at, SYS_pivot_root, SYS_reboot, SYS_umount2,
#ifdef SYS_iopl
	SYS_ioperm, SYS_iopl, SYS_modify_ldt,
#endif
#ifdef SYS_kexec_file_load
	SYS_kexec_file_load,
#endif

	/* the wider parts of the kernel */
	SYS_add_key, SYS_bpf, SYS_keyctl, SYS_perf_event_open, SYS_personality, SYS_request_key,
	SYS_userfaultfd,
#ifdef SYS_io_uring_setup
	SYS_io_uring_enter, SYS_io_uring_register, SYS_io_uring_setup,
#endif

	/* sockets of another kind */
	SYS_listen,
};

static void
emit(struct program *program, unsigned short code, uint32_t k, uint8_t yes, uint8_t no)
{
	/* room for what is too much: sandbox_filter() refuses that, once */
	if (program->length < PROGRAM_MAX)
		program->code[program->length++] = (struct sock_filter){ code, yes, no, k };
}

static void
give(struct program *program, uint32_t verdict)
{
	emit(program, BPF_RET | BPF_K, verdict, 0, 0);
}

/* Load half an argument: 0 is the lower half of the first, 1 its upper half. */
static void
load(struct program *program, unsigned half)
{
	emit(program, BPF_LD | BPF_W | BPF_ABS,
	    (uint32_t)offsetof(struct seccomp_data, args) + half * 4, 0, 0);
}

/* Skip the next `count` instructions unless what was loaded is k. */
static void
unless_skip(struct program *program, uint32_t k, uint8_t count)
{
	emit(program, BPF_JMP | BPF_JEQ | BPF_K, k, 0, count);
}

static void
mask(struct program *program, uint32_t bits)
{
	emit(program, BPF_ALU | BPF_AND | BPF_K, bits, 0, 0);
}

/* The verdict on a system call, whatever its arguments. */
static void
judge(struct program *program, int call, uint32_t verdict)
{
	unless_skip(program, (uint32_t)call, 1);
	give(program, verdict);
}

/* Begin a rule that looks at the arguments of a call.  Returns what rule_end() wants. */
static unsigned short
rule_begin(struct program *program, int call)
{
	unless_skip(program, (uint32_t)call, 0);
	return program->length;
}

/* End it: what it has not decided gets this verdict. */
static void
rule_end(struct program *program, unsigned short begin, uint32_t verdict)
{
	give(program, verdict);
	if (program->length - begin <= UINT8_MAX)
		program->code[begin - 1].jf = (uint8_t)(program->length - begin);
	else
		program->length = PROGRAM_MAX;
}

/* Allow a call if its argument is one of these (as an int: what is above that, the kernel ignores). */
static void
allow_values(struct program *program, int call, unsigned argument, const uint32_t *values,
    size_t count, uint32_t otherwise)
{
	unsigned short begin = rule_begin(program, call);

	load(program, argument * 2);
	for (size_t i = 0; i < count; i++)
		judge(program, (int)values[i], SECCOMP_RET_ALLOW);
	rule_end(program, begin, otherwise);
}

/* Allow a call if these bits of an argument's lower half have this value. */
static void
allow_bits(struct program *program, int call, unsigned argument, uint32_t bits, uint32_t value,
    uint32_t otherwise)
{
	unsigned short begin = rule_begin(program, call);

	load(program, argument * 2);
	mask(program, bits);
	judge(program, (int)value, SECCOMP_RET_ALLOW);
	rule_end(program, begin, otherwise);
}

/* Allow a call if an argument is a null pointer. */
static void
allow_null(struct program *program, int call, unsigned argument, uint32_t otherwise)
{
	unsigned short begin = rule_begin(program, call);

	load(program, argument * 2);
	unless_skip(program, 0, 3);
	load(program, argument * 2 + 1);
	judge(program, 0, SECCOMP_RET_ALLOW);
	rule_end(program, begin, otherwise);
}

/* Inside the rule of socket(): allow this family and type, of which the flags are ignored. */
static void
allow_socket(struct program *program, uint32_t family, uint32_t type)
{
	load(program, 0);
	unless_skip(program, family, 6);
	load(program, 2);
	mask(program, (uint32_t)~(SOCK_CLOEXEC | SOCK_NONBLOCK));
	unless_skip(program, type, 3);
	load(program, 4);
	judge(program, 0, SECCOMP_RET_ALLOW);
}

static void
filter_sockets(struct program *program, unsigned needs, uint32_t deny)
{
	unsigned short begin = rule_begin(program, SYS_socket);

	if (needs & SANDBOX_TCP) {
		allow_socket(program, AF_INET, SOCK_STREAM);
		allow_socket(program, AF_INET6, SOCK_STREAM);
	}
	if (needs & SANDBOX_UNIX)
		allow_socket(program, AF_UNIX, SOCK_STREAM);
	if (needs & SANDBOX_SYSLOG)
		allow_socket(program, AF_UNIX, SOCK_DGRAM);
	rule_end(program, begin, deny);
	judge(program, SYS_bind, needs & SANDBOX_BIND ? SECCOMP_RET_ALLOW : KILL_PROCESS);
}

/* Nobody checks the status of setsockopt(): an option that is missing here must not go unnoticed. */
static void
filter_socket_options(struct program *program)
{
	static const uint32_t options[][2] = {
		{ SOL_SOCKET, SO_KEEPALIVE },
		{ SOL_SOCKET, SO_LINGER },
		{ SOL_SOCKET, SO_REUSEADDR },
		{ IPPROTO_TCP, TCP_NODELAY },
	};
	unsigned short begin = rule_begin(program, SYS_setsockopt);

	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		load(program, 2);
		unless_skip(program, options[i][0], 3);
		load(program, 4);
		judge(program, (int)options[i][1], SECCOMP_RET_ALLOW);
	}
	rule_end(program, begin, KILL_PROCESS);
}

/* Threads: clone() says in a register what is to be shared, clone3() in memory, and every library
 * can do without that one. */
static void
filter_clone(struct program *program, unsigned needs)
{
	const uint32_t thread = 0x00010000;	/* CLONE_THREAD */
	const uint32_t spaces = 0x7e020080;	/* CLONE_NEW* */

	if (needs & SANDBOX_THREADS) {
		judge(program, CLONE3, SECCOMP_RET_ERRNO | ENOSYS);
		allow_bits(program, SYS_clone, 0, thread | spaces, thread, KILL_PROCESS);
	} else {
		judge(program, CLONE3, KILL_PROCESS);
		judge(program, SYS_clone, KILL_PROCESS);
	}
}

static void
write_program(struct program *program, unsigned needs)
{
	static const uint32_t fcntls[] = {
		F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_SETLK, F_SETLKW, F_DUPFD_CLOEXEC,
	};
	static const uint32_t ioctls[] = { FIONBIO, FIOCLEX, FIONCLEX, SIOCOUTQ };
	const uint32_t deny = SECCOMP_RET_ERRNO | EPERM;
	const uint32_t self = (uint32_t)getpid();

	emit(program, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch), 0, 0);
	emit(program, BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0);
	give(program, KILL_PROCESS);
	emit(program, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr), 0, 0);
#ifdef __x86_64__
	emit(program, BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 0, 1);
	give(program, KILL_PROCESS);
#endif

	/* A datagram, or a connection, to an address of its own choice. */
	allow_null(program, SYS_sendto, 4, KILL_PROCESS);
	for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++)
		judge(program, allowed[i], SECCOMP_RET_ALLOW);
	filter_socket_options(program);
	filter_sockets(program, needs, deny);
	allow_values(program, SYS_fcntl, 1, fcntls, sizeof(fcntls) / sizeof(fcntls[0]), deny);
	allow_values(program, SYS_ioctl, 1, ioctls, sizeof(ioctls) / sizeof(ioctls[0]), deny);
	/* Interpreters that compile to machine code ask for it, and can do without. */
	allow_bits(program, SYS_mmap, 2, PROT_EXEC, 0, deny);
	allow_bits(program, SYS_mprotect, 2, PROT_EXEC, 0, deny);
	allow_null(program, SYS_prlimit64, 2, deny);
	/* abort() */
	allow_values(program, SYS_tkill, 0, &self, 1, KILL_PROCESS);
	allow_values(program, SYS_tgkill, 0, &self, 1, KILL_PROCESS);
	filter_clone(program, needs);
	for (size_t i = 0; i < sizeof(attacks) / sizeof(attacks[0]); i++)
		judge(program, attacks[i], KILL_PROCESS);
	/* Libraries take this for an old kernel. */
	emit(program, BPF_JMP | BPF_JGT | BPF_K, NEWEST_CALL, 0, 1);
	give(program, SECCOMP_RET_ERRNO | ENOSYS);
	give(program, deny);
}

int
sandbox_can_filter(void)
{
	/* A kernel that can filter wants to read the program first. */
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, NULL) == 0)
		return EINVAL;
	return errno == EFAULT ? 0 : errno;
}

int
sandbox_filter(unsigned needs)
{
	struct program program = { .length = 0 };
	struct sock_fprog whole;

	write_program(&program, needs);
	if (program.length == PROGRAM_MAX)
		return E2BIG;
	whole.len = program.length;
	whole.filter = program.code;
	/* Some kernels make filtered processes slow for fear of code from strangers, of which there
	 * is none here; older ones have neither this fear nor the flag. */
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, FILTER_SPEC_ALLOW, &whole) == 0)
		return 0;
	if (errno == EINVAL && syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &whole) == 0)
		return 0;
	return errno;
}

#endif

#else /* not Linux */

int
sandbox_forbid_new_privileges(void)
{
	return ENOSYS;
}

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

#ifndef ARCHITECTURE

int
sandbox_can_filter(void)
{
	return ENOSYS;
}

int
sandbox_filter(unsigned needs)
{
	(void)needs;
	return ENOSYS;
}

#endif
