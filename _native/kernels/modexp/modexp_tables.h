#ifndef MODEXP_TABLES_H
#define MODEXP_TABLES_H

/*
 * Group 14's prime in the digits of every kernel, what depends on their R, and powers of 2 for the
 * comb: what make_tables.py writes to modexp_tables.c.
 */

#include <stdint.h>

#include "modexp_kernel.h"

/*
 * The comb (Lim and Lee, "More flexible exponentiation with precomputation", 1994) takes
 * an exponent of 260 bits as 5 rows of 4 * 13 columns.  Table j has the powers of 2 for
 * column 13 * j: entry d is the product of 2^(2^(52 * i + 13 * j)) over the bits i of d.
 */
#define COMB_ROWS 5
#define COMB_TABLES 4
#define COMB_STEPS 13
#define COMB_ENTRIES (1 << COMB_ROWS)

extern const uint64_t group14_comb[COMB_TABLES][COMB_ENTRIES][GROUP14_WORDS];
extern const uint64_t group14_p[GROUP14_WORDS];

/* p + 1 in the digits of the kernels. */
extern const limb group14_columns[COLUMNS];
extern const uint64_t group14_digits52[ELEMENT_WORDS];

/* p + 1 in signed digits of 29 bits, with zeros on either side. */
#define DIGITS29 72
#define DIGITS29_PAD 4
extern const int64_t group14_digits29[DIGITS29 + 2 * DIGITS29_PAD];

extern const struct modexp_constants group14_constants_29;
extern const struct modexp_constants group14_constants_columns;
extern const struct modexp_constants group14_constants_52;

#endif
