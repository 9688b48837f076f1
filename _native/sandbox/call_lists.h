#ifndef SANDBOX_CALL_LISTS_H
#define SANDBOX_CALL_LISTS_H

/*
 * The system calls on which the filter decides without a look at their arguments.
 */

#include <sys/syscall.h>

#define NEWEST_CALL 463			/* the last that was looked at for these lists */

/* What any process of ours may call, with any arguments; the most frequent first, because older
 * kernels go through all of them. */
static const int allowed[] = {
	SYS_recvfrom, SYS_recvmsg,
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

#endif
