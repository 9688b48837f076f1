#ifndef SANDBOX_PROGRAM_H
#define SANDBOX_PROGRAM_H

/*
 * A program of the kernel's packet filter that decides on system calls, rule by rule: the first rule
 * that decides ends it.  The caller owns it, and initialises .length with 0.
 *
 * A verdict is a SECCOMP_RET_ value.  Arguments are compared as far as the function says.  What
 * exceeds PROGRAM_MAX instructions, or a rule that is too long, leaves program_is_too_long() true.
 */

#include <linux/filter.h>
#include <stddef.h>
#include <stdint.h>

#define PROGRAM_MAX 1024

struct program {
	struct sock_filter code[PROGRAM_MAX];
	unsigned short length;
};

/* Did it not fit?  Then it must not be used. */
int program_is_too_long(const struct program *program);

/* Single instructions. */

/* One instruction; yes and no are how many to skip after a comparison. */
void program_emit(struct program *program, unsigned short code, uint32_t k, uint8_t yes, uint8_t no);

/* End with this verdict. */
void program_give(struct program *program, uint32_t verdict);

/* Load half an argument: 0 is the lower half of the first, 1 its upper half, and so on. */
void program_load(struct program *program, unsigned half);

/* Clear all other bits of what was loaded. */
void program_mask(struct program *program, uint32_t bits);

/* Skip the next `count` instructions unless what was loaded is k. */
void program_unless_skip(struct program *program, uint32_t k, uint8_t count);

/* If what was loaded, at first the call's number, is this, end with this verdict. */
void program_judge(struct program *program, int value, uint32_t verdict);

/* Rules that look at the arguments of one call. */

/* Begin a rule.  Returns what program_rule_end() wants. */
unsigned short program_rule_begin(struct program *program, int call);

/* End it: what it has not decided gets this verdict. */
void program_rule_end(struct program *program, unsigned short begin, uint32_t verdict);

/* Allow a call if its argument is one of these (as an int: what is above that, the kernel ignores). */
void program_allow_values(struct program *program, int call, unsigned argument,
    const uint32_t *values, size_t count, uint32_t otherwise);

/* Allow a call if these bits of an argument's lower half have this value. */
void program_allow_bits(struct program *program, int call, unsigned argument, uint32_t bits,
    uint32_t value, uint32_t otherwise);

/* Allow a call if an argument is a null pointer. */
void program_allow_null(struct program *program, int call, unsigned argument, uint32_t otherwise);

#endif
