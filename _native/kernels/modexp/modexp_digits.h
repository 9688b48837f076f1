#ifndef MODEXP_DIGITS_H
#define MODEXP_DIGITS_H

/*
 * Between words and digits, and the look-up in a table that reads all of it: for the kernels without
 * vector instructions, with the semantics of the members of struct modexp_kernel.
 */

#include <stddef.h>
#include <stdint.h>

#include "modexp_kernel.h"

/* unpack() */
void columns_unpack(struct element *r, const uint64_t word[GROUP14_WORDS]);

/* pack() */
void columns_pack(uint64_t word[GROUP14_WORDS + 1], const struct element *a);

/* pick() */
void columns_pick(uint64_t *r, const uint64_t *table, size_t words, size_t count,
    uint64_t index);

#endif
