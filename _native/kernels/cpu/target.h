#ifndef CPU_TARGET_H
#define CPU_TARGET_H

/*
 * Instruction sets are enabled per function, by these attributes, and chosen at
 * run time by cpu_features(): the build has no -m flags, so one binary serves
 * every CPU of its architecture.
 */

#if defined(__x86_64__) && defined(__GNUC__)
#define CPU_X86_64 1
#define TARGET_AESNI __attribute__((target("sse4.1,ssse3,aes")))
#define TARGET_SHANI __attribute__((target("sse4.1,ssse3,sha")))
#define TARGET_SHANI_AVX512 __attribute__((target("sha,avx512f,avx512bw,avx512vl")))
#define TARGET_AVX2 __attribute__((target("avx2")))
#define TARGET_VAES_AVX2 __attribute__((target("avx2,aes,vaes")))
#define TARGET_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl")))
#define TARGET_VAES_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,aes,vaes")))
#define TARGET_MULX __attribute__((target("bmi2")))
#define TARGET_IFMA __attribute__((target("avx512f,avx512vl,avx512dq,avx512ifma")))
#endif

#if defined(__aarch64__) && !defined(__AARCH64EB__) && defined(__GNUC__)
#define CPU_AARCH64 1
/* Undefined where the compiler has the intrinsics only under a flag that it was not given: clang
 * before 16. */
#if defined(__ARM_FEATURE_AES) && defined(__ARM_FEATURE_SHA2)
#define TARGET_ARMCE
#elif !defined(__clang__) || __clang_major__ >= 16
#define TARGET_ARMCE __attribute__((target("+crypto")))
#endif
#endif

#endif
