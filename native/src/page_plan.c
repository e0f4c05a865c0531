/* Pre-initialised pages: turns the active data segments of a module into page runs that an instance maps copy-on-write. */
#include "image_internal.h"
#include "wasm_ops.h"
#include <string.h>

/* Each run costs an instance one mapping, and a process may have some 65,000 of them. */
#define MAX_RUNS 64u
/* Runs closer than this are joined: a few zero pages in the image are cheaper than one more mapping. */
#define FIRST_GAP (4u * SBX_IMAGE_PAGE)
/* Hostile segments are one byte each, a page apart: what the pages may cost is bounded by what the segments hold. */
#define MAX_BYTES (256ull << 20)
#define FREE_BYTES (1ull << 20)

static bool run_less(const void *a, const void *b, const void *context)
{
    (void)context;
    return ((const sbx_image_run *)a)->memory_offset < ((const sbx_image_run *)b)->memory_offset;
}

/* True when every active data segment surely lies inside a memory 0 that is the module's own. */
static bool segments_are_static(const sbx_module *module, uint32_t *active, uint64_t *bytes)
{
    *active = 0;
    *bytes = 0;
    for (uint32_t i = 0; i < module->data_count; i++) {
        const sbx_data_segment *segment = &module->data[i];
        if (segment->mode != SBX_SEGMENT_ACTIVE)
            continue;
        if (segment->memory != 0 || module->memory_count == 0 || module->imported_memories > 0)
            return false;
        uint64_t size = module->memories[0].limits.min * SBX_PAGE_SIZE;
        if (segment->offset.opcode != SBX_WASM_i32_const || segment->length > size
            || segment->offset.bits > size - segment->length)
            return false;
        *active += segment->length > 0;
        *bytes += segment->length;
    }
    return true;
}

/* An element segment that traps ends the instantiation before the data segments are applied and dropped; functions that earlier
 * segments put into an imported table may then still run memory.init on active data segments, whose bytes must be there. */
static bool elements_may_trap(const sbx_module *module)
{
    for (uint32_t i = 0; i < module->element_count; i++) {
        const sbx_element_segment *segment = &module->elements[i];
        if (segment->mode != SBX_SEGMENT_ACTIVE)
            continue;
        uint64_t size = module->tables[segment->table].limits.min; /* of imported ones too: they are at least as large */
        if (segment->offset.opcode != SBX_WASM_i32_const || segment->count > size || segment->offset.bits > size - segment->count)
            return true;
    }
    return false;
}

/* Joins sorted runs that are at most `gap` apart, in place; returns how many are left. */
static uint32_t join(sbx_image_run *runs, uint32_t count, uint64_t gap)
{
    uint32_t kept = 0;
    for (uint32_t i = 1; i < count; i++) {
        uint64_t end = runs[kept].memory_offset + runs[kept].length;
        uint64_t next_end = runs[i].memory_offset + runs[i].length;
        if (runs[i].memory_offset > end && runs[i].memory_offset - end > gap)
            runs[++kept] = runs[i];
        else if (next_end > end)
            runs[kept].length = next_end - runs[kept].memory_offset;
    }
    return kept + 1;
}

static void collect(const sbx_module *module, sbx_image_run *runs)
{
    for (uint32_t i = 0; i < module->data_count; i++) {
        const sbx_data_segment *segment = &module->data[i];
        if (segment->mode != SBX_SEGMENT_ACTIVE || segment->length == 0)
            continue;
        uint64_t first = segment->offset.bits / SBX_IMAGE_PAGE * SBX_IMAGE_PAGE;
        uint64_t end = segment->offset.bits + segment->length;
        end = (end + SBX_IMAGE_PAGE - 1) / SBX_IMAGE_PAGE * SBX_IMAGE_PAGE;
        *runs++ = (sbx_image_run){first, end - first, 0};
    }
}

sbx_status sbx_page_plan_make(const sbx_module *module, sbx_page_plan *plan, sbx_error *err)
{
    uint32_t active;
    uint64_t bytes;
    memset(plan, 0, sizeof *plan);
    if (!segments_are_static(module, &active, &bytes) || active == 0)
        return SBX_OK;
    sbx_image_run *runs = sbx_calloc(active, sizeof *runs);
    if (!runs)
        return sbx_fail(err, SBX_NO_MEMORY, SBX_NO_OFFSET, "no memory for %u data segments", active);
    collect(module, runs);
    sbx_heap_sort(runs, active, sizeof *runs, run_less, NULL);
    uint32_t count = active;
    for (uint64_t gap = FIRST_GAP; (count = join(runs, count, gap)) > MAX_RUNS; gap *= 2)
        continue; /* ends: a gap of 4 GiB joins everything */
    uint64_t total = 0, allowed = 4 * bytes + FREE_BYTES;
    for (uint32_t i = 0; i < count; i++) {
        runs[i].pages_offset = total;
        total += runs[i].length;
    }
    if (total > MAX_BYTES || total > allowed) {
        sbx_free(runs);
        return SBX_OK;
    }
    *plan = (sbx_page_plan){.usable = true, .keep_bytes = module->has_data_count && elements_may_trap(module),
                            .run_count = count, .runs = runs, .bytes = total};
    return SBX_OK;
}

/* The run that holds `address`: the last one that begins at or before it. */
static const sbx_image_run *run_of(const sbx_page_plan *plan, uint64_t address)
{
    uint32_t low = 0, high = plan->run_count;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (plan->runs[middle].memory_offset <= address)
            low = middle;
        else
            high = middle;
    }
    return &plan->runs[low];
}

/* No segment begins before the end of the one before it: what compilers emit. */
static bool ascending(const sbx_module *module)
{
    uint64_t end = 0;
    for (uint32_t i = 0; i < module->data_count; i++) {
        const sbx_data_segment *segment = &module->data[i];
        if (segment->mode != SBX_SEGMENT_ACTIVE || segment->length == 0)
            continue;
        if (segment->offset.bits < end)
            return false;
        end = segment->offset.bits + segment->length;
    }
    return true;
}

void sbx_page_plan_fill(const sbx_page_plan *plan, const sbx_module *module, uint8_t *pages)
{
    if (!plan->usable)
        return;
    bool in_order = ascending(module);
    uint64_t filled = 0;
    if (!in_order)
        memset(pages, 0, plan->bytes);
    for (uint32_t i = 0; i < module->data_count; i++) { /* in order: later segments overwrite earlier ones */
        const sbx_data_segment *segment = &module->data[i];
        if (segment->mode != SBX_SEGMENT_ACTIVE || segment->length == 0)
            continue;
        const sbx_image_run *run = run_of(plan, segment->offset.bits);
        uint64_t place = run->pages_offset + (segment->offset.bits - run->memory_offset);
        if (in_order)
            memset(pages + filled, 0, place - filled);
        memcpy(pages + place, segment->bytes, segment->length);
        filled = place + segment->length;
    }
    if (in_order)
        memset(pages + filled, 0, plan->bytes - filled);
}

void sbx_page_plan_release(sbx_page_plan *plan)
{
    sbx_free(plan->runs);
    memset(plan, 0, sizeof *plan);
}
