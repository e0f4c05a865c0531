/* quicksort: n times 20,000 random integers, Hoare partition, insertion sort below 12: unpredictable compares, recursion. run(n) mixes samples. */
#include "kernel.h"

enum { COUNT = 20000 };
static i32 values[COUNT];

static NOINLINE void insertion_sort(i32 *first, i32 *last)
{
    for (i32 *at = first + 1; at <= last; at++) {
        i32 value = *at, *hole = at;
        while (hole > first && hole[-1] > value) {
            hole[0] = hole[-1];
            hole--;
        }
        *hole = value;
    }
}

static NOINLINE void sort(i32 *first, i32 *last)
{
    while (last - first > 12) {
        i32 pivot = first[(last - first) / 2], *low = first - 1, *high = last + 1;
        for (;;) {
            do low++; while (*low < pivot);
            do high--; while (*high > pivot);
            if (low >= high)
                break;
            i32 swap = *low;
            *low = *high;
            *high = swap;
        }
        if (high - first < last - high) {
            sort(first, high);
            first = high + 1;
        } else {
            sort(high + 1, last);
            last = high;
        }
    }
    insertion_sort(first, last);
}

u64 run(u32 n)
{
    u64 hash = MIX_START, seed = 3;
    for (u32 round = 0; round < n; round++) {
        for (u32 i = 0; i < COUNT; i++)
            values[i] = (i32)random_next(&seed);
        sort(values, values + COUNT - 1);
        for (u32 i = 1; i < COUNT; i++)
            if (values[i - 1] > values[i])
                return 0;
        for (u32 i = 0; i < COUNT; i += 997)
            hash = mix(hash, (u32)values[i]);
    }
    return hash;
}
