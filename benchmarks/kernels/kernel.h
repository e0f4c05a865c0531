/* What every kernel shares: the export, a native main for the reference checksum, a random sequence, a checksum.
 *
 * A kernel defines `u64 run(u32 n)`: n is the amount of work, the result a checksum that depends on all of it. It imports nothing and needs
 * no C library, so every engine runs the same bytes. With -DKERNEL_MAIN it becomes a native program that prints run(argv[1]). */
#ifndef KERNEL_H
#define KERNEL_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef signed short i16;
typedef signed int i32;
typedef signed long long i64;

#ifdef KERNEL_MAIN
#include <stdio.h>
#include <stdlib.h>
u64 run(u32 n);
int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    printf("%llu\n", run((u32)strtoul(argv[1], NULL, 10)));
    return 0;
}
#else
__attribute__((export_name("run"))) u64 run(u32 n);
#endif

/* The compiler must keep the call: what is measured is the call. */
#define NOINLINE __attribute__((noinline))

/* A call in tail position stays a call (clang would make a loop of one of fib's two). */
#ifdef __clang__
#define REAL_CALLS __attribute__((disable_tail_calls))
#else
#define REAL_CALLS
#endif

/* Numerical Recipes' linear congruential generator; the high half is used, the low bits have short periods. */
static inline u32 random_next(u64 *state)
{
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    return (u32)(*state >> 32);
}

/* One step of a 64-bit FNV-1a-like hash over whole words. */
static inline u64 mix(u64 hash, u64 value)
{
    hash ^= value;
    hash *= 1099511628211ull;
    return hash ^ (hash >> 29);
}

static const u64 MIX_START = 14695981039346656037ull;

/* The exact bits of a double, so that a checksum of floats compares exactly. */
static inline u64 bits_of(double value)
{
    union { double f; u64 u; } both = {.f = value};
    return both.u;
}

#endif
