/*
 * AES-256-CTR by instructions that do a round for vectors of one, two or four blocks: the
 * architectures and widths differ in very little else.
 *
 * A round takes two to seven cycles, but one or two can start in every cycle; so VECTORS of them
 * are in flight.  The file that includes this one has defined TARGET, VECTORS, the type `vector`
 * and the functions that need intrinsics: broadcast(), swap_bytes(), and the rounds.  Some
 * processors add the round key at the end of a round, as FIPS 197 has it, others at its beginning,
 * which is the end of the previous one: so aes_round() is told both keys and uses one of them.
 */

#include "aes256ctr_kernel.h"
#include "secret/wipe.h"

#define BLOCKS (sizeof(vector) / AES256_BLOCK)	/* in a vector */
#define LANES (VECTORS * BLOCKS)

static inline TARGET __attribute__((always_inline)) void
load_key(vector rounds[AES256_ROUNDS + 1], const struct aes256_key *key)
{
#pragma GCC unroll 15
	for (int r = 0; r <= AES256_ROUNDS; r++)
		rounds[r] = broadcast(key->round[r]);
}

/* Cipher() of FIPS 197, figure 5, for every block of b. */
static inline TARGET __attribute__((always_inline)) void
cipher(vector b[VECTORS], const vector rounds[AES256_ROUNDS + 1])
{
#pragma GCC unroll 8
	for (int i = 0; i < VECTORS; i++)
		b[i] = aes_start(b[i], rounds[0]);
#pragma GCC unroll 13
	for (int r = 1; r < AES256_ROUNDS; r++) {
#pragma GCC unroll 8
		for (int i = 0; i < VECTORS; i++)
			b[i] = aes_round(b[i], rounds[r - 1], rounds[r]);
	}
#pragma GCC unroll 8
	for (int i = 0; i < VECTORS; i++)
		b[i] = aes_end(b[i], rounds[AES256_ROUNDS - 1], rounds[AES256_ROUNDS]);
}

/* Counter blocks are kept as pairs of integers, (number, index), and brought into their order of
 * bytes when used. */
static TARGET void
streams(const struct aes256_key *key, uint64_t number, uint64_t block,
    const uint8_t *in, size_t in_stride, uint8_t *out, size_t out_stride,
    size_t blocks, size_t count)
{
	vector rounds[AES256_ROUNDS + 1], b[VECTORS], first, one_stream, one_vector;

	load_key(rounds, key);
	for (size_t k = 0; k < BLOCKS; k++) {
		first[2 * k] = number;
		first[2 * k + 1] = block + k;
		one_stream[2 * k] = 1;
		one_stream[2 * k + 1] = 0;
		one_vector[2 * k] = 0;
		one_vector[2 * k + 1] = BLOCKS;
	}
	for (size_t i = 0; i < count; i++, first += one_stream) {
		const uint8_t *from = in + i * in_stride;
		uint8_t *to = out + i * out_stride;
		vector counter = first, data;

		for (size_t j = 0; j < blocks; j += LANES) {
#pragma GCC unroll 8
			for (int k = 0; k < VECTORS; k++, counter += one_vector)
				b[k] = swap_bytes(counter);
			cipher(b, rounds);
#pragma GCC unroll 8
			for (int k = 0; k < VECTORS; k++) {
				memcpy(&data, from, sizeof(data));
				data ^= b[k];
				memcpy(to, &data, sizeof(data));
				from += sizeof(data);
				to += sizeof(data);
			}
		}
	}
	wipe(rounds, sizeof(rounds));
}

static TARGET void
encrypt(const struct aes256_key *key, uint8_t (*blocks)[AES256_BLOCK], size_t count)
{
	vector rounds[AES256_ROUNDS + 1], b[VECTORS];

	load_key(rounds, key);
	for (size_t i = 0; i < count; i += LANES) {
		memcpy(b, blocks[i], sizeof(b));
		cipher(b, rounds);
		memcpy(blocks[i], b, sizeof(b));
	}
	wipe(rounds, sizeof(rounds));
}
