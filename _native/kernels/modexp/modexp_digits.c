/*
 * Between words and the digits of the kernels without vector instructions, and the look-up in a table
 * that reads all of it: what these kernels share and is not worth compiling twice.
 */
#include "modexp_digits.h"

#include <string.h>

void
columns_unpack(struct element *r, const uint64_t word[GROUP14_WORDS])
{
	memset(r, 0, sizeof(*r));
	for (size_t i = 0; i < COLUMNS; i++)
		r->limb[i] = (limb)extract_digit(word, COLUMN_BITS, i);
}

void
columns_pack(uint64_t word[GROUP14_WORDS + 1], const struct element *a)
{
	memset(word, 0, (GROUP14_WORDS + 1) * sizeof(word[0]));
	for (size_t i = 0; i < COLUMNS; i++)
		insert_digit(word, COLUMN_BITS, i, a->limb[i]);
}

/* Two words: a register of the vector instructions that every 64-bit CPU has. */
typedef uint64_t pair __attribute__((vector_size(16)));

void
columns_pick(uint64_t *r, const uint64_t *table, size_t words, size_t count, uint64_t index)
{
	const pair *from = (const pair *)table;
	pair *to = (pair *)r;

	memset(r, 0, words * sizeof(r[0]));
	for (uint64_t i = 0; i < count; i++, from += words / 2) {
		/* All ones for the entry that is wanted; hidden from a compiler that
		 * might make a branch of it. */
		uint64_t mask = -(((i ^ index) - 1) >> 63);

		__asm__("" : "+r"(mask));
		for (size_t j = 0; j < words / 2; j += 4) {
			to[j] |= from[j] & mask;
			to[j + 1] |= from[j + 1] & mask;
			to[j + 2] |= from[j + 2] & mask;
			to[j + 3] |= from[j + 3] & mask;
		}
	}
}
