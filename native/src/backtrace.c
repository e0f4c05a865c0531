/* Backtraces: from return links and pc -> wasm offset maps to function names and offsets. */
#include "machine.h"

void sbx_trace_here(sbx_call_engine *engine, const sbx_activation *activation)
{
    engine->trace_pc = engine->pc;
    engine->trace_instance = engine->instance;
    engine->trace_top = engine->csp;
    engine->trace_base = activation->base;
    engine->trace_machine = activation->function->machine != NULL;
    if (engine->trace_machine)
        sbx_machine_trace(engine);
}

/* The own function whose code holds the unit: functions lie in order of their index. */
static uint32_t function_at(const sbx_image *image, uint64_t unit)
{
    const sbx_image_function *functions = SBX_IMAGE_AT(image, FUNCTIONS, sbx_image_function);
    uint32_t low = image->header->imported_functions, high = image->header->function_count;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (functions[middle].code_offset <= unit)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static uint64_t leb(const u8 **at, const u8 *end)
{
    uint64_t value = 0;
    for (u32 shift = 0; *at < end && shift < 63; shift += 7) {
        u8 byte = *(*at)++;
        value |= (uint64_t)(byte & 0x7F) << shift;
        if (!(byte & 0x80))
            break;
    }
    return value;
}

/* The wasm offset of the last mapped operation at or before `unit` (counted from the function's start). */
static uint32_t wasm_offset(const sbx_image *image, const sbx_image_function *function, uint64_t unit)
{
    const u8 *at = SBX_IMAGE_AT(image, MAP, u8) + function->map_offset, *end = at + function->map_length;
    uint64_t code = 0, wasm = function->wasm_offset, found = wasm;
    while (at < end) {
        code += leb(&at, end);
        wasm += leb(&at, end);
        if (code > unit)
            break;
        found = wasm;
    }
    return (uint32_t)found;
}

/* `at` names the operation, or with `behind` the place behind a call. */
static bool describe(const sbx_instance *instance, const u16 *at, bool behind, sbx_backtrace_frame *frame)
{
    const sbx_image *image = instance->image;
    if (!image || at < instance->code)
        return false;
    uint64_t unit = (uint64_t)(at - instance->code) - behind;
    if (unit >= image->header->sections[SBX_IMAGE_CODE].bytes / sizeof *at)
        return false;
    uint32_t index = function_at(image, unit);
    const sbx_image_function *function = SBX_IMAGE_AT(image, FUNCTIONS, sbx_image_function) + index;
    *frame = (sbx_backtrace_frame){instance, index, wasm_offset(image, function, unit - function->code_offset),
                                   sbx_image_name_of(image, function->name)};
    return true;
}

size_t sbx_call_engine_backtrace(const sbx_call_engine *engine, sbx_backtrace_frame *frames, size_t capacity)
{
    const sbx_instance *instance = engine->trace_instance;
    size_t count = 0;
    sbx_backtrace_frame frame;
    if (engine->trace_machine)
        return sbx_machine_backtrace(engine, frames, capacity);
    if (!engine->trace_pc || !instance)
        return 0;
    if (describe(instance, engine->trace_pc, false, &frame) && count++ < capacity)
        frames[count - 1] = frame;
    for (const sbx_frame *link = engine->trace_top; link-- > engine->trace_base;) {
        if (link->pc == sbx_cross_code) {
            instance = (const sbx_instance *)(const void *)link->fp;
            continue;
        }
        if (describe(instance, link->pc, true, &frame) && count++ < capacity)
            frames[count - 1] = frame;
    }
    return count;
}
