#ifndef MODEXP_POWER_H
#define MODEXP_POWER_H

/*
 * The two exponentiations of the handshake by a given kernel, and a product for its self-test.
 * Numbers are as in modexp.h.
 */

#include <stdint.h>

#include "group14.h"
#include "modexp_kernel.h"

/* y = 2^(2^258 + x) mod p. */
void power_of_generator_by(const struct modexp_kernel *k,
    const uint8_t x[GROUP14_SECRET_BYTES], uint8_t y[GROUP14_BYTES]);

/* y = base^(2^258 + x) mod p, for base < p. */
void power_by(const struct modexp_kernel *k, const uint8_t base[GROUP14_BYTES],
    const uint8_t x[GROUP14_SECRET_BYTES], uint8_t y[GROUP14_BYTES]);

/* y = a^2 * b mod p, for a, b < p. */
void product_by(const struct modexp_kernel *k, const uint8_t a[GROUP14_BYTES],
    const uint8_t b[GROUP14_BYTES], uint8_t y[GROUP14_BYTES]);

/* Some of the work of an exponentiation, in its proportions, for being timed. */
void sample_by(const struct modexp_kernel *k);

#endif
