/*
 * SHA-256 by the selected kernel: the choice, and what is the same for all of them.
 */
#include "sha256.h"

#include <string.h>

#include "secret/wipe.h"
#include "sha256_constants.h"
#include "sha256_kernel.h"

/* The one expected to be best first: SHA instructions before lanes, because they serve a
 * lone message as well. */
static const struct sha256_kernel *const kernels[] = {
	&sha256_shani_x3,
	&sha256_shani_x3_sse,
	&sha256_shani_x2,
	&sha256_shani,
	&sha256_avx512_x16,
	&sha256_avx2_x8,
	&sha256_armce_x3,
	&sha256_armce_x2,
	&sha256_armce,
	&sha256_portable,
};

#define KERNELS (sizeof(kernels) / sizeof(kernels[0]))

/* A lone message, a few (a read from a slow peer), enough to pay in lanes, and bulk. */
static const size_t batches[] = { 1, 4, 12, 48 };

#define BATCHES (sizeof(batches) / sizeof(batches[0]))

static size_t selected[BATCHES] = { KERNELS - 1, KERNELS - 1, KERNELS - 1, KERNELS - 1 };

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
	while (count > 0) {
		const size_t b = batch_index(batches, BATCHES, count);
		const struct sha256_kernel *kernel = kernels[selected[b]];
		const size_t rest = count % kernel->lanes, whole = count - rest;

		/* What is left over may be another kernel's, as a batch of its own size. */
		if (whole == 0 || rest == 0 ||
		    selected[batch_index(batches, BATCHES, rest)] == selected[b]) {
			cascade(kernel, states, data, stride, blocks, count);
			return;
		}
		cascade(kernel, states, data, stride, blocks, whole);
		states += whole;
		data += whole * stride;
		count = rest;
	}
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

/* The primitive, for the registry. */

static const struct kernel *
kernel(size_t i)
{
	return &kernels[i]->kernel;
}

static void
select_kernel(size_t i, size_t b)
{
	selected[b] = i;
}

static size_t
selected_kernel(size_t b)
{
	return selected[b];
}

/* A lone message several times; a whole group; and in between three counts in a row, since which
 * of them break a kernel's lanes depends on the kernel. */
static void
sample(size_t i, size_t b)
{
	enum { BLOCKS = 2, REPEAT = 8, STRIDE = BLOCKS * SHA256_BLOCK };
	uint32_t states[SHA256_GROUP][8] = { { 0 } };
	uint8_t data[SHA256_GROUP * STRIDE] = { 0 };

	if (b == BATCHES - 1)
		cascade(kernels[i], states, data, STRIDE, BLOCKS, SHA256_GROUP);
	else if (b > 0)
		for (size_t j = 0; j < 3; j++)
			cascade(kernels[i], states, data, STRIDE, 1, batches[b] + j);
	else
		for (size_t j = 0; j < REPEAT; j++)
			cascade(kernels[i], states, data, STRIDE, BLOCKS, 1);
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
	.batches = batches,
	.batch_count = BATCHES,
	.sample = sample,
	.select = select_kernel,
	.selected = selected_kernel,
};
