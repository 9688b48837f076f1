/*
 * The two exponentiations of the handshake, in terms of a kernel's arithmetic.
 *
 * The exponent e = 2^258 + x is public in its length and in its top digit.  For an
 * arbitrary base it is taken in windows of 4 bits, each costing four squarings and one
 * multiplication by an entry of a table of 16 powers; for the base 2 a comb (see
 * modexp_tables.h) costs 12 squarings and 51 multiplications in all.  Either way the
 * sequence of operations is fixed, and tables are read as a whole.
 */
#include "modexp_power.h"

#include <string.h>

#include "bytes.h"
#include "modexp_kernel.h"
#include "modexp_tables.h"
#include "secret/wipe.h"

#define WINDOW_BITS 4
#define WINDOW_ENTRIES (1 << WINDOW_BITS)
#define WINDOWS (256 / WINDOW_BITS)	/* of x; the rest of the exponent is known */

#define EXPONENT_WORDS 5

static uint64_t
load_be64(const uint8_t *p)
{
	return (uint64_t)load_be32(p) << 32 | load_be32(p + 4);
}

static void
words_from_bytes(uint64_t word[GROUP14_WORDS], const uint8_t bytes[GROUP14_BYTES])
{
	for (size_t i = 0; i < GROUP14_WORDS; i++)
		word[i] = load_be64(bytes + GROUP14_BYTES - 8 * (i + 1));
}

static void
exponent_from_bytes(uint64_t e[EXPONENT_WORDS], const uint8_t x[GROUP14_SECRET_BYTES])
{
	for (size_t i = 0; i < EXPONENT_WORDS - 1; i++)
		e[i] = load_be64(x + GROUP14_SECRET_BYTES - 8 * (i + 1));
	e[EXPONENT_WORDS - 1] = (uint64_t)1 << (258 - 256);
}

/* Bytes of an element, reduced to below p (pack() gives less than 2 * p): the only subtraction there is. */
static void
bytes_from_element(const struct modexp_kernel *k, uint8_t bytes[GROUP14_BYTES],
    const struct element *a)
{
	uint64_t word[GROUP14_WORDS + 1], less[GROUP14_WORDS], borrow = 0;

	k->pack(word, a);
	for (size_t i = 0; i < GROUP14_WORDS; i++) {
		uint64_t p = group14_p[i];

		less[i] = word[i] - p - borrow;
		borrow = ((~word[i] & p) | ((~word[i] | p) & less[i])) >> 63;
	}
	/* a < p if the difference is negative, its topmost word being a's */
	borrow &= ~word[GROUP14_WORDS];
	borrow = -borrow;
	__asm__("" : "+r"(borrow));
	for (size_t i = 0; i < GROUP14_WORDS; i++)
		store_be64(bytes + GROUP14_BYTES - 8 * (i + 1),
		    less[i] ^ ((less[i] ^ word[i]) & borrow));
	wipe(word, sizeof(word));
	wipe(less, sizeof(less));
}

/* Plain words to Montgomery's form.  room is overwritten. */
static void
enter(const struct modexp_kernel *k, struct element *r, struct element room[2],
    const uint64_t word[GROUP14_WORDS])
{
	k->unpack(&room[0], word);
	k->unpack(&room[1], k->constants->r_squared);
	k->multiply(r, &room[0], &room[1]);
}

/* Montgomery's form to bytes, in passing multiplied by plain `factor`.  room is overwritten. */
static void
leave(const struct modexp_kernel *k, uint8_t bytes[GROUP14_BYTES], struct element room[2],
    const struct element *a, const uint64_t factor[GROUP14_WORDS])
{
	k->unpack(&room[0], factor);
	k->multiply(&room[1], a, &room[0]);
	bytes_from_element(k, bytes, &room[1]);
}

static const uint64_t plain_one[GROUP14_WORDS] = { 1 };

static void
swap(struct element **a, struct element **b)
{
	struct element *c = *a;

	*a = *b;
	*b = c;
}

/* d's bits, from the top: rows of the exponent, at this column. */
static uint64_t
comb_digit(const uint64_t e[EXPONENT_WORDS], size_t column)
{
	uint64_t d = 0;

	for (size_t i = COMB_ROWS; i-- > 0;) {
		size_t bit = COMB_TABLES * COMB_STEPS * i + column;

		d = d << 1 | (e[bit / 64] >> bit % 64 & 1);
	}
	return d;
}

