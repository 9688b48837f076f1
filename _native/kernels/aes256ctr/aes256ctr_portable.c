/*
 * AES-256 on any machine, in constant time: bitsliced, eight blocks at a time, without tables.
 *
 * The state of four blocks is eight 64-bit words: bit p of word b is bit b of the byte at position
 * p.  Two such groups stand side by side in a vector of two words, which the compiler maps to a
 * vector register where there is one and to two ordinary registers elsewhere.  Bytes are ordered
 *
 *   p = 16 * row + 4 * column + block,
 *
 * so that MixColumns, which combines rows, is made of rotations of the whole word, and ShiftRows
 * of rotations within its 16-bit quarters.
 *
 * The S-box's inversion is done in a tower of fields, GF(((2^2)^2)^2), on normal bases, as in
 * D. Canright, "A very compact S-box for AES" (CHES 2005).  Steps are named as in FIPS 197.
 */

#include "aes256ctr_kernel.h"
#include "secret/wipe.h"

#define LANES 8

/* One bit of every byte of eight blocks. */
typedef uint64_t slice __attribute__((vector_size(16)));

/* Elements of GF(2^2) on the basis (w, w^2), and of GF(2^4) on (z, z^4), coefficients in GF(2^2):
 * w^2 + w + 1 = 0, z^2 + z + w = 0. */
struct gf4 {
	slice c[2];
};

struct gf16 {
	struct gf4 c[2];
};

static inline struct gf4
gf4_add(struct gf4 a, struct gf4 b)
{
	return (struct gf4){ { a.c[0] ^ b.c[0], a.c[1] ^ b.c[1] } };
}

static inline struct gf4
gf4_mul(struct gf4 a, struct gf4 b)
{
	slice cross = (a.c[0] ^ a.c[1]) & (b.c[0] ^ b.c[1]);

	return (struct gf4){ { (a.c[0] & b.c[0]) ^ cross, (a.c[1] & b.c[1]) ^ cross } };
}

/* a * w */
static inline struct gf4
gf4_mul_w(struct gf4 a)
{
	return (struct gf4){ { a.c[1], a.c[0] ^ a.c[1] } };
}

/* a^2, which in GF(2^2) is also 1/a. */
static inline struct gf4
gf4_square(struct gf4 a)
{
	return (struct gf4){ { a.c[1], a.c[0] } };
}

static inline struct gf16
gf16_add(struct gf16 a, struct gf16 b)
{
	return (struct gf16){ { gf4_add(a.c[0], b.c[0]), gf4_add(a.c[1], b.c[1]) } };
}

static inline struct gf16
gf16_mul(struct gf16 a, struct gf16 b)
{
	struct gf4 cross = gf4_mul_w(gf4_mul(gf4_add(a.c[0], a.c[1]), gf4_add(b.c[0], b.c[1])));

	return (struct gf16){ {
		gf4_add(gf4_mul(a.c[0], b.c[0]), cross),
		gf4_add(gf4_mul(a.c[1], b.c[1]), cross),
	} };
}

/* 1/a, and 0 for 0: the conjugate over the norm. */
static inline struct gf16
gf16_invert(struct gf16 a)
{
	struct gf4 sum = gf4_add(a.c[0], a.c[1]);
	struct gf4 norm = gf4_add(gf4_mul_w(gf4_square(sum)), gf4_mul(a.c[0], a.c[1]));
	struct gf4 inverse = gf4_square(norm);

	return (struct gf16){ { gf4_mul(inverse, a.c[1]), gf4_mul(inverse, a.c[0]) } };
}

/* a^2 * n, where y^2 + y + n = 0 is the polynomial by which GF(2^8) extends GF(2^4). */
static inline struct gf16
gf16_square_mul_n(struct gf16 a)
{
	slice a0 = a.c[0].c[0], a1 = a.c[0].c[1], a2 = a.c[1].c[0], a3 = a.c[1].c[1];

	return (struct gf16){ { { { a0 ^ a1, a1 } }, { { a1 ^ a3, a0 ^ a2 } } } };
}

