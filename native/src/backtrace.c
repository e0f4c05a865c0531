/* Backtraces: from return links and pc -> wasm offset maps to function names and offsets. */
#include "code_map.h"
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

/* `at` names the operation, or with `behind` the place behind a call. */
static bool describe(const sbx_instance *instance, const u16 *at, bool behind, sbx_backtrace_frame *frame)
{
    const sbx_image *image = instance->image;
    if (!image || at < instance->code)
        return false;
    uint64_t unit = (uint64_t)(at - instance->code) - behind;
    if (unit >= image->header->sections[SBX_IMAGE_CODE].bytes / sizeof *at)
        return false;
    uint32_t index = sbx_function_at(image, offsetof(sbx_image_function, code_offset), unit);
    const sbx_image_function *function = SBX_IMAGE_AT(image, FUNCTIONS, sbx_image_function) + index;
    *frame = (sbx_backtrace_frame){instance, index, sbx_map_find(image, function, unit - function->code_offset),
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
