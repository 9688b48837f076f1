/*
 * What this CPU can do, found out from the CPU itself (x86) or the operating system (ARM).
 */
#include "cpu.h"

#include "target.h"

#ifdef CPU_X86_64
#include <cpuid.h>

/* XCR0: which register state the operating system saves (Intel SDM vol. 1, 13.3). */
#define XCR0_AVX 0x06u
#define XCR0_AVX512 0xe6u

static uint32_t
xcr0(void)
{
	uint32_t low, high;

	/* XGETBV by its bytes: the mnemonic's intrinsic needs a target attribute
	 * that not every compiler knows. */
	__asm__ volatile(".byte 0x0f, 0x01, 0xd0" : "=a"(low), "=d"(high) : "c"(0));
	(void)high;
	return low;
}

static uint32_t
find_features(void)
{
	uint32_t a, b, c, d, found = 0, saved = 0;

	if (!__get_cpuid(1, &a, &b, &c, &d))
		return 0;
	if ((c & (1u << 9)) && (c & (1u << 19)))
		found |= CPU_SSSE3_SSE41;
	if (c & (1u << 25))
		found |= CPU_AESNI;
	if (c & (1u << 27))		/* OSXSAVE: XGETBV may be used */
		saved = xcr0();
	if (!__get_cpuid_count(7, 0, &a, &b, &c, &d))
		return found;
	if (b & (1u << 29))
		found |= CPU_SHANI;
	if (b & (1u << 8))
		found |= CPU_MULX;
	if ((saved & XCR0_AVX) == XCR0_AVX) {
		if (b & (1u << 5))
			found |= CPU_AVX2;
		if (c & (1u << 9))
			found |= CPU_VAES;
	}
	if ((saved & XCR0_AVX512) == XCR0_AVX512 && (b & (1u << 16)) && (b & (1u << 17)) &&
	    (b & (1u << 30)) && (b & (1u << 31))) {
		found |= CPU_AVX512;
		if (b & (1u << 21))
			found |= CPU_IFMA;
	}
	return found;
}

#elif defined(CPU_AARCH64) && defined(__linux__)
#include <sys/auxv.h>

#define ARM64_HWCAP_AES (1ul << 3)
#define ARM64_HWCAP_SHA2 (1ul << 6)

static uint32_t
find_features(void)
{
	unsigned long capabilities = getauxval(AT_HWCAP);
	uint32_t found = 0;

	if (capabilities & ARM64_HWCAP_AES)
		found |= CPU_ARM_AES;
	if (capabilities & ARM64_HWCAP_SHA2)
		found |= CPU_ARM_SHA2;
	return found;
}

#else

static uint32_t
find_features(void)
{
	return 0;
}

#endif

uint32_t
cpu_features(void)
{
	static uint32_t features;
	static int known;

	if (!known) {
		features = find_features();
		known = 1;
	}
	return features;
}
