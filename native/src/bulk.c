/* Bulk operations on memories, large ones in steps: bounds are checked before anything is written; up to WHOLE bytes are written all
 * or not at all; of a larger operation an interrupt waits for the step that it meets, or for the last WHOLE bytes.
 * v: the guest's operands {to, value or from, count}; after an interrupt they are what is left to do, so that the instruction may be
 * tried again. Paid for by length before it runs; what is left is given back. */
#include <string.h>
#include "engine_state.h"
#include "store_internal.h"

enum { STEP = 1 << 20, WHOLE = 8 << 20 }; /* 0.1 and 1 ms; some 4 ms where the pages are new */

static bool interrupted(sbx_call_engine *engine, const sbx_instance *in, u64 left)
{
    if (!sbx_call_engine_interrupted(engine))
        return false;
    if (in->image->header->metered)
        engine->fuel += (s64)(left / 8);
    return true;
}

u32 sbx_bulk_fill(sbx_call_engine *engine, const sbx_instance *in, const sbx_memory *memory, u64 *v)
{
    u64 to = (u32)v[0], count = (u32)v[2];
    if (!sbx_memory_contains(memory, to, count))
        return SBX_TRAP_MEMORY_BOUNDS;
    for (; count > WHOLE; to += STEP) {
        memset(memory->base + to, (u8)v[1], STEP);
        count -= STEP;
        if (interrupted(engine, in, count)) {
            v[0] = to + STEP;
            v[2] = count;
            return SBX_BULK_INTERRUPTED;
        }
    }
    memset(memory->base + to, (u8)v[1], count);
    return 0;
}

u32 sbx_bulk_copy(sbx_call_engine *engine, const sbx_instance *in, const sbx_memory *target, const sbx_memory *source, u64 *v)
{
    u64 to = (u32)v[0], from = (u32)v[1], count = (u32)v[2];
    if (!sbx_memory_contains(target, to, count) || !sbx_memory_contains(source, from, count))
        return SBX_TRAP_MEMORY_BOUNDS;
    bool backward = to > from; /* the last step first, in case they overlap */
    while (count > WHOLE) {
        count -= STEP;
        u64 at = backward ? count : 0;
        memmove(target->base + to + at, source->base + from + at, STEP);
        if (!backward) {
            to += STEP;
            from += STEP;
        }
        if (interrupted(engine, in, count)) {
            v[0] = to;
            v[1] = from;
            v[2] = count;
            return SBX_BULK_INTERRUPTED;
        }
    }
    memmove(target->base + to, source->base + from, count);
    return 0;
}