/*
 * SubBytes, but for the constant 0x63 of its affine map.
 *
 * Of all bases of the tower, this one needs the fewest additions on the way in and out, common
 * sums shared; in the field of FIPS 197, w = 0x1b, z = 0xbc, y = 0x5c and n = 0xec.
 */
static inline __attribute__((always_inline)) void
sub_bytes(slice q[8])
{
	/* From the polynomial basis to (y, y^16) over GF(2^4): lo * y + hi * y^16. */
	slice q06 = q[0] ^ q[6], q12 = q[1] ^ q[2], q34 = q[3] ^ q[4], q01 = q[0] ^ q[1];
	slice q056 = q[5] ^ q06, q0567 = q[7] ^ q056;
	struct gf16 lo = { {
		{ { q[1] ^ q056, q0567 } },
		{ { q12 ^ q0567, q[4] ^ q056 } },
	} };
	struct gf16 hi = { {
		{ { q056, q12 ^ q[3] ^ q06 } },
		{ { q34 ^ q[7] ^ q01, q[0] } },
	} };

	/* Invert as in GF(2^4). */
	struct gf16 norm = gf16_add(gf16_square_mul_n(gf16_add(lo, hi)), gf16_mul(lo, hi));
	struct gf16 inverse = gf16_invert(norm);
	struct gf16 x = gf16_mul(inverse, hi), y = gf16_mul(inverse, lo);

	/* Back to the polynomial basis, and the linear part of the affine map. */
	slice x0 = x.c[0].c[0], x1 = x.c[0].c[1], x2 = x.c[1].c[0], x3 = x.c[1].c[1];
	slice y0 = y.c[0].c[0], y1 = y.c[0].c[1], y2 = y.c[1].c[0], y3 = y.c[1].c[1];
	slice x13 = x1 ^ x3, x0y2 = x0 ^ y2, x2x0y2 = x2 ^ x0y2, x3y1 = x3 ^ y1, y3x0y2 = y3 ^ x0y2;

	q[0] = y0 ^ x13;
	q[1] = y0 ^ x0 ^ x1;
	q[2] = x3y1 ^ y3x0y2;
	q[3] = x13 ^ x2x0y2;
	q[4] = x2x0y2;
	q[5] = x3y1;
	q[6] = x2 ^ y2;
	q[7] = x0y2;
}

/* Row r of the state moves r columns to the left. */
static inline void
shift_rows(slice q[8])
{
#pragma GCC unroll 8
	for (int b = 0; b < 8; b++) {
		slice x = q[b];

		/* Rows 2 and 3 by two columns, then rows 1 and 3 by one. */
		x = (x & 0x00000000ffffffff) | ((x >> 8) & 0x00ff00ff00000000) |
		    ((x << 8) & 0xff00ff0000000000);
		q[b] = (x & 0x0000ffff0000ffff) | ((x >> 4) & 0x0fff00000fff0000) |
		    ((x << 12) & 0xf0000000f0000000);
	}
}

/* Each byte a of row r becomes 2 * (a + a') + a' + a'' + a''', these being the bytes of the next
 * rows in the same column. */
static inline void
mix_columns(slice q[8])
{
	slice next[8], sum[8];

#pragma GCC unroll 8
	for (int b = 0; b < 8; b++) {
		next[b] = (q[b] >> 16) | (q[b] << 48);
		sum[b] = q[b] ^ next[b];
	}
#pragma GCC unroll 8
	for (int b = 0; b < 8; b++) {
		slice far = (sum[b] >> 32) | (sum[b] << 32);

		q[b] = next[b] ^ far ^ sum[(b + 7) % 8];
	}
	/* What doubling moves out at the top comes back as 0x1b. */
	q[1] ^= sum[7];
	q[3] ^= sum[7];
	q[4] ^= sum[7];
}

