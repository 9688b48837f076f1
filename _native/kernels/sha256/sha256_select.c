/*
 * The choice of the SHA-256 kernel, and what is the same for all of them.
 */

#include <string.h>

#include "secret/wipe.h"
#include "sha256_kernel.h"

/* The preferred one first: SHA instructions before lanes, because they serve a
 * lone message as well. */
static const struct sha256_kernel *const kernels[] = {
	&sha256_shani_x3,
	&sha256_shani_x2,
	&sha256_shani,
	&sha256_avx512_x16,
	&sha256_avx2_x8,
	&sha256_armce,
	&sha256_portable,
};

#define KERNELS (sizeof(kernels) / sizeof(kernels[0]))

static size_t selected = KERNELS - 1;

const uint32_t sha256_initial[8] = {
	0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
};

_Alignas(64) const uint32_t sha256_k[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
	0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
	0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
	0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
	0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
	0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
	0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

/* Let a kernel with more lanes than there are messages hash these. */
static void
compress_padded(const struct sha256_kernel *kernel, uint32_t (*states)[8], const uint8_t *data,
    size_t stride, size_t blocks, size_t count)
{
	uint32_t lanes[SHA256_LANES_MAX][8] = { { 0 } };
	uint8_t block[SHA256_LANES_MAX][SHA256_BLOCK] = { { 0 } };

	memcpy(lanes, states, count * sizeof(lanes[0]));
	for (size_t i = 0; i < blocks; i++) {
		for (size_t j = 0; j < count; j++)
			memcpy(block[j], data + j * stride + i * SHA256_BLOCK, SHA256_BLOCK);
		kernel->compress(lanes, block[0], SHA256_BLOCK, 1, kernel->lanes);
	}
	memcpy(states, lanes, count * sizeof(lanes[0]));
	wipe(lanes, sizeof(lanes));
	wipe(block, sizeof(block));
}

/*
 * The lane cascade: as many messages as fill its lanes go to `kernel`; so does
 * the rest if there is enough of it, or else it goes down, in the same way, to
 * the kernel named for that.  All messages have the same length, so all lanes
 * finish together and there is nothing to schedule.
 */
static void
cascade(const struct sha256_kernel *kernel, uint32_t (*states)[8], const uint8_t *data,
    size_t stride, size_t blocks, size_t count)
{
	for (; count > 0 && blocks > 0; kernel = kernel->remainder) {
		const size_t rest = count % kernel->lanes, whole = count - rest;

		if (whole > 0)
			kernel->compress(states, data, stride, blocks, whole);
		states += whole;
		data += whole * stride;
		count = rest;
		if (rest >= kernel->least) {
			compress_padded(kernel, states, data, stride, blocks, rest);
			count = 0;
		}
	}
}

void
sha256_compress_many(uint32_t (*states)[8], const uint8_t *data, size_t stride,
    size_t blocks, size_t count)
{
	cascade(kernels[selected], states, data, stride, blocks, count);
}

void
sha256(const uint8_t *data, size_t length, uint8_t digest[SHA256_BYTES])
{
	const size_t tail = length % SHA256_BLOCK, in_place = length - tail;
	uint32_t state[1][8];
	uint8_t last[2 * SHA256_BLOCK] = { 0 };

	memcpy(state[0], sha256_initial, sizeof(state[0]));
	sha256_compress_many(state, data, 0, in_place / SHA256_BLOCK, 1);
	if (tail > 0)
		memcpy(last, data + in_place, tail);
	sha256_pad(last, tail, length);
	sha256_compress_many(state, last, 0, sha256_final_size(tail) / SHA256_BLOCK, 1);
	sha256_digest(state[0], digest);
	wipe(state, sizeof(state));
	wipe(last, sizeof(last));
	wipe_stack();
}

/* The primitive, for kernel.c. */

static const struct kernel *
kernel(size_t i)
{
	return &kernels[i]->kernel;
}

static void
select_kernel(size_t i)
{
	selected = i;
}

static size_t
selected_kernel(void)
{
	return selected;
}

#define TEST_COUNT (3 * SHA256_LANES_MAX - 1)
#define TEST_BLOCKS 2
#define TEST_STRIDE (TEST_BLOCKS * SHA256_BLOCK + 3)

/* Let kernel i and the portable one hash the same messages: one too few to fill
 * its lanes three times, so that a remainder goes down the whole cascade, and
 * then half as many as it has lanes, and a single one. */
static int
selftest(size_t i)
{
	const size_t lanes = kernels[i]->lanes, count = 3 * lanes - 1;
	uint32_t states[TEST_COUNT][8], expected[TEST_COUNT][8];
	uint8_t data[TEST_COUNT * TEST_STRIDE];

	for (size_t j = 0; j < count * TEST_STRIDE; j++)
		data[j] = (uint8_t)(j % 251);
	for (size_t j = 0; j < count; j++) {
		memcpy(states[j], sha256_initial, sizeof(states[j]));
		states[j][0] += (uint32_t)j;
	}
	memcpy(expected, states, count * sizeof(states[0]));
	cascade(kernels[i], states, data, TEST_STRIDE, TEST_BLOCKS, count);
	cascade(kernels[i], states, data, TEST_STRIDE, TEST_BLOCKS, lanes / 2);
	cascade(kernels[i], states, data, TEST_STRIDE, TEST_BLOCKS, 1);
	cascade(&sha256_portable, expected, data, TEST_STRIDE, TEST_BLOCKS, count);
	cascade(&sha256_portable, expected, data, TEST_STRIDE, TEST_BLOCKS, lanes / 2);
	cascade(&sha256_portable, expected, data, TEST_STRIDE, TEST_BLOCKS, 1);
	return memcmp(states, expected, count * sizeof(states[0])) == 0;
}

const struct primitive sha256_primitive = {
	.name = "sha256",
	.count = KERNELS,
	.kernel = kernel,
	.selftest = selftest,
	.select = select_kernel,
	.selected = selected_kernel,
};
