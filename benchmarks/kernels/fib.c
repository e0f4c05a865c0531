/* fib: doubly recursive Fibonacci: nothing but calls, returns, compares and adds. run(n) = fib(n). */
#include "kernel.h"

static NOINLINE REAL_CALLS u32 fib(u32 n)
{
    if (n < 2)
        return n;
    return fib(n - 1) + fib(n - 2);
}

u64 run(u32 n)
{
    return fib(n);
}
