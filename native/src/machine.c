/* The compiled tier at run time: entering, what its stubs call in C, backtraces over its stack, faults in its accesses. */
#include <stddef.h>
#include <sys/mman.h>
#include <ucontext.h>
#include "code_map.h"
#include "machine.h"

#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#define TRAP(cause) return SBX_TRAP_##cause
#include "numeric.h"
#include "wasm_ops.h"

#if defined(__x86_64__) && defined(__linux__)

static __thread sbx_call_engine *running;

static const sbx_machine_header *header_of(const sbx_image *image) { return (const sbx_machine_header *)(const void *)image->machine; }

/* A numeric instruction over values[0] and values[1]: for what the compiler does not emit itself. From the operation table. */
static u32 evaluate(u32 opcode, u64 *v)
{
    switch (opcode) {
#include "numeric_eval.h"
    }
    return SBX_TRAP_UNREACHABLE; /* the compiler asks for rows of the table only */
}

static bool pay(sbx_call_engine *engine, const sbx_instance *in, u64 amount)
{
    return !in->image->header->metered || sbx_call_engine_charge(engine, amount);
}

static u32 bulk(sbx_call_engine *engine, sbx_instance *in, u32 op, u64 *v, u32 one, u32 two)
{
    u32 to = (u32)v[0], n = (u32)v[2];
    switch (op) {
    case SBX_WASM_memory_fill: return sbx_bulk_fill(engine, in, in->memories[one], v);
    case SBX_WASM_memory_copy: return sbx_bulk_copy(engine, in, in->memories[one], in->memories[two], v);
    case SBX_WASM_memory_init: return sbx_memory_init(in, one, in->memories[two], to, (u32)v[1], n);
    case SBX_WASM_table_fill: return sbx_table_fill(in->tables[one], to, v[1], n);
    case SBX_WASM_table_copy: return sbx_table_copy(in->tables[one], in->tables[two], to, (u32)v[1], n);
    default: return sbx_table_init(in, one, two, to, (u32)v[1], n);
    }
}

static u32 table_access(const sbx_table *table, u32 op, u64 *v)
{
    u32 index = (u32)v[0];
    if (index >= table->size)
        return SBX_TRAP_TABLE_BOUNDS;
    if (op == SBX_WASM_table_get)
        v[0] = table->elements[index];
    else
        table->elements[index] = v[1];
    return 0;
}

/* What the run-time stub calls: a trap cause, 0, SBX_RUNTIME_OUT_OF_FUEL or SBX_BULK_INTERRUPTED. Costs are those of interp.c. */
static u32 runtime(sbx_call_engine *engine, sbx_instance *in, u32 op, u64 *v, u32 one, u32 two)
{
    bool of_memory = op == SBX_WASM_memory_fill || op == SBX_WASM_memory_copy || op == SBX_WASM_memory_init;
    switch (op) {
    case SBX_WASM_memory_size: v[0] = in->memories[one]->size / SBX_PAGE_SIZE; return 0;
    case SBX_WASM_memory_grow: v[0] = (u32)sbx_memory_grow(in->memories[one], (u32)v[0]); return 0;
    case SBX_WASM_memory_fill: case SBX_WASM_memory_copy: case SBX_WASM_memory_init:
    case SBX_WASM_table_fill: case SBX_WASM_table_copy: case SBX_WASM_table_init:
        return pay(engine, in, of_memory ? (u32)v[2] / 8 : (u32)v[2]) ? bulk(engine, in, op, v, one, two) : SBX_RUNTIME_OUT_OF_FUEL;
    case SBX_WASM_data_drop: sbx_data_drop(in, one); return 0;
    case SBX_WASM_elem_drop: sbx_element_drop(in, one); return 0;
    case SBX_WASM_table_get: case SBX_WASM_table_set: return table_access(in->tables[one], op, v);
    case SBX_WASM_table_size: v[0] = (u32)in->tables[one]->size; return 0;
    case SBX_WASM_table_grow:
        if (!pay(engine, in, (u32)v[1]))
            return SBX_RUNTIME_OUT_OF_FUEL;
        v[0] = (u32)sbx_table_grow(in->tables[one], (u32)v[1], v[0]);
        return 0;
    case SBX_WASM_ref_func: v[0] = (u64)(uintptr_t)sbx_instance_function(in, one); return 0;
    default: return evaluate(op, v);
    }
}

/* A function in C, or of the embedder. Also tried again when such a call was interrupted. */
static u32 host(sbx_call_engine *engine)
{
    sbx_function *function = engine->callee;
    if (function->kind == SBX_FUNCTION_NATIVE)
        return function->native(engine, engine->instance, function->data, engine->callee_fp);
    engine->pending = (sbx_pending_call){function, engine->instance, engine->callee_fp};
    return SBX_HOST_CALL;
}

void sbx_machine_init(sbx_call_engine *engine)
{
    engine->host_entry = host;
    engine->runtime_entry = runtime;
}

