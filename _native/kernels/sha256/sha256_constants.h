#ifndef SHA256_CONSTANTS_H
#define SHA256_CONSTANTS_H

/*
 * The constants of SHA-256 (FIPS 180-4).
 */

#include <stdint.h>

#define SHA256_BYTES 32			/* of a digest */
#define SHA256_BLOCK 64			/* bytes in a block */

/* The initial chaining value H(0) (FIPS 180-4, 5.3.3). */
extern const uint32_t sha256_initial[8];

/* The round constants K (FIPS 180-4, 4.2.2), aligned for every vector length. */
extern _Alignas(64) const uint32_t sha256_k[64];

#endif
