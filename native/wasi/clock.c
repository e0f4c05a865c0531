/* clock_res_get, clock_time_get, and time as the guest sees it: virtual, coarse or full. */
#include "wasi_internal.h"
#include <time.h>

#define SECOND UINT64_C(1000000000)
#define DEFAULT_STEP 1000

static uint64_t saturating_add(uint64_t a, uint64_t b) { return a > UINT64_MAX - b ? UINT64_MAX : a + b; }

/* Nanoseconds since the clock's zero; before it is 0, beyond 2^64-1 (year 2554) saturates. */
static uint64_t nanoseconds(const struct timespec *time)
{
    if (time->tv_sec < 0)
        return 0;
    if ((uint64_t)time->tv_sec > UINT64_MAX / SECOND - 1)
        return UINT64_MAX;
    return (uint64_t)time->tv_sec * SECOND + (uint64_t)time->tv_nsec;
}

static uint64_t host_clock(clockid_t clock)
{
    struct timespec now = {0};
    clock_gettime(clock, &now);
    return nanoseconds(&now);
}

void sbx_wasi_clock_virtual(sbx_wasi *wasi, uint64_t start, uint64_t step)
{
    wasi->clocks = (sbx_wasi_clocks){.mode = SBX_WASI_CLOCKS_VIRTUAL,
                                     .start = start,
                                     .step = step ? step : DEFAULT_STEP,
                                     .real_resolution = SECOND,
                                     .monotonic_resolution = 1};
}

void sbx_wasi_clock_coarse(sbx_wasi *wasi, uint64_t realtime, uint64_t monotonic)
{
    wasi->clocks = (sbx_wasi_clocks){.mode = SBX_WASI_CLOCKS_HOST,
                                     .real_resolution = realtime ? realtime : 1,
                                     .monotonic_resolution = monotonic ? monotonic : 1,
                                     .monotonic_base = host_clock(CLOCK_MONOTONIC)};
}

void sbx_wasi_clock_full(sbx_wasi *wasi) { sbx_wasi_clock_coarse(wasi, 1, 1); }

bool sbx_wasi_clock_known(uint32_t clock) { return clock <= SBX_WASI_CLOCK_THREAD_CPUTIME; }

static uint64_t resolution_of(const sbx_wasi_clocks *clocks, uint32_t clock)
{
    return clock == SBX_WASI_CLOCK_REALTIME ? clocks->real_resolution : clocks->monotonic_resolution;
}

/* The host's clock before it is rounded. */
static uint64_t exact(const sbx_wasi_clocks *clocks, uint32_t clock)
{
    if (clock == SBX_WASI_CLOCK_REALTIME)
        return host_clock(CLOCK_REALTIME);
    return host_clock(CLOCK_MONOTONIC) - clocks->monotonic_base;
}

uint64_t sbx_wasi_clock_peek(const sbx_wasi *wasi, uint32_t clock)
{
    const sbx_wasi_clocks *clocks = &wasi->clocks;
    if (clocks->mode == SBX_WASI_CLOCKS_VIRTUAL)
        return clock == SBX_WASI_CLOCK_REALTIME ? saturating_add(clocks->start, clocks->ticks) : clocks->ticks;
    uint64_t now = exact(clocks, clock);
    return now - now % resolution_of(clocks, clock);
}

uint64_t sbx_wasi_clock_read(sbx_wasi *wasi, uint32_t clock)
{
    uint64_t now = sbx_wasi_clock_peek(wasi, clock);
    if (wasi->clocks.mode == SBX_WASI_CLOCKS_VIRTUAL)
        sbx_wasi_clock_advance(wasi, wasi->clocks.step);
    return now;
}

void sbx_wasi_clock_advance(sbx_wasi *wasi, uint64_t ns) { wasi->clocks.ticks = saturating_add(wasi->clocks.ticks, ns); }

/* Counted from the exact time, so that a sleep is never shorter than asked. */
uint64_t sbx_wasi_clock_deadline(const sbx_wasi *wasi, uint32_t clock, uint64_t timeout)
{
    bool is_virtual = wasi->clocks.mode == SBX_WASI_CLOCKS_VIRTUAL;
    return saturating_add(is_virtual ? sbx_wasi_clock_peek(wasi, clock) : exact(&wasi->clocks, clock), timeout);
}

