#ifndef CPU_CPU_H
#define CPU_CPU_H

/*
 * What this CPU can do and its operating system has enabled.
 */

#include <stdint.h>

enum cpu_feature {
	CPU_SSSE3_SSE41 = 1u << 0,
	CPU_AESNI = 1u << 1,
	CPU_SHANI = 1u << 2,
	CPU_AVX2 = 1u << 3,
	CPU_VAES = 1u << 4,
	CPU_AVX512 = 1u << 5,		/* F, BW, VL, DQ, and the state is saved */
	CPU_IFMA = 1u << 6,		/* AVX-512 IFMA, implies CPU_AVX512 */
	CPU_MULX = 1u << 7,		/* BMI2 */
	CPU_ARM_AES = 1u << 8,
	CPU_ARM_SHA2 = 1u << 9
};

/* Bit mask of enum cpu_feature.  Found out once: in a virtual machine, every question to the CPU
 * takes some microseconds.  The first call is made before any other thread exists. */
uint32_t cpu_features(void);

#endif
