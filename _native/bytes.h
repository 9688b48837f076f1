#ifndef BYTES_H
#define BYTES_H

/*
 * Big-endian integers at any address.
 *
 * Written as a copy and a byte swap, which every compiler makes one or two
 * instructions of; a loop over stores of single bytes may get vectorised into
 * something ten times as slow.
 */

#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define BIG_ENDIAN_32(x) __builtin_bswap32(x)
#define BIG_ENDIAN_64(x) __builtin_bswap64(x)
#else
#define BIG_ENDIAN_32(x) (x)
#define BIG_ENDIAN_64(x) (x)
#endif

static inline uint32_t
load_be32(const uint8_t *p)
{
	uint32_t x;

	memcpy(&x, p, sizeof(x));
	return BIG_ENDIAN_32(x);
}

static inline void
store_be32(uint8_t *p, uint32_t x)
{
	x = BIG_ENDIAN_32(x);
	memcpy(p, &x, sizeof(x));
}

static inline void
store_be64(uint8_t *p, uint64_t x)
{
	x = BIG_ENDIAN_64(x);
	memcpy(p, &x, sizeof(x));
}

#endif