/* A coarse clock reaches a deadline at the next multiple of its resolution: a sleep tells no more than reading it does. */
uint64_t sbx_wasi_clock_until(const sbx_wasi *wasi, uint32_t clock, uint64_t deadline)
{
    const sbx_wasi_clocks *clocks = &wasi->clocks;
    uint64_t now;
    if (clocks->mode == SBX_WASI_CLOCKS_VIRTUAL) {
        now = sbx_wasi_clock_peek(wasi, clock);
    } else {
        uint64_t resolution = resolution_of(clocks, clock), over = deadline % resolution;
        if (over)
            deadline = saturating_add(deadline, resolution - over);
        now = exact(clocks, clock);
    }
    return deadline > now ? deadline - now : 0;
}

uint64_t sbx_wasi_file_time(const sbx_wasi *wasi, const struct timespec *time)
{
    uint64_t ns = nanoseconds(time);
    return ns - ns % wasi->clocks.real_resolution;
}

/* "Now" is what the guest's own clock says, unless that is the host's to the nanosecond. */
static sbx_wasi_result one_time(const sbx_wasi *wasi, uint64_t value, bool set, bool now, struct timespec *out)
{
    if (set && now)
        return SBX_WASI_INVAL;
    *out = (struct timespec){.tv_nsec = UTIME_OMIT};
    if (now && wasi->clocks.mode == SBX_WASI_CLOCKS_HOST && wasi->clocks.real_resolution == 1)
        out->tv_nsec = UTIME_NOW;
    else if (set || now) {
        uint64_t ns = now ? sbx_wasi_clock_peek(wasi, SBX_WASI_CLOCK_REALTIME) : value;
        *out = (struct timespec){.tv_sec = (time_t)(ns / SECOND), .tv_nsec = (long)(ns % SECOND)};
    }
    return SBX_WASI_SUCCESS;
}

sbx_wasi_result sbx_wasi_set_times(sbx_wasi *wasi, uint64_t atim, uint64_t mtim, uint32_t fst_flags, struct timespec out[2])
{
    enum { ATIM = 1, ATIM_NOW = 2, MTIM = 4, MTIM_NOW = 8 };
    if (fst_flags > 15)
        return SBX_WASI_INVAL;
    sbx_wasi_result result = one_time(wasi, atim, fst_flags & ATIM, fst_flags & ATIM_NOW, &out[0]);
    return result ? result : one_time(wasi, mtim, fst_flags & MTIM, fst_flags & MTIM_NOW, &out[1]);
}

/* Arguments: clock, result u64. */
sbx_wasi_result sbx_wasi_clock_res_get(sbx_wasi_call *call)
{
    uint8_t *result = sbx_wasi_guest(call, sbx_wasi_u32(call, 1), 8);
    uint32_t clock = sbx_wasi_u32(call, 0);
    const sbx_wasi_clocks *clocks = &call->wasi->clocks;
    if (!sbx_wasi_clock_known(clock))
        return SBX_WASI_INVAL;
    if (!result)
        return SBX_WASI_FAULT;
    sbx_wasi_store64(result, clocks->mode == SBX_WASI_CLOCKS_VIRTUAL ? clocks->step : resolution_of(clocks, clock));
    return SBX_WASI_SUCCESS;
}

/* Arguments: clock, precision u64 (the lag that the guest would bear; ours is never larger than the resolution), result u64. */
sbx_wasi_result sbx_wasi_clock_time_get(sbx_wasi_call *call)
{
    uint8_t *result = sbx_wasi_guest(call, sbx_wasi_u32(call, 2), 8);
    uint32_t clock = sbx_wasi_u32(call, 0);
    if (!sbx_wasi_clock_known(clock))
        return SBX_WASI_INVAL;
    if (!result)
        return SBX_WASI_FAULT;
    sbx_wasi_store64(result, sbx_wasi_clock_read(call->wasi, clock));
    return SBX_WASI_SUCCESS;
}
