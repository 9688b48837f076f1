/*
 * An assembler for programs that decide on system calls.
 */
#ifdef __linux__

#include "program.h"

#include <linux/seccomp.h>

int
program_is_too_long(const struct program *program)
{
	return program->length == PROGRAM_MAX;
}

void
program_emit(struct program *program, unsigned short code, uint32_t k, uint8_t yes, uint8_t no)
{
	if (program->length < PROGRAM_MAX)
		program->code[program->length++] = (struct sock_filter){ code, yes, no, k };
}

void
program_give(struct program *program, uint32_t verdict)
{
	program_emit(program, BPF_RET | BPF_K, verdict, 0, 0);
}

void
program_load(struct program *program, unsigned half)
{
	program_emit(program, BPF_LD | BPF_W | BPF_ABS,
	    (uint32_t)offsetof(struct seccomp_data, args) + half * 4, 0, 0);
}

void
program_mask(struct program *program, uint32_t bits)
{
	program_emit(program, BPF_ALU | BPF_AND | BPF_K, bits, 0, 0);
}

void
program_unless_skip(struct program *program, uint32_t k, uint8_t count)
{
	program_emit(program, BPF_JMP | BPF_JEQ | BPF_K, k, 0, count);
}

void
program_judge(struct program *program, int value, uint32_t verdict)
{
	program_unless_skip(program, (uint32_t)value, 1);
	program_give(program, verdict);
}

unsigned short
program_rule_begin(struct program *program, int call)
{
	program_unless_skip(program, (uint32_t)call, 0);
	return program->length;
}

void
program_rule_end(struct program *program, unsigned short begin, uint32_t verdict)
{
	program_give(program, verdict);
	if (program->length - begin <= UINT8_MAX)
		program->code[begin - 1].jf = (uint8_t)(program->length - begin);
	else
		program->length = PROGRAM_MAX;
}

void
program_allow_values(struct program *program, int call, unsigned argument,
    const uint32_t *values, size_t count, uint32_t otherwise)
{
	unsigned short begin = program_rule_begin(program, call);

	program_load(program, argument * 2);
	for (size_t i = 0; i < count; i++)
		program_judge(program, (int)values[i], SECCOMP_RET_ALLOW);
	program_rule_end(program, begin, otherwise);
}

void
program_allow_bits(struct program *program, int call, unsigned argument, uint32_t bits,
    uint32_t value, uint32_t otherwise)
{
	unsigned short begin = program_rule_begin(program, call);

	program_load(program, argument * 2);
	program_mask(program, bits);
	program_judge(program, (int)value, SECCOMP_RET_ALLOW);
	program_rule_end(program, begin, otherwise);
}

void
program_allow_null(struct program *program, int call, unsigned argument, uint32_t otherwise)
{
	unsigned short begin = program_rule_begin(program, call);

	program_load(program, argument * 2);
	program_unless_skip(program, 0, 3);
	program_load(program, argument * 2 + 1);
	program_judge(program, 0, SECCOMP_RET_ALLOW);
	program_rule_end(program, begin, otherwise);
}

#endif
