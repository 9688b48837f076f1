#ifndef MODEXP_KERNEL_H
#define MODEXP_KERNEL_H

/*
 * What a kernel of group-14 exponentiation provides, and the kernels that there are.
 *
 * A kernel is an arithmetic: multiplication and squaring modulo p in Montgomery's
 * form ("Modular multiplication without trial division", 1985), where a number a
 * stands for a * R mod p, and R depends on the kernel.  modexp_power.c builds
 * the exponentiations from that; they are the same for every kernel.  What a kernel
 * leaves on the stack is erased when an exponentiation is over.
 *
 * Two properties of p are used throughout.  It ends in 64 one bits, so that
 * Montgomery's constant -1/p is 1 in every radix up to 2^64: the digit to be
 * cancelled is itself the multiple of p that cancels it, and adding q * p to a number
 * that ends in the digit q is adding q * (p + 1) and dropping that digit.  And every
 * kernel's R exceeds 4 * p by a wide margin, so that a product of two numbers
 * between -2 * p and 2 * p comes out between these again: nothing is ever subtracted until the end.
 */

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernel.h"

#define GROUP14_WORDS 32		/* 2048 bits in 64-bit words, least significant first */
#define ELEMENT_WORDS 40

/* The digits of the kernels that have no vector instructions: a limb holds one
 * with room to spare, and a wide holds the sum of all the products in a column. */
#ifdef __SIZEOF_INT128__
typedef uint64_t limb;
typedef unsigned __int128 wide;
#define COLUMN_BITS 61
#define COLUMNS 34
#else
typedef uint32_t limb;
typedef uint64_t wide;
#define COLUMN_BITS 28
#define COLUMNS 74
#endif

/* A number between -2 * p and 2 * p as a kernel represents it. */
struct element {
	_Alignas(64) union {
		uint64_t word[ELEMENT_WORDS];
		limb limb[ELEMENT_WORDS * sizeof(uint64_t) / sizeof(limb)];
		int32_t digit29[2 * ELEMENT_WORDS];	/* with a sign */
	};
};

/* Numbers that depend on a kernel's R. */
struct modexp_constants {
	uint64_t one[GROUP14_WORDS];		/* R mod p */
	uint64_t r_squared[GROUP14_WORDS];	/* R^2 mod p */
	uint64_t comb_finish[GROUP14_WORDS];	/* what undoes the Rs that a comb collects */
};

struct modexp_kernel {
	struct kernel kernel;
	const struct modexp_constants *constants;

	/* From plain words to digits and back, to a number from 0 to 2 * p; no Montgomery form is
	 * involved. */
	void (*unpack)(struct element *r, const uint64_t word[GROUP14_WORDS]);
	void (*pack)(uint64_t word[GROUP14_WORDS + 1], const struct element *a);

	/* r = a * b / R or a * a / R mod p.  r overlaps neither a nor b. */
	void (*multiply)(struct element *r, const struct element *a, const struct element *b);
	void (*square)(struct element *r, const struct element *a);

	/* Copy entry `index` of a table of `count` entries of 32 or 40 words to r, reading
	 * all of the table.  Table and r lie at multiples of 64 bytes. */
	void (*pick)(uint64_t *r, const uint64_t *table, size_t words, size_t count,
	    uint64_t index);
};

extern const struct modexp_kernel modexp_ifma;
extern const struct modexp_kernel modexp_avx2;
extern const struct modexp_kernel modexp_mulx;
extern const struct modexp_kernel modexp_portable;

/* Digit i of a number, of at most 64 bits: it begins at bit `bits` * i. */
static inline uint64_t
extract_digit(const uint64_t word[GROUP14_WORDS], size_t bits, size_t i)
{
	size_t at = bits * i / 64, shift = bits * i % 64;
	uint64_t digit = at < GROUP14_WORDS ? word[at] >> shift : 0;

	if (shift + bits > 64 && at + 1 < GROUP14_WORDS)
		digit |= word[at + 1] << (64 - shift);
	return digit & (((uint64_t)1 << bits) - 1);
}

/* Put a digit there, where there are zeros.  What exceeds the number must be zero too. */
static inline void
insert_digit(uint64_t word[GROUP14_WORDS + 1], size_t bits, size_t i, uint64_t digit)
{
	size_t at = bits * i / 64, shift = bits * i % 64;

	if (at <= GROUP14_WORDS)
		word[at] |= digit << shift;
	if (shift + bits > 64 && at < GROUP14_WORDS)
		word[at + 1] |= digit >> (64 - shift);
}

#endif
