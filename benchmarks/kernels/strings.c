/* strings: copy, fill, measure, search and compare text by bytes and in bulk, as a C library's string functions do. run(n) mixes what they find. */
#include "kernel.h"

enum { SIZE = 16384 };
static u8 text[SIZE], copy[SIZE];

static NOINLINE u32 length(const u8 *at)
{
    const u8 *start = at;
    while (*at)
        at++;
    return (u32)(at - start);
}

static NOINLINE i32 compare(const u8 *a, const u8 *b)
{
    while (*a && *a == *b)
        a++, b++;
    return (i32)*a - (i32)*b;
}

/* Horspool's search: the distance by which a byte at the end of the window lets it move. */
static NOINLINE u32 find_all(const u8 *haystack, u32 size, const u8 *needle, u32 count)
{
    u8 skip[256];
    u32 found = 0;
    for (u32 i = 0; i < 256; i++)
        skip[i] = (u8)count;
    for (u32 i = 0; i + 1 < count; i++)
        skip[needle[i]] = (u8)(count - 1 - i);
    for (u32 at = 0; at + count <= size; at += skip[haystack[at + count - 1]]) {
        u32 i = 0;
        while (i < count && haystack[at + i] == needle[i])
            i++;
        found += i == count;
    }
    return found;
}

static NOINLINE u32 upper_words(u8 *at)
{
    u32 words = 0;
    for (u8 before = ' '; *at; before = *at++)
        if (before == ' ' && *at >= 'a' && *at <= 'z') {
            *at = (u8)(*at - 32);
            words++;
        }
    return words;
}

u64 run(u32 n)
{
    u64 hash = MIX_START, seed = 5;
    for (u32 i = 0; i < SIZE - 1; i++) {
        u32 draw = random_next(&seed) >> 8;
        text[i] = draw % 6 == 0 ? ' ' : (u8)('a' + draw % 5);
    }
    for (u32 round = 0; round < n; round++) {
        u32 from = round * 7 % 1024;
        __builtin_memcpy(copy, text, SIZE);
        __builtin_memset(copy + from, 'a' + round % 5, 64);
        hash = mix(hash, length(copy + from));
        hash = mix(hash, (u32)compare(copy, text));
        hash = mix(hash, find_all(copy, SIZE - 1, text + from + 100, 3 + round % 4));
        hash = mix(hash, upper_words(copy));
        __builtin_memmove(copy + 1, copy, SIZE - 2);
        hash = mix(hash, copy[SIZE / 2]);
    }
    return hash;
}
