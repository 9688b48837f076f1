/*
 * Group-14 arithmetic in portable C: columns of digits narrower than a limb
 * (modexp_columns.h), 34 of 61 bits where the compiler has 128-bit integers and
 * 74 of 28 bits elsewhere.
 */

#include <string.h>

#include "modexp_kernel.h"

enum { COLUMN_UNROLL = 1 };
#include "modexp_columns.h"

static int
available(void)
{
	return 1;
}

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

static void
multiply(struct element *r, const struct element *a, const struct element *b)
{
	columns_multiply(r->limb, a->limb, b->limb);
}

static void
square(struct element *r, const struct element *a)
{
	limb twice[COLUMNS];

	columns_square(r->limb, a->limb, twice);
}

const struct modexp_kernel modexp_portable = {
	.kernel = { .name = "portable", .available = available },
	.constants = &group14_constants_columns,
	.unpack = columns_unpack,
	.pack = columns_pack,
	.multiply = multiply,
	.square = square,
	.pick = columns_pick,
};
