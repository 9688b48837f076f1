#ifndef AES256_SBOX_H
#define AES256_SBOX_H

/*
 * The S-box of AES (FIPS 197, 5.1.1) on many bytes at once, as logic on their bits and without a
 * table.
 *
 * The inversion is done in a tower of fields, GF(((2^2)^2)^2), on normal bases, as in D. Canright,
 * "A very compact S-box for AES" (CHES 2005).
 */

#include <stdint.h>

/* One bit of each of 128 bytes.  The compiler maps it to a vector register where there is one and to
 * two ordinary registers elsewhere. */
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

#endif
