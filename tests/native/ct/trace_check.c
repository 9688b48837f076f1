/*
 * Does a secret decide a branch, in the kernels that Valgrind cannot run?
 *
 * Each kernel works on two secrets, one instruction at a time: the processor's trap flag
 * raises SIGTRAP after every one of them, and the handler adds the instruction's address to a
 * digest.  Without a secret-dependent branch the digests are equal.  (Addresses of data are not
 * seen; that is what ct_check.c is better at.)
 *
 *     trace_check [PRIMITIVE KERNEL]...    check all available kernels but those named
 *     trace_check leak                     must find a difference: can this fail?
 *
 * For x86-64 Linux.
 */

#define _GNU_SOURCE

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <ucontext.h>

#include <x86intrin.h>

#include "kernels/modexp/modexp.h"
#include "kernels/registry.h"
#include "protocol/packet.h"

#define TRAP_FLAG 0x100

struct trace {
	uint64_t instructions, digest;
};

static volatile struct trace trace;

static void
on_trap(int number, siginfo_t *info, void *context)
{
	const ucontext_t *c = context;
	uint64_t address = (uint64_t)c->uc_mcontext.gregs[REG_RIP];

	(void)number;
	(void)info;
	trace.instructions++;
	trace.digest = (trace.digest ^ address) * 0x9e3779b97f4a7c15;
	trace.digest ^= trace.digest >> 29;
}

/* Not inlined, which would give its two uses different addresses. */
static __attribute__((noinline)) struct trace
traced(void (*work)(void))
{
	trace.instructions = trace.digest = 0;
	__writeeflags(__readeflags() | TRAP_FLAG);
	work();
	__writeeflags(__readeflags() & ~(unsigned long long)TRAP_FLAG);
	return trace;
}

/* The secret; more bytes than any of the functions below takes. */
static uint8_t secret[64 + 2 * MESSAGE_MAX];

/* A multiplication or squaring, a look-up and a conversion take the same instructions in
 * either exponentiation; this is the shorter one. */
static void
work_modexp(void)
{
	uint8_t y[GROUP14_BYTES];

	group14_power_of_generator(secret, y);
}

/* A batch that fills no kernel's lanes. */
static void
work_packets(void)
{
	static uint8_t packets[2 * PACKET_BYTES], opened[2 * MESSAGE_MAX];
	struct packet_key key;
	size_t length, count;

	packet_key_init(&key, secret, secret + 32);
	count = packet_seal_many(&key, 0, secret + 64, 2 * MESSAGE_MAX - 5, packets);
	packet_open_many(&key, 0, packets, count, opened, &length, &count);
	packet_key_wipe(&key);
}

static void
work_leak(void)
{
	static volatile unsigned int count;

	if (secret[100] & 1)
		count++;
}

/* Are the traces of this work on either of two secrets equal?  Both lie at the same address, on
 * which memcpy() may depend. */
static int
check(const char *primitive, const char *kernel, void (*work)(void))
{
	struct trace one, other;

	memset(secret, 0, sizeof(secret));
	work();			/* let the dynamic linker do what it does once */
	one = traced(work);
	for (size_t i = 0; i < sizeof(secret); i++)
		secret[i] = (uint8_t)(i * i + (i >> 3) + 1);
	other = traced(work);
	if (one.instructions != other.instructions || one.digest != other.digest) {
		printf("%s %s: depends on the secret\n", primitive, kernel);
		return 0;
	}
	printf("%s %s: checked over %llu instructions\n", primitive, kernel,
	    (unsigned long long)one.instructions);
	return 1;
}

/* Use the fastest kernel of each primitive: what is not being checked should not take long. */
static void
select_preferred(size_t primitive)
{
	size_t k = 0;

	while (kernel_state(primitive, k) != KERNEL_AVAILABLE)
		k++;
	kernel_select(primitive, k);
}

static int
excluded(const char *primitive, const char *kernel, int argc, char **argv)
{
	for (int i = 1; i + 1 < argc; i += 2)
		if (strcmp(argv[i], primitive) == 0 && strcmp(argv[i + 1], kernel) == 0)
			return 1;
	return 0;
}

int
main(int argc, char **argv)
{
	/* in the order of registry.h */
	static void (*const works[])(void) = { work_packets, work_packets, work_modexp };
	struct sigaction action = { .sa_sigaction = on_trap, .sa_flags = SA_SIGINFO };
	int ok = 1;

	sigemptyset(&action.sa_mask);
	sigaction(SIGTRAP, &action, NULL);
	if (argc == 2 && strcmp(argv[1], "leak") == 0)
		return check("leak", "leak", work_leak) ? 0 : 1;

	for (size_t p = 0; p < primitive_count(); p++)
		select_preferred(p);
	for (size_t p = 0; p < primitive_count(); p++)
		for (size_t k = 0; k < kernel_count(p); k++) {
			if (kernel_state(p, k) != KERNEL_AVAILABLE ||
			    excluded(primitive_name(p), kernel_name(p, k), argc, argv))
				continue;
			kernel_select(p, k);
			ok &= check(primitive_name(p), kernel_name(p, k), works[p]);
			select_preferred(p);
		}
	return ok ? 0 : 1;
}
