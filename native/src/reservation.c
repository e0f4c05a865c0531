/* Reservations: the address space of guarded memories, a few of which are kept for the next ones. Nothing of their contents is. */
#include "store_internal.h"
#include <sys/mman.h>

enum { KEPT = 32 };
static void *kept[KEPT]; /* atomic */

void *sbx_reservation_take(void)
{
    for (int i = 0; i < KEPT; i++) {
        void *base = __atomic_load_n(&kept[i], __ATOMIC_RELAXED) ? __atomic_exchange_n(&kept[i], NULL, __ATOMIC_ACQUIRE) : NULL;
        if (base)
            return base;
    }
    void *base = mmap(NULL, SBX_GUARDED_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return base == MAP_FAILED ? NULL : base;
}

/* What was mapped in it is replaced by what nobody may touch: one system call on what was used, where unmapping goes over all of it. */
static bool clean(void *base, uint64_t used)
{
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
    return !used || mmap(base, used, PROT_NONE, flags, -1, 0) == base;
}

void sbx_reservation_give(void *base, uint64_t used)
{
    for (int i = 0; i < KEPT; i++) {
        void *nothing = NULL;
        if (__atomic_load_n(&kept[i], __ATOMIC_RELAXED))
            continue;
        if (!clean(base, used))
            break;
        used = 0; /* should another thread take the place first */
        if (__atomic_compare_exchange_n(&kept[i], &nothing, base, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
            return;
    }
    munmap(base, SBX_GUARDED_BYTES);
}
