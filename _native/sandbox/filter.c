/*
 * The filter of system calls: the policy, as a program for the kernel.
 */
#include "filter.h"

#include <errno.h>

#ifdef __x86_64__
#define ARCHITECTURE 0xc000003e		/* AUDIT_ARCH_X86_64 */
#elif defined(__aarch64__) && defined(__AARCH64EL__)
#define ARCHITECTURE 0xc00000b7		/* AUDIT_ARCH_AARCH64 */
#endif

#if defined(__linux__) && defined(ARCHITECTURE)

#include <fcntl.h>
#include <linux/seccomp.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "call_lists.h"
#include "needs.h"
#include "program.h"

#define X32_BIT 0x40000000
#define CLONE3 435			/* the same on all architectures */

#define FILTER_SPEC_ALLOW 4		/* SECCOMP_FILTER_FLAG_SPEC_ALLOW */
#define KILL_PROCESS 0x80000000		/* to old kernels, any unknown action means to kill */

/* Inside the rule of socket(): allow this family and type, of which the flags are ignored. */
static void
allow_socket(struct program *program, uint32_t family, uint32_t type)
{
	program_load(program, 0);
	program_unless_skip(program, family, 6);
	program_load(program, 2);
	program_mask(program, (uint32_t)~(SOCK_CLOEXEC | SOCK_NONBLOCK));
	program_unless_skip(program, type, 3);
	program_load(program, 4);
	program_judge(program, 0, SECCOMP_RET_ALLOW);
}

static void
filter_sockets(struct program *program, unsigned needs, uint32_t deny)
{
	unsigned short begin = program_rule_begin(program, SYS_socket);

	if (needs & SANDBOX_TCP) {
		allow_socket(program, AF_INET, SOCK_STREAM);
		allow_socket(program, AF_INET6, SOCK_STREAM);
	}
	if (needs & SANDBOX_UNIX)
		allow_socket(program, AF_UNIX, SOCK_STREAM);
	program_rule_end(program, begin, deny);
	program_judge(program, SYS_bind, needs & SANDBOX_BIND ? SECCOMP_RET_ALLOW : KILL_PROCESS);
}

/* The status of setsockopt() is not checked: an option that is missing here must not go unnoticed. */
static void
filter_socket_options(struct program *program)
{
	static const uint32_t options[][2] = {
		{ SOL_SOCKET, SO_KEEPALIVE },
		{ SOL_SOCKET, SO_LINGER },
		{ SOL_SOCKET, SO_REUSEADDR },
		{ IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT },
		{ IPPROTO_TCP, TCP_NODELAY },
	};
	unsigned short begin = program_rule_begin(program, SYS_setsockopt);

	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		program_load(program, 2);
		program_unless_skip(program, options[i][0], 3);
		program_load(program, 4);
		program_judge(program, (int)options[i][1], SECCOMP_RET_ALLOW);
	}
	program_rule_end(program, begin, KILL_PROCESS);
}

/* Threads: clone() says in a register what is to be shared, clone3() in memory, and every library
 * can do without that one. */
static void
filter_clone(struct program *program, unsigned needs)
{
	const uint32_t thread = 0x00010000;	/* CLONE_THREAD */
	const uint32_t spaces = 0x7e020080;	/* CLONE_NEW* */

	if (needs & SANDBOX_THREADS) {
		program_judge(program, CLONE3, SECCOMP_RET_ERRNO | ENOSYS);
		program_allow_bits(program, SYS_clone, 0, thread | spaces, thread, KILL_PROCESS);
	} else {
		program_judge(program, CLONE3, KILL_PROCESS);
		program_judge(program, SYS_clone, KILL_PROCESS);
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

	program_emit(program, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch), 0, 0);
	program_emit(program, BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0);
	program_give(program, KILL_PROCESS);
	program_emit(program, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr), 0, 0);
#ifdef __x86_64__
	program_emit(program, BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 0, 1);
	program_give(program, KILL_PROCESS);
#endif

	/* A datagram, or a connection, to an address of its own choice. */
	program_allow_null(program, SYS_sendto, 4, KILL_PROCESS);
	for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++)
		program_judge(program, allowed[i], SECCOMP_RET_ALLOW);
	filter_socket_options(program);
	filter_sockets(program, needs, deny);
	program_allow_values(program, SYS_fcntl, 1, fcntls, sizeof(fcntls) / sizeof(fcntls[0]), deny);
	program_allow_values(program, SYS_ioctl, 1, ioctls, sizeof(ioctls) / sizeof(ioctls[0]), deny);
	/* Interpreters that compile to machine code ask for it, and can do without. */
	program_allow_bits(program, SYS_mmap, 2, PROT_EXEC, 0, deny);
	program_allow_bits(program, SYS_mprotect, 2, PROT_EXEC, 0, deny);
	program_allow_null(program, SYS_prlimit64, 2, deny);
	/* abort() */
	program_allow_values(program, SYS_tkill, 0, &self, 1, KILL_PROCESS);
	program_allow_values(program, SYS_tgkill, 0, &self, 1, KILL_PROCESS);
	filter_clone(program, needs);
	for (size_t i = 0; i < sizeof(attacks) / sizeof(attacks[0]); i++)
		program_judge(program, attacks[i], KILL_PROCESS);
	/* Libraries take this for an old kernel. */
	program_emit(program, BPF_JMP | BPF_JGT | BPF_K, NEWEST_CALL, 0, 1);
	program_give(program, SECCOMP_RET_ERRNO | ENOSYS);
	program_give(program, deny);
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
	if (program_is_too_long(&program))
		return E2BIG;
	whole.len = program.length;
	whole.filter = program.code;
	/* Some kernels slow filtered processes down as a precaution against untrusted code, of which
	 * there is none here; older ones have neither this precaution nor the flag. */
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, FILTER_SPEC_ALLOW, &whole) == 0)
		return 0;
	if (errno == EINVAL && syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &whole) == 0)
		return 0;
	return errno;
}

#else

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
