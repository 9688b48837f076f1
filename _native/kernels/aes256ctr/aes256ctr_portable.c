/*
 * AES-256-CTR on any machine, in constant time: bitsliced, eight blocks at a time, without tables.
 *
 * The state of four blocks is eight 64-bit words: bit p of word b is bit b of the byte at position
 * p.  Two such groups stand side by side in a slice (aes256_sbox.h).  Bytes are ordered
 *
 *   p = 16 * row + 4 * column + block,
 *
 * so that MixColumns, which combines rows, is made of rotations of the whole word, and ShiftRows
 * of rotations within its 16-bit quarters.  Steps are named as in FIPS 197.
 */

#include "aes256_sbox.h"
#include "aes256ctr_kernel.h"
#include "secret/wipe.h"

#define LANES 8

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
