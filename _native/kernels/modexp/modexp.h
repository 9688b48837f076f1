#ifndef MODEXP_H
#define MODEXP_H

/*
 * Exponentiation in RFC 3526's 2048-bit group (group 14), as the handshake
 * needs it: the exponent is always 2^258 + x with a secret 256-bit x.
 *
 * Numbers are big-endian and zero-padded to their full length.  Time and memory
 * accesses depend on neither the exponent nor the base.  Everything derived
 * from x is erased before these return.
 */

#include <stdint.h>

#include "group14.h"
#include "kernels/kernel.h"

/* y = 2^(2^258 + x) mod p. */
void group14_power_of_generator(const uint8_t x[GROUP14_SECRET_BYTES], uint8_t y[GROUP14_BYTES]);

/* y = base^(2^258 + x) mod p, for any base < p. */
void group14_power(const uint8_t base[GROUP14_BYTES],
    const uint8_t x[GROUP14_SECRET_BYTES], uint8_t y[GROUP14_BYTES]);

/* Its kernels, for the registry. */
extern const struct primitive modexp_primitive;

#endif