/*
 * Everything that an exponentiation needs memory for.  It belongs to the caller of the function
 * that works with it, whose own frame is thus small enough for wipe_stack().
 */
struct workspace {
	struct element table[WINDOW_ENTRIES], accumulator[2], factor, room[2];
	_Alignas(64) uint64_t word[GROUP14_WORDS];
	uint64_t e[EXPONENT_WORDS];
};

static __attribute__((noinline)) void
comb(struct workspace *s, const struct modexp_kernel *k, const uint8_t x[GROUP14_SECRET_BYTES],
    uint8_t y[GROUP14_BYTES])
{
	struct element *a = &s->accumulator[0], *b = &s->accumulator[1];

	exponent_from_bytes(s->e, x);
	for (size_t step = COMB_STEPS; step-- > 0;) {
		if (step < COMB_STEPS - 1) {
			k->square(b, a);
			swap(&a, &b);
		}
		for (size_t j = 0; j < COMB_TABLES; j++) {
			k->pick(s->word, group14_comb[j][0], GROUP14_WORDS, COMB_ENTRIES,
			    comb_digit(s->e, COMB_STEPS * j + step));
			if (step == COMB_STEPS - 1 && j == 0) {
				k->unpack(a, s->word);
				continue;
			}
			k->unpack(&s->factor, s->word);
			k->multiply(b, a, &s->factor);
			swap(&a, &b);
		}
	}
	leave(k, y, s->room, a, k->constants->comb_finish);
}

static __attribute__((noinline)) void
windows(struct workspace *s, const struct modexp_kernel *k, const uint8_t base[GROUP14_BYTES],
    const uint8_t x[GROUP14_SECRET_BYTES], uint8_t y[GROUP14_BYTES])
{
	struct element *a = &s->accumulator[0], *b = &s->accumulator[1];

	words_from_bytes(s->word, base);
	k->unpack(&s->table[0], k->constants->one);
	enter(k, &s->table[1], s->room, s->word);
	for (size_t i = 2; i < WINDOW_ENTRIES; i += 2) {
		k->square(&s->table[i], &s->table[i / 2]);
		k->multiply(&s->table[i + 1], &s->table[i], &s->table[1]);
	}

	exponent_from_bytes(s->e, x);
	*a = s->table[s->e[EXPONENT_WORDS - 1]];
	for (size_t i = WINDOWS; i-- > 0;) {
		k->pick(s->factor.word, s->table[0].word, ELEMENT_WORDS, WINDOW_ENTRIES,
		    s->e[WINDOW_BITS * i / 64] >> WINDOW_BITS * i % 64 & (WINDOW_ENTRIES - 1));
		k->square(b, a);
		k->square(a, b);
		k->square(b, a);
		k->square(a, b);
		k->multiply(b, a, &s->factor);
		swap(&a, &b);
	}
	leave(k, y, s->room, a, plain_one);
}

void
power_of_generator_by(const struct modexp_kernel *k, const uint8_t x[GROUP14_SECRET_BYTES],
    uint8_t y[GROUP14_BYTES])
{
	struct workspace s;

	comb(&s, k, x, y);
	wipe(&s, sizeof(s));
	wipe_stack();
}

void
power_by(const struct modexp_kernel *k, const uint8_t base[GROUP14_BYTES],
    const uint8_t x[GROUP14_SECRET_BYTES], uint8_t y[GROUP14_BYTES])
{
	struct workspace s;

	windows(&s, k, base, x, y);
	wipe(&s, sizeof(s));
	wipe_stack();
}

void
product_by(const struct modexp_kernel *k, const uint8_t a[GROUP14_BYTES],
    const uint8_t b[GROUP14_BYTES], uint8_t y[GROUP14_BYTES])
{
	struct element room[2], first, second, square, product;
	uint64_t word[GROUP14_WORDS];

	words_from_bytes(word, a);
	enter(k, &first, room, word);
	words_from_bytes(word, b);
	enter(k, &second, room, word);
	k->square(&square, &first);
	k->multiply(&product, &square, &second);
	leave(k, y, room, &product, plain_one);
}

void
sample_by(const struct modexp_kernel *k)
{
	struct element a, b;

	k->unpack(&a, k->constants->r_squared);
	k->square(&b, &a);
	k->square(&a, &b);
	k->square(&b, &a);
	k->square(&a, &b);
	k->multiply(&b, &a, &a);
}
