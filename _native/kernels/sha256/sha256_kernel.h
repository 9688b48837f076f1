#ifndef SHA256_KERNEL_H
#define SHA256_KERNEL_H

/*
 * What a kernel of SHA-256 provides, for sha256.c, and the kernels that there are.
 */

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernel.h"

struct sha256_kernel {
	struct kernel kernel;

	/* How many messages compress() takes at once, and how many of them pay
	 * even if the other lanes run empty. */
	size_t lanes, least;

	/* sha256_compress_many() for a count that is a multiple of lanes. */
	void (*compress)(uint32_t (*states)[8], const uint8_t *data, size_t stride,
	    size_t blocks, size_t count);

	/* Who takes less than `least` messages; it runs wherever this kernel
	 * runs.  NULL if least is 1. */
	const struct sha256_kernel *remainder;
};

#define SHA256_LANES_MAX 16

extern const struct sha256_kernel sha256_shani_x3;
extern const struct sha256_kernel sha256_shani_x3_sse;
extern const struct sha256_kernel sha256_shani_x2;
extern const struct sha256_kernel sha256_shani;
extern const struct sha256_kernel sha256_avx512_x16;
extern const struct sha256_kernel sha256_avx2_x8;
extern const struct sha256_kernel sha256_armce_x3;
extern const struct sha256_kernel sha256_armce_x2;
extern const struct sha256_kernel sha256_armce;
extern const struct sha256_kernel sha256_portable;

#endif
