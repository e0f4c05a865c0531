/* matmul: n products of 64 x 64 matrices of f64, rows times columns as one writes it first: loads, multiplies, adds. run(n) mixes the bits. */
#include "kernel.h"

enum { SIZE = 64 };
static double left[SIZE][SIZE], right[SIZE][SIZE], product[SIZE][SIZE];

static NOINLINE void multiply(void)
{
    for (u32 i = 0; i < SIZE; i++)
        for (u32 j = 0; j < SIZE; j++) {
            double sum = 0;
            for (u32 k = 0; k < SIZE; k++)
                sum += left[i][k] * right[k][j];
            product[i][j] = sum;
        }
}

u64 run(u32 n)
{
    u64 seed = 2;
    for (u32 i = 0; i < SIZE; i++)
        for (u32 j = 0; j < SIZE; j++) {
            left[i][j] = (double)(i32)random_next(&seed) * 0x1p-32;
            right[i][j] = (double)(i32)random_next(&seed) * 0x1p-32;
        }
    for (u32 round = 0; round < n; round++) {
        multiply();
        for (u32 i = 0; i < SIZE; i++)
            left[i][round % SIZE] = product[round % SIZE][i] * 0.5;
    }
    u64 hash = MIX_START;
    for (u32 i = 0; i < SIZE; i++)
        for (u32 j = 0; j < SIZE; j++)
            hash = mix(hash, bits_of(product[i][j]));
    return hash;
}
