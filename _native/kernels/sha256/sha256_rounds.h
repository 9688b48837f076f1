/*
 * The SHA-256 compression function (FIPS 180-4, 6.2.2), written once for
 * whatever a word is: an integer, or a vector that holds the same word of as
 * many messages as it has lanes.  C's operators serve both; compilers make
 * rotations and three-operand logic of them where the CPU has such.
 *
 * This is the body of a kernel, which includes it after it has defined
 *
 *	word, LANES, WORD_TARGET
 *		the type, the number of messages, the target attribute if any
 *	void load_words(word w[4], const uint8_t *p, size_t stride)
 *		w[i] = the i-th uint32_t at p, and in further lanes at p + stride,
 *		p + 2 * stride, ...
 *	void store_words(const word w[4], uint8_t *p, size_t stride)
 *		the inverse
 *	word big_endian(word x)
 *		x with the bytes of each lane in big-endian order
 *
 * Every index below is a constant once the calls are inlined, so that the
 * working variables and the message schedule live in registers as far as
 * these reach.  That is why there are no loops over them.
 */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define WORD_FUNCTION static inline __attribute__((always_inline)) WORD_TARGET

WORD_FUNCTION word
rotate(word x, int n)
{
	return x >> n | x << (32 - n);
}

/* The functions of FIPS 180-4, 4.1.2. */

WORD_FUNCTION word
Sigma0(word x)
{
	return rotate(x, 2) ^ rotate(x, 13) ^ rotate(x, 22);
}

WORD_FUNCTION word
Sigma1(word x)
{
	return rotate(x, 6) ^ rotate(x, 11) ^ rotate(x, 25);
}

WORD_FUNCTION word
sigma0(word x)
{
	return rotate(x, 7) ^ rotate(x, 18) ^ x >> 3;
}

WORD_FUNCTION word
sigma1(word x)
{
	return rotate(x, 17) ^ rotate(x, 19) ^ x >> 10;
}

WORD_FUNCTION word
Ch(word x, word y, word z)
{
	return z ^ (x & (y ^ z));
}

/* x ^ y of one round is y ^ z of the next: compilers see that. */
WORD_FUNCTION word
Maj(word x, word y, word z)
{
	return y ^ ((x ^ y) & (y ^ z));
}

/*
 * Round i (mod 16) with the constant k[i].  Instead of moving the eight working
 * variables along, their names move: a is at s[-i mod 8].  If `expand`, w[i]
 * first advances by 16 positions in the message schedule.
 */
WORD_FUNCTION void
one_round(word s[8], word w[16], const uint32_t *k, size_t i, int expand)
{
	word *d = &s[(3 - i) % 8], *h = &s[(7 - i) % 8];
	word a = s[(0 - i) % 8], b = s[(1 - i) % 8], c = s[(2 - i) % 8];
	word e = s[(4 - i) % 8], f = s[(5 - i) % 8], g = s[(6 - i) % 8];

	if (expand)
		w[i] += sigma1(w[(i + 14) % 16]) + w[(i + 9) % 16] + sigma0(w[(i + 1) % 16]);
	*h += w[i] + k[i] + Ch(e, f, g) + Sigma1(e);
	*d += *h;
	*h += Maj(a, b, c) + Sigma0(a);
}

WORD_FUNCTION void
four_rounds(word s[8], word w[16], const uint32_t *k, size_t i, int expand)
{
	one_round(s, w, k, i, expand);
	one_round(s, w, k, i + 1, expand);
	one_round(s, w, k, i + 2, expand);
	one_round(s, w, k, i + 3, expand);
}

WORD_FUNCTION void
sixteen_rounds(word s[8], word w[16], const uint32_t *k, int expand)
{
	four_rounds(s, w, k, 0, expand);
	four_rounds(s, w, k, 4, expand);
	four_rounds(s, w, k, 8, expand);
	four_rounds(s, w, k, 12, expand);
}

/* Four words of the message. */
WORD_FUNCTION void
load_message(word w[4], const uint8_t *p, size_t stride)
{
	load_words(w, p, stride);
	w[0] = big_endian(w[0]);
	w[1] = big_endian(w[1]);
	w[2] = big_endian(w[2]);
	w[3] = big_endian(w[3]);
}

WORD_FUNCTION void
add_words(word w[4], const word x[4])
{
	w[0] += x[0];
	w[1] += x[1];
	w[2] += x[2];
	w[3] += x[3];
}

/* s absorbs the block at p (and p + stride, ...). */
WORD_FUNCTION void
compress_block(word s[8], const uint8_t *p, size_t stride)
{
	word w[16], before[8];

	load_message(w, p, stride);
	load_message(w + 4, p + 16, stride);
	load_message(w + 8, p + 32, stride);
	load_message(w + 12, p + 48, stride);
	memcpy(before, s, sizeof(before));
	sixteen_rounds(s, w, sha256_k, 0);
	for (size_t i = 16; i < 64; i += 16)
		sixteen_rounds(s, w, sha256_k + i, 1);
	add_words(s, before);
	add_words(s + 4, before + 4);
}

/* The kernel's compress(). */
static WORD_TARGET void
compress(uint32_t (*states)[8], const uint8_t *data, size_t stride, size_t blocks, size_t count)
{
	word s[8];

	for (size_t i = 0; i < count; i += LANES) {
		uint8_t *state = (uint8_t *)states[i];

		load_words(s, state, sizeof(states[0]));
		load_words(s + 4, state + 16, sizeof(states[0]));
		for (size_t j = 0; j < blocks; j++)
			compress_block(s, data + i * stride + j * SHA256_BLOCK, stride);
		store_words(s, state, sizeof(states[0]));
		store_words(s + 4, state + 16, sizeof(states[0]));
	}
}
