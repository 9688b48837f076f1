/*
 * AES-256-CTR by the selected kernel: the choice, and what is the same for all of them, the bytes at
 * the end of each stream that do not fill a kernel's lanes.
 */
#include "aes256ctr.h"

#include <assert.h>
#include <string.h>

#include "aes256ctr_kernel.h"
#include "secret/wipe.h"

static const struct aes256ctr_kernel *const kernels[] = {
	&aes256ctr_vaes_avx512,
	&aes256ctr_vaes_avx2,
	&aes256ctr_aesni,
	&aes256ctr_armce,
	&aes256ctr_portable,
};

#define KERNELS (sizeof(kernels) / sizeof(kernels[0]))

/* A lone packet, and several. */
static const size_t batches[] = { 1, 16 };

#define BATCHES (sizeof(batches) / sizeof(batches[0]))

static size_t chosen[BATCHES] = { KERNELS - 1, KERNELS - 1 };

/*
 * The blocks `first` to the end of every stream, as one series over all streams, a few lanes at a
 * time: the counter blocks are encrypted in a small buffer, then go to where they are needed.
 */
static void
crypt_rest(const struct aes256ctr_kernel *kernel, const struct aes256_key *key,
    uint64_t number, uint64_t block, const uint8_t *in, size_t in_stride,
    uint8_t *out, size_t out_stride, size_t first, size_t length, size_t count)
{
	_Alignas(64) uint8_t keystream[AES256CTR_LANES_MAX][AES256_BLOCK];
	size_t blocks = (length + AES256_BLOCK - 1) / AES256_BLOCK;
	size_t stream = 0, index = first;	/* the next block of the series */
	size_t left = (blocks - first) * count;

	while (left > 0) {
		size_t start = stream, start_index = index;
		size_t n = left < AES256CTR_LANES_MAX ? left : AES256CTR_LANES_MAX;
		size_t lanes = (n + kernel->lanes - 1) / kernel->lanes * kernel->lanes;

		for (size_t i = 0; i < n; i++) {
			counter_block(keystream[i], number + stream, block + index);
			if (++index == blocks) {
				index = first;
				stream++;
			}
		}
		memset(keystream[n], 0, (lanes - n) * AES256_BLOCK);
		kernel->encrypt(key, keystream, lanes);

		stream = start;
		index = start_index;
		for (size_t i = 0; i < n; i++) {
			const uint8_t *from = in + stream * in_stride + index * AES256_BLOCK;
			uint8_t *to = out + stream * out_stride + index * AES256_BLOCK;
			size_t bytes = length - index * AES256_BLOCK;

			if (bytes >= AES256_BLOCK)
				xor_block(to, from, keystream[i]);
			else
				for (size_t j = 0; j < bytes; j++)
					to[j] = from[j] ^ keystream[i][j];
			if (++index == blocks) {
				index = first;
				stream++;
			}
		}
		left -= n;
	}
	wipe(keystream, sizeof(keystream));
}

/* aes256ctr_many() by a given kernel. */
static void
crypt_many(const struct aes256ctr_kernel *kernel, const struct aes256_key *key,
    uint64_t number, uint64_t block, const uint8_t *in, size_t in_stride,
    uint8_t *out, size_t out_stride, size_t length, size_t count)
{
	size_t step = kernel->lanes * AES256_BLOCK;
	size_t whole = length / step * kernel->lanes;

	if (whole > 0)
		kernel->streams(key, number, block, in, in_stride, out, out_stride, whole, count);
	if (whole * AES256_BLOCK < length)
		crypt_rest(kernel, key, number, block, in, in_stride, out, out_stride, whole,
		    length, count);
}

void
aes256ctr_many(const struct aes256_key *key, uint64_t number, uint64_t block,
    const uint8_t *in, size_t in_stride, uint8_t *out, size_t out_stride,
    size_t length, size_t count)
{
	const size_t b = batch_index(batches, BATCHES, count);

	crypt_many(kernels[chosen[b]], key, number, block, in, in_stride, out, out_stride, length,
	    count);
}

static const struct kernel *
get_kernel(size_t i)
{
	assert(i < KERNELS);
	return &kernels[i]->kernel;
}

/*
 * Three streams, misaligned, long enough for every lane twice and for a rest that breaks them,
 * with carries out of the low bytes of the number and of the block index.
 */
static int
selftest(size_t i)
{
	enum { LENGTH = 2 * AES256CTR_LANES_MAX * AES256_BLOCK + 100, STRIDE = LENGTH + 3, COUNT = 3 };
	static const uint64_t number = 0x01234567fffffffe, block = 0x89abcdefffffffee;
	struct aes256_key key;
	uint8_t in[COUNT * STRIDE], out[COUNT * STRIDE] = { 0 }, expected[COUNT * STRIDE] = { 0 };

	assert(i < KERNELS);
	for (size_t j = 0; j < sizeof(in); j++)
		in[j] = (uint8_t)(j % 251);
	aes256_key_init(&key, in);
	crypt_many(kernels[i], &key, number, block, in, STRIDE, out, STRIDE, LENGTH, COUNT);
	crypt_many(&aes256ctr_portable, &key, number, block, in, STRIDE, expected, STRIDE, LENGTH,
	    COUNT);
	return memcmp(out, expected, sizeof(out)) == 0;
}

static void
choose(size_t i, size_t b)
{
	assert(i < KERNELS);
	chosen[b] = i;
}

static size_t
selected(size_t b)
{
	return chosen[b];
}

/* Packets of 1,024 bytes and a few, a lone one several times. */
static void
sample(size_t i, size_t b)
{
	enum { LENGTH = 1028, COUNT = 16, REPEAT = 4 };
	struct aes256_key key = { { { 0 } } };
	uint8_t packets[COUNT * LENGTH] = { 0 };

	assert(i < KERNELS && batches[b] <= COUNT);
	for (size_t j = 0; j < (b == 0 ? REPEAT : 1); j++)
		crypt_many(kernels[i], &key, 0, 0, packets, LENGTH, packets, LENGTH, LENGTH, batches[b]);
}

const struct primitive aes256ctr_primitive = {
	.name = "aes256ctr",
	.count = KERNELS,
	.kernel = get_kernel,
	.selftest = selftest,
	.batches = batches,
	.batch_count = BATCHES,
	.sample = sample,
	.select = choose,
	.selected = selected,
};