static inline void
add_round_key(slice q[8], const slice round[8])
{
#pragma GCC unroll 8
	for (int b = 0; b < 8; b++)
		q[b] ^= round[b];
}

/* Exchange bit `step` of the word's index with that of the bit's position, for all words. */
static inline void
exchange(slice q[8], int step, uint64_t mask)
{
#pragma GCC unroll 8
	for (int b = 0; b < 8; b++) {
		if (b & step)
			continue;
		slice t = ((q[b] >> step) ^ q[b + step]) & mask;
		q[b] ^= t << step;
		q[b + step] ^= t;
	}
}

/* Between eight words of eight bytes each and the bits of these bytes; its own inverse. */
static inline void
transpose(slice q[8])
{
	exchange(q, 1, 0x5555555555555555);
	exchange(q, 2, 0x3333333333333333);
	exchange(q, 4, 0x0f0f0f0f0f0f0f0f);
}

/* A column's four bytes, with room for a byte behind each; and back. */
static inline uint64_t
spread(const uint8_t column[4])
{
	uint64_t x = (uint64_t)column[3] << 24 | (uint64_t)column[2] << 16 |
	    (uint64_t)column[1] << 8 | column[0];

	x = (x | x << 16) & 0x0000ffff0000ffff;
	return (x | x << 8) & 0x00ff00ff00ff00ff;
}

static inline void
gather(uint8_t column[4], uint64_t x)
{
	x &= 0x00ff00ff00ff00ff;
	x = (x | x >> 8) & 0x0000ffff0000ffff;
	x |= x >> 16;
	for (int row = 0; row < 4; row++)
		column[row] = (uint8_t)(x >> (8 * row));
}

/* The bytes of columns c and c + 2 in the order that transpose() needs for that of the slices:
 * the byte of (row, column) in place 2 * row + column / 2 of word 4 * (column % 2) + block. */
static inline uint64_t
load_columns(const uint8_t block[AES256_BLOCK], int c)
{
	return spread(block + 4 * c) | spread(block + 4 * (c + 2)) << 8;
}

static inline void
to_slices(slice q[8], const uint8_t (*blocks)[AES256_BLOCK])
{
	for (int i = 0; i < LANES; i++) {
		q[i % 4][i / 4] = load_columns(blocks[i], 0);
		q[4 + i % 4][i / 4] = load_columns(blocks[i], 1);
	}
	transpose(q);
}

static inline void
from_slices(uint8_t (*blocks)[AES256_BLOCK], slice q[8])
{
	transpose(q);
	for (int i = 0; i < LANES; i++) {
		for (int c = 0; c < 2; c++) {
			uint64_t x = q[4 * c + i % 4][i / 4];

			gather(blocks[i] + 4 * c, x);
			gather(blocks[i] + 4 * (c + 2), x >> 8);
		}
	}
}

/* The round keys as slices, the same for every block.  The S-box's constant is added here, to each
 * round's key: neither ShiftRows nor MixColumns changes a state of equal bytes. */
static void
slice_key(slice rounds[AES256_ROUNDS + 1][8], const struct aes256_key *key)
{
	for (int r = 0; r <= AES256_ROUNDS; r++) {
		uint64_t even = load_columns(key->round[r], 0), odd = load_columns(key->round[r], 1);

		for (int i = 0; i < 4; i++) {
			rounds[r][i] = (slice){ even, even };
			rounds[r][4 + i] = (slice){ odd, odd };
		}
		transpose(rounds[r]);
		for (int b = 0; b < 8 && r > 0; b++)
			if ((0x63 >> b) & 1)
				rounds[r][b] = ~rounds[r][b];
	}
}

