"""Write ``modexp_tables.c``: group 14's prime in the digits of every kernel, and the comb.

Run it in this directory after changing a radix (``modexp_kernel.h``) or the comb
(``modexp_tables.h``)::

    python make_tables.py > modexp_tables.c
"""

from collections.abc import Iterable

ROWS, TABLES, STEPS = 5, 4, 13
ROW_BITS = TABLES * STEPS

# The kernels' digits: bits in one, and how many.
WIDE, NARROW, IFMA, AVX2 = (61, 34), (28, 74), (52, 40), (29, 72)
AVX2_PAD = 4


def pi_times(scale: int) -> int:
    """Return floor(scale * pi), by Machin's formula."""
    guard = 1 << 64
    one = scale * guard

    def arctan_of_inverse(n: int) -> int:
        term, total, k = one // n, 0, 0
        while term:
            total += (-1) ** k * (term // (2 * k + 1))
            term //= n * n
            k += 1
        return total

    return 4 * (4 * arctan_of_inverse(5) - arctan_of_inverse(239)) // guard


# RFC 3526, section 3
P = 2**2048 - 2**1984 - 1 + 2**64 * (pi_times(2**1918) + 124476)


def digits(n: int, bits: int, count: int) -> list[int]:
    """Return the digits of ``n`` in radix 2^bits, least significant first."""
    assert n < 1 << (bits * count)
    return [n >> (bits * i) & ((1 << bits) - 1) for i in range(count)]


def balanced_digits(n: int, bits: int, count: int) -> list[int]:
    """Return digits of ``n`` between -2^(bits-1) and 2^(bits-1), least significant first."""
    result = []
    for _ in range(count):
        digit = (n + (1 << (bits - 1)) & ((1 << bits) - 1)) - (1 << (bits - 1))
        result.append(digit)
        n = (n - digit) >> bits
    assert n == 0
    return result


def comb_finish(r: int) -> int:
    """Return what a comb's result is multiplied by, in Montgomery's form, to give the power.

    The comb's table holds plain numbers, so that all kernels can share it.  In terms of a kernel's
    multiplication, a * b / R, the first factor is free of R, and every multiplication and every
    squaring then takes one R away; how many there are in all depends on the comb alone.
    """
    power = 0
    for step in range(STEPS):
        if step > 0:
            power = 2 * power - 1
        power -= TABLES if step > 0 else TABLES - 1
    return pow(r, 1 - power, P)


def block(values: Iterable[int], width: int, indent: str) -> str:
    """Return initialisers, four to a line."""
    numbers = [f"0x{value:0{width}x}" for value in values]
    lines = [", ".join(numbers[i : i + 4]) for i in range(0, len(numbers), 4)]
    return "".join(f"{indent}{line},\n" for line in lines)


def words(n: int, indent: str = "\t") -> str:
    return block(digits(n, 64, 32), 16, indent)


def array(declaration: str, body: str, align: int = 0) -> str:
    alignment = f"_Alignas({align}) " if align else ""
    return f"{alignment}const {declaration} = {{\n{body}}};\n"


def columns(bits: int, count: int) -> str:
    """Return p + 1 and the constants for the kernels that sum up columns."""
    of_p = digits(P + 1, bits, count)
    # What the largest column adds up to, of a product and of a multiple of p, has to fit.
    double = 128 if bits > 32 else 64
    largest = (1 << bits) - 1
    assert count * largest**2 + sum(of_p) * largest + (1 << (double - bits)) < 1 << double
    assert bits * count >= 2048 + 4
    width = double // 8
    body = block(of_p, width, "\t")
    return array("limb group14_columns[COLUMNS]", body) + "\n" + constants("columns", bits * count)


def signed_digits(bits: int, count: int) -> str:
    """Return p + 1 and the constants for the kernel whose digits have signs."""
    of_p = balanced_digits(P + 1, bits, count)
    # All the products of a column have to fit, of digits that are a little over half of the radix.
    half = (1 << (bits - 1)) + (1 << 7)
    assert count * half**2 + sum(map(abs, of_p)) * half < 1 << 63
    assert bits * count >= 2048 + 4
    padded = [0] * AVX2_PAD + of_p + [0] * AVX2_PAD
    lines = [", ".join(map(str, padded[i : i + 4])) for i in range(0, len(padded), 4)]
    body = "".join(f"\t{line},\n" for line in lines)
    declaration = "int64_t group14_digits29[DIGITS29 + 2 * DIGITS29_PAD]"
    return array(declaration, body, 32) + "\n" + constants("29", bits * count)


def constants(name: str, bits_of_r: int) -> str:
    r = 1 << bits_of_r
    members = [("one", r % P), ("r_squared", r * r % P), ("comb_finish", comb_finish(r))]
    body = "".join(f"\t.{member} = {{\n{words(n, chr(9) * 2)}\t}},\n" for member, n in members)
    return array(f"struct modexp_constants group14_constants_{name}", body)


def comb() -> str:
    tables = ""
    for j in range(TABLES):
        tables += "\t{\n"
        for d in range(1 << ROWS):
            exponent = sum((d >> i & 1) << (ROW_BITS * i + STEPS * j) for i in range(ROWS))
            tables += f"\t\t{{\n{words(pow(2, exponent, P), chr(9) * 3)}\t\t}},\n"
        tables += "\t},\n"
    return array("uint64_t group14_comb[COMB_TABLES][COMB_ENTRIES][GROUP14_WORDS]", tables, 64)


def main() -> None:
    print("/* Written by make_tables.py: RFC 3526's 2048-bit prime, and powers of 2 modulo it. */")
    print('\n#include "modexp_tables.h"\n')
    print(array("uint64_t group14_p[GROUP14_WORDS]", words(P)))
    print("#ifdef __SIZEOF_INT128__\n" + columns(*WIDE))
    print("#else\n" + columns(*NARROW))
    print("#endif\n")
    body = block(digits(P + 1, *IFMA), 16, "\t")
    print(array("uint64_t group14_digits52[ELEMENT_WORDS]", body, 64))
    print(constants("52", IFMA[0] * IFMA[1]))
    print(signed_digits(*AVX2))
    print(comb(), end="")


if __name__ == "__main__":
    main()
