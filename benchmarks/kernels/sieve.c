/* sieve: Eratosthenes over 256 KiB of bytes, n times: byte stores with a stride, then byte loads. run(n) mixes the counts. */
#include "kernel.h"

enum { LIMIT = 256 * 1024 };
static u8 composite[LIMIT];

static NOINLINE u32 sieve(u32 limit)
{
    u32 count = 0;
    for (u32 i = 0; i < limit; i++)
        composite[i] = 0;
    for (u32 i = 2; i * i < limit; i++)
        if (!composite[i])
            for (u32 j = i * i; j < limit; j += i)
                composite[j] = 1;
    for (u32 i = 2; i < limit; i++)
        count += !composite[i];
    return count;
}

u64 run(u32 n)
{
    u64 hash = MIX_START;
    for (u32 round = 0; round < n; round++)
        hash = mix(hash, sieve(LIMIT - round % 1024));
    return hash;
}