/* Cipher() of FIPS 197, figure 5, for eight blocks in place. */
static void
cipher(const slice rounds[AES256_ROUNDS + 1][8], uint8_t (*blocks)[AES256_BLOCK])
{
	slice q[8];

	to_slices(q, (const uint8_t (*)[AES256_BLOCK])blocks);
	add_round_key(q, rounds[0]);
	for (int r = 1; r < AES256_ROUNDS; r++) {
		sub_bytes(q);
		shift_rows(q);
		mix_columns(q);
		add_round_key(q, rounds[r]);
	}
	sub_bytes(q);
	shift_rows(q);
	add_round_key(q, rounds[AES256_ROUNDS]);
	from_slices(blocks, q);
}

static void
streams(const struct aes256_key *key, uint64_t number, uint64_t block,
    const uint8_t *in, size_t in_stride, uint8_t *out, size_t out_stride,
    size_t blocks, size_t count)
{
	slice rounds[AES256_ROUNDS + 1][8];
	uint8_t keystream[LANES][AES256_BLOCK];

	slice_key(rounds, key);
	for (size_t i = 0; i < count; i++) {
		const uint8_t *from = in + i * in_stride;
		uint8_t *to = out + i * out_stride;

		for (size_t j = 0; j < blocks; j += LANES) {
			for (size_t k = 0; k < LANES; k++)
				counter_block(keystream[k], number + i, block + j + k);
			cipher((const slice (*)[8])rounds, keystream);
			for (size_t k = 0; k < LANES; k++, from += AES256_BLOCK, to += AES256_BLOCK)
				xor_block(to, from, keystream[k]);
		}
	}
	wipe(rounds, sizeof(rounds));
	wipe(keystream, sizeof(keystream));
}

static void
encrypt(const struct aes256_key *key, uint8_t (*blocks)[AES256_BLOCK], size_t count)
{
	slice rounds[AES256_ROUNDS + 1][8];

	slice_key(rounds, key);
	for (size_t i = 0; i < count; i += LANES)
		cipher((const slice (*)[8])rounds, blocks + i);
	wipe(rounds, sizeof(rounds));
}

/* SubWord() of FIPS 197, 5.2. */
static void
sub_word(uint8_t word[4])
{
	slice q[8];

#pragma GCC unroll 8
	for (int b = 0; b < 8; b++) {
		uint64_t bits = 0;

		for (int i = 0; i < 4; i++)
			bits |= (uint64_t)((word[i] >> b) & 1) << i;
		q[b] = (slice){ bits, 0 };
	}
	sub_bytes(q);
	for (int i = 0; i < 4; i++) {
		word[i] = 0x63;
	#pragma GCC unroll 8
	for (int b = 0; b < 8; b++)
			word[i] ^= (uint8_t)(((q[b][0] >> i) & 1) << b);
	}
	wipe(q, sizeof(q));
}

/* KeyExpansion() of FIPS 197, 5.2, with Nk = 8. */
void
aes256_key_init(struct aes256_key *key, const uint8_t secret[32])
{
	uint8_t (*w)[4] = (uint8_t (*)[4])key->round;
	uint8_t temp[4];

	memcpy(w, secret, 32);
	for (int i = 8; i < 4 * (AES256_ROUNDS + 1); i++) {
		memcpy(temp, w[i - 1], 4);
		if (i % 8 == 0) {
			const uint8_t first = temp[0];

			memmove(temp, temp + 1, 3);
			temp[3] = first;
		}
		if (i % 4 == 0)
			sub_word(temp);
		if (i % 8 == 0)
			temp[0] ^= (uint8_t)(1 << (i / 8 - 1));
		for (int j = 0; j < 4; j++)
			w[i][j] = w[i - 8][j] ^ temp[j];
	}
	wipe(temp, sizeof(temp));
}

static int
available(void)
{
	return 1;
}

const struct aes256ctr_kernel aes256ctr_portable = {
	.kernel = { .name = "portable", .available = available },
	.lanes = LANES,
	.streams = streams,
	.encrypt = encrypt,
};
