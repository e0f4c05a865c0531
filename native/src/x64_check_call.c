/* The checker's rules for calls: functions, stubs, what the run time is asked for. */
#include <stddef.h>
#include "engine_state.h"
#include "wasm_ops.h"
#include "x64_check.h"

static void clear_slots_from(x64_check *c, uint32_t slot)
{
    for (uint32_t w = slot / 64; w < c->words; w++)
        c->now_slots[w] &= w == slot / 64 ? (1ull << slot % 64) - 1 : 0;
}

static void forget_temporaries(x64_check *c)
{
    static const uint8_t lost[] = {RAX, RCX, RDX, RSI, RDI, R8};
    for (size_t k = 0; k < sizeof lost; k++)
        c->now.regs[lost[k]] = (x64_fact){ANY_VALUE, HOLDS_NUMBER, 0};
    memset(c->extent, 0, sizeof c->extent);
    c->fixed_extent = 0;
    c->compared.kind = COMPARED_NOTHING;
}

/* A function of that type: its parameters lie where its frame begins, its results come back there or in rax. */
static sbx_status call_typed(x64_check *c, uint32_t type_index)
{
    sbx_functype type = sbx_image_functype(c->image, type_index);
    uint32_t base = (uint32_t)c->now.frame / 8, most = type.params > type.results ? type.params : type.results;
    if ((uint64_t)base + most > c->record->frame_slots)
        return x64_reject(c, "a call whose values do not fit into the frame");
    for (uint32_t p = 0; p < type.params; p++)
        if (type.types[p] == SBX_I32 && !(c->now_slots[(base + p) / 64] >> (base + p) % 64 & 1))
            return x64_reject(c, "an i32 parameter that may be larger");
    forget_temporaries(c);
    clear_slots_from(c, base);
    if (type.results == 1) {
        if (type.types[type.params] == SBX_I32)
            c->now.regs[RAX].level = UP_TO_U32;
        return SBX_OK;
    }
    for (uint32_t r = 0; r < type.results; r++)
        if (type.types[type.params + r] == SBX_I32)
            c->now_slots[(base + r) / 64] |= 1ull << (base + r) % 64;
    return SBX_OK;
}

/* Whether the run time may be asked for the operation with these two immediates, and whether its result is an i32. */
static bool runtime_request(const sbx_image_header *h, uint64_t op, uint64_t one, uint64_t two, bool *small)
{
    *small = false;
    switch (op) {
    case SBX_WASM_memory_size: case SBX_WASM_memory_grow: *small = true; return one < h->memory_count;
    case SBX_WASM_memory_fill: return one < h->memory_count;
    case SBX_WASM_memory_copy: return one < h->memory_count && two < h->memory_count;
    case SBX_WASM_memory_init: return one < h->data_count && two < h->memory_count;
    case SBX_WASM_data_drop: return one < h->data_count;
    case SBX_WASM_elem_drop: return one < h->element_count;
    case SBX_WASM_table_size: case SBX_WASM_table_grow: *small = true; return one < h->table_count;
    case SBX_WASM_table_get: case SBX_WASM_table_set: case SBX_WASM_table_fill: return one < h->table_count;
    case SBX_WASM_table_copy: return one < h->table_count && two < h->table_count;
    case SBX_WASM_table_init: return one < h->element_count && two < h->table_count;
    case SBX_WASM_ref_func: return one < h->function_count;
    default: break;
    }
    const sbx_op_info *info = sbx_op_info_of((uint32_t)op);
    *small = info && info->result == SBX_I32;
    return info && (info->kind == SBX_KIND_UNARY || info->kind == SBX_KIND_BINARY);
}

static sbx_status call_runtime(x64_check *c)
{
    const x64_fact *op = &c->now.regs[RAX], *at = &c->now.regs[RDI], *one = &c->now.regs[RDX], *two = &c->now.regs[RSI];
    bool small;
    if (op->holds != HOLDS_CONSTANT || one->holds != HOLDS_CONSTANT || two->holds != HOLDS_CONSTANT ||
        at->holds != HOLDS_SLOT_ADDRESS || c->now.frame)
        return x64_reject(c, "a request to the run time that is not known");
    if (!runtime_request(c->image->header, op->value, one->value, two->value, &small))
        return x64_reject(c, "a request to the run time that it must not get");
    uint32_t slot = (uint32_t)at->value;
    forget_temporaries(c);
    clear_slots_from(c, slot);
    if (small)
        c->now_slots[slot / 64] |= 1ull << slot % 64;
    return SBX_OK;
}

static bool function_at(const x64_check *c, int64_t place, uint32_t *type_index)
{
    const sbx_image_function *functions = SBX_IMAGE_AT(c->image, FUNCTIONS, sbx_image_function);
    uint32_t low = c->image->header->imported_functions, high = c->image->header->function_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (functions[middle].machine_offset == place) {
            *type_index = functions[middle].type_index;
            return true;
        }
        if (functions[middle].machine_offset < place)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

sbx_status x64_check_call(x64_check *c, const x64_instruction *i)
{
    const sbx_machine_header *h = c->header;
    const x64_fact *rax = &c->now.regs[RAX];
    if (i->form->effect == X64_CALLS_INDIRECT) {
        const x64_rm *m = &i->rm;
        bool known = m->memory && !i->relative && m->base == RAX && m->index == NO_REG && rax->holds == HOLDS_FUNCTION &&
            m->disp == (int32_t)offsetof(sbx_function, machine);
        return known ? call_typed(c, (uint32_t)rax->value)
            : x64_reject(c, "an indirect call of what is no function of a compared type");
    }
    int64_t place = (int64_t)c->record->machine_offset + c->at + i->length + i->immediate;
    uint32_t type_index;
    if (place == h->trap) {
        c->live = false;
        return SBX_OK;
    }
    if (place == h->poll || (place == h->fuel && c->image->header->metered)) { /* they come back with every register as it was */
        for (int r = 0; r < 16; r++)
            if (c->now.regs[r].holds >= HOLDS_ENGINE) /* but a table may have grown, and moved, in between */
                c->now.regs[r].holds = HOLDS_NUMBER;
        return SBX_OK;
    }
    if (place == h->runtime)
        return call_runtime(c);
    if (place == h->call)
        return rax->holds == HOLDS_FUNCTION ? call_typed(c, (uint32_t)rax->value)
            : x64_reject(c, "a call of what is no function of a compared type");
    return function_at(c, place, &type_index) ? call_typed(c, type_index)
        : x64_reject(c, "a call to a place that is neither a function nor a stub");
}