void sbx_machine_run(sbx_call_engine *engine, const sbx_function *function)
{
    const sbx_image *image = function->instance->image;
    union { const u8 *code; void (*enter)(sbx_call_engine *, const u8 *); } entry = {image->machine + header_of(image)->enter};
    sbx_call_engine *outer = running;
    engine->mem = engine->instance->memory0 ? engine->instance->memory0->base : NULL;
    engine->instance->engine = engine;
    running = engine;
    entry.enter(engine, function->machine);
    running = outer;
}

/* Backtraces. */

static u32 skipped(const sbx_call_engine *engine, const sbx_image *image)
{
    switch (engine->resume) {
    case SBX_RESUME_ALL: return header_of(image)->all_bytes;
    case SBX_RESUME_HOST: return SBX_PINS_BYTES;
    case SBX_RESUME_RUNTIME: return SBX_RUNTIME_BYTES;
    default: return 0;
    }
}

void sbx_machine_trace(sbx_call_engine *engine)
{
    engine->trace_sp = (const u64 *)(const void *)(engine->guest_sp + skipped(engine, engine->instance->image));
}

/* Only a pointer that is in the store's list is followed. */
static const sbx_instance *known(const sbx_instance *first, u64 pointer)
{
    for (const sbx_instance *i = first; i; i = i->next)
        if ((u64)(uintptr_t)i == pointer)
            return i;
    return NULL;
}

/* A call into another instance leaves a return address in the caller's stub, and above it the caller's instance. */
static const sbx_instance *crossing(const sbx_instance *callee, const u64 *at)
{
    const sbx_instance *caller = known(callee->store->instances, at[1]);
    bool crosses = caller && caller->image->machine && at[0] == (u64)(uintptr_t)(caller->image->machine + header_of(caller->image)->cross);
    return crosses ? caller : NULL;
}

size_t sbx_machine_backtrace(const sbx_call_engine *engine, sbx_backtrace_frame *frames, size_t capacity)
{
    const sbx_instance *instance = engine->trace_instance;
    const u64 *at = engine->trace_sp, *top = (const u64 *)(const void *)engine->guest_top;
    size_t count = 0;
    while (at < top && instance) {
        const sbx_instance *caller = at + 1 < top ? crossing(instance, at) : NULL;
        if (caller) {
            instance = caller;
            at += 2;
            continue;
        }
        u64 place = *at++ - (u64)(uintptr_t)instance->image->machine; /* behind the call */
        if (place == header_of(instance->image)->finished || place - 1 >= instance->image->header->sections[SBX_IMAGE_MACHINE].bytes)
            break;
        u32 index = sbx_function_at(instance->image, offsetof(sbx_image_function, machine_offset), place - 1);
        const sbx_image_function *function = SBX_IMAGE_AT(instance->image, FUNCTIONS, sbx_image_function) + index;
        if (index >= instance->image->header->function_count || place - 1 < function->machine_offset)
            break;
        if (count < capacity)
            frames[count] = (sbx_backtrace_frame){instance, index, sbx_map_find(instance->image, function, place - 1 - function->machine_offset),
                                                  sbx_image_name_of(instance->image, function->name)};
        count++;
        at += function->machine_saved;
    }
    return count;
}

/* Faults. */

/* Takes a fault only when this thread runs machine code, the processor stands in that of the instance in rbx, and the address lies in
 * its reservation: then the trap stub goes on as if it had been called there. */
bool sbx_machine_take_fault(void *context, const void *address)
{
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    const sbx_instance *instance = running && running->depth ? known(running->activations[running->depth - 1].function->instance->store->instances, (u64)registers[REG_RBX]) : NULL;
    if (!instance || !instance->image->machine || !instance->memory0)
        return false;
    u64 place = (u64)registers[REG_RIP] - (u64)(uintptr_t)instance->image->machine;
    u64 offset = (u64)(uintptr_t)address - (u64)(uintptr_t)instance->memory0->base;
    if (place >= instance->image->header->sections[SBX_IMAGE_MACHINE].bytes || offset >= instance->memory0->reserved)
        return false;
    registers[REG_RSP] -= 8;
    *(u64 *)registers[REG_RSP] = (u64)registers[REG_RIP] + 1; /* as behind a call: the place is looked up one before */
    registers[REG_RAX] = SBX_TRAP_MEMORY_BOUNDS;
    registers[REG_RIP] = (greg_t)(uintptr_t)(instance->image->machine + header_of(instance->image)->trap);
    return true;
}

#else
void sbx_machine_init(sbx_call_engine *engine) { (void)engine; }
void sbx_machine_run(sbx_call_engine *engine, const sbx_function *function) { (void)function; engine->status = SBX_UNSUPPORTED; }
void sbx_machine_trace(sbx_call_engine *engine) { (void)engine; }
size_t sbx_machine_backtrace(const sbx_call_engine *engine, sbx_backtrace_frame *frames, size_t capacity)
{
    (void)engine, (void)frames, (void)capacity;
    return 0;
}
bool sbx_machine_take_fault(void *context, const void *address) { (void)context, (void)address; return false; }
#endif
