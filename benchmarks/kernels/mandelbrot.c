/* mandelbrot: n x n points, at most 64 rounds each: a tight f64 loop with a data-dependent exit. run(n) mixes the counts of each row. */
#include "kernel.h"

static NOINLINE u32 escape(double cx, double cy)
{
    double x = 0, y = 0;
    u32 round = 0;
    while (round < 64) {
        double xx = x * x, yy = y * y;
        if (xx + yy > 4.0)
            break;
        y = 2.0 * x * y + cy;
        x = xx - yy + cx;
        round++;
    }
    return round;
}

u64 run(u32 n)
{
    u64 hash = MIX_START;
    double step = 3.0 / n;
    for (u32 row = 0; row < n; row++) {
        u32 sum = 0;
        for (u32 column = 0; column < n; column++)
            sum += escape(-2.2 + step * column, -1.5 + step * row);
        hash = mix(hash, sum);
    }
    return hash;
}
