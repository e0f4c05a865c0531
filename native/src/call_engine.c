/* The call engine: stacks, activations (call, suspend, resume, abandon), interrupt, fuel. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include "arena.h"
#include "machine.h"

enum { DEFAULT_STACK_SLOTS = 131072, DEFAULT_DEPTH = 20000, DEFAULT_NESTING = 64, PAGE = 4096, NATIVE_STACK_RESERVE = 65536,
       MACHINE_FRAME = 128 /* bytes of machine stack for each frame of the call depth */, MACHINE_SLACK = 65536 /* leaves, stubs, signals */ };

static size_t pages(size_t bytes) { return (bytes + PAGE - 1) / PAGE * PAGE; }

static void *map_pages(size_t bytes, int protection)
{
    void *p = mmap(NULL, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

/* The dispatch table: read-only but while an interrupt is written into it or taken out. */
static void write_table(sbx_call_engine *engine, const sbx_handler *all)
{
    size_t bytes = pages(sizeof engine->handlers);
    if (mprotect(engine->handlers, bytes, PROT_READ | PROT_WRITE))
        return; /* leaves the former table; the host's clock stands behind */
    for (size_t i = 0; i < SBX_IR_COUNT; i++)
        __atomic_store_n(&engine->handlers[i], all ? all[i] : sbx_interpreter_table[SBX_IR_interrupted], __ATOMIC_RELAXED);
    mprotect(engine->handlers, bytes, PROT_READ);
}

/* Machine code compares its stack with the limit at function entries and loops: raised above every stack, it stops the guest. */
static void set_machine_limit(sbx_call_engine *engine, bool interrupt)
{
    uintptr_t limit = interrupt ? UINTPTR_MAX : (uintptr_t)engine->guest_stack + MACHINE_SLACK;
    __atomic_store_n(&engine->machine_limit, limit, __ATOMIC_SEQ_CST);
}

/* Value stack, control stack and machine stack in one reservation, a guard page behind each; a frame of any size fits behind the value stack's limit. */
static bool map_stacks(sbx_call_engine *engine, const sbx_call_engine_options *options)
{
    size_t slots = options->stack_slots ? options->stack_slots : DEFAULT_STACK_SLOTS;
    size_t depth = options->call_depth ? options->call_depth : DEFAULT_DEPTH;
    if (slots > SIZE_MAX / 64 || depth > SIZE_MAX / 64)
        return false;
    size_t guest = pages(depth * MACHINE_FRAME + MACHINE_SLACK);
    size_t values = pages((slots + 2 * SBX_MAX_FRAME_SLOTS + 2) * sizeof(u64)), frames = pages((depth + SBX_FRAME_SLACK) * sizeof(sbx_frame));
    engine->stacks_bytes = values + PAGE + frames + PAGE + guest + PAGE;
    engine->stacks = map_pages(engine->stacks_bytes, PROT_NONE);
    if (!engine->stacks)
        return false;
    char *base = engine->stacks;
    char *control = base + values + PAGE, *machine = control + frames + PAGE;
    if (mprotect(base, values, PROT_READ | PROT_WRITE) || mprotect(control, frames, PROT_READ | PROT_WRITE) ||
        mprotect(machine, guest, PROT_READ | PROT_WRITE))
        return false;
    engine->value_stack = (u64 *)(void *)base;
    engine->vs_limit = engine->value_stack + slots;
    engine->control_stack = engine->csp = (sbx_frame *)(void *)control;
    engine->cs_limit = engine->control_stack + depth;
    engine->guest_stack = machine;
    engine->guest_sp = engine->guest_top = machine + guest - 64;
    set_machine_limit(engine, false);
    return true;
}

sbx_call_engine *sbx_call_engine_new(const sbx_call_engine_options *options)
{
    static const sbx_call_engine_options defaults;
    if (!options)
        options = &defaults;
    if (sbx_install_fault_handler()) /* guard pages mean nothing without it */
        return NULL;
    sbx_call_engine *engine = map_pages(pages(sizeof *engine), PROT_READ | PROT_WRITE);
    if (!engine)
        return NULL;
    engine->nesting = options->nesting ? options->nesting : DEFAULT_NESTING;
    engine->activations = sbx_calloc(engine->nesting, sizeof *engine->activations);
    pthread_mutex_init(&engine->table_lock, NULL);
    if (!engine->activations || !map_stacks(engine, options)) {
        sbx_call_engine_free(engine);
        return NULL;
    }
    write_table(engine, sbx_interpreter_table);
    sbx_machine_init(engine);
    return engine;
}

void sbx_call_engine_free(sbx_call_engine *engine)
{
    if (!engine)
        return;
    while (engine->depth)
        sbx_call_engine_abandon(engine);
    if (engine->stacks)
        munmap(engine->stacks, engine->stacks_bytes);
    sbx_free(engine->activations);
    pthread_mutex_destroy(&engine->table_lock);
    munmap(engine, pages(sizeof *engine));
}

/* Interrupt. */

void sbx_call_engine_interrupt(sbx_call_engine *engine)
{
    pthread_mutex_lock(&engine->table_lock);
    if (!__atomic_exchange_n(&engine->interrupt, 1, __ATOMIC_SEQ_CST)) {
        write_table(engine, NULL);
        set_machine_limit(engine, true);
    }
    pthread_mutex_unlock(&engine->table_lock);
}

void sbx_call_engine_clear_interrupt(sbx_call_engine *engine)
{
    pthread_mutex_lock(&engine->table_lock);
    if (__atomic_exchange_n(&engine->interrupt, 0, __ATOMIC_SEQ_CST)) {
        write_table(engine, sbx_interpreter_table);
        set_machine_limit(engine, false);
    }
    pthread_mutex_unlock(&engine->table_lock);
}

bool sbx_call_engine_interrupted(const sbx_call_engine *engine)
{
    return __atomic_load_n(&engine->interrupt, __ATOMIC_SEQ_CST);
}

/* Activations. */

static sbx_activation *innermost(const sbx_call_engine *engine)
{
    return engine->depth ? &engine->activations[engine->depth - 1] : NULL;
}

static void end_activation(sbx_call_engine *engine)
{
    sbx_activation *a = innermost(engine);
    engine->csp = a->base;
    engine->guest_sp = a->guest_base;
    if (a->store)
        __atomic_store_n(&a->store->owner, NULL, __ATOMIC_RELEASE);
    engine->depth--;
}

static u32 larger(u32 a, u32 b) { return a > b ? a : b; }

static u64 normal(u64 value, sbx_valtype type) { return type == SBX_I32 || type == SBX_F32 ? (u32)value : value; }

static void normalise(u64 *values, const sbx_valtype *types, u32 n)
{
    for (u32 i = 0; i < n; i++)
        values[i] = normal(values[i], types[i]);
}

/* A loop: signatures are short, and a call of memcpy costs more than the values. */
static void carry(u64 *to, const u64 *from, const sbx_valtype *types, u32 n)
{
    for (u32 i = 0; i < n; i++)
        to[i] = normal(from[i], types[i]);
}

static const sbx_functype *type_of(const sbx_function *function) { return function->type; }

/* Where a nested call's values may begin: behind everything that the suspended activation below still needs. */
static u64 *free_values(const sbx_call_engine *engine)
{
    const sbx_activation *a = innermost(engine);
    if (!a)
        return engine->value_stack;
    if (a->status == SBX_HOST_CALL) {
        const sbx_functype *type = type_of(a->pending.function);
        return a->pending.values + larger(type->params, type->results);
    }
    return a->fp + SBX_MAX_FRAME_SLOTS;
}

static bool take_store(sbx_call_engine *engine, sbx_store *store, sbx_store **taken)
{
    *taken = NULL;
    void *owner = NULL;
    if (!store || __atomic_load_n(&store->owner, __ATOMIC_ACQUIRE) == engine)
        return true;
    if (!__atomic_compare_exchange_n(&store->owner, &owner, engine, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        return false;
    *taken = store;
    return true;
}

/* Runs the innermost activation until it ends or is suspended, and carries its results out. */
static sbx_status run(sbx_call_engine *engine, u64 *values, size_t capacity, bool retry, sbx_error *err)
{
    sbx_activation *a = innermost(engine);
    void *outer = engine->native_sp;
    engine->status = retry ? engine->host_entry(engine) : SBX_OK;
    if (engine->status)
        ; /* the host function that was tried again did not answer this time either */
    else if (a->function->machine)
        sbx_machine_run(engine, a->function);
    else
        sbx_interpret(engine);
    engine->native_sp = outer;
    a = innermost(engine);
    const sbx_functype *type = type_of(a->function);
    switch (engine->status) {
    case SBX_OK:
        if (type->results > capacity) {
            end_activation(engine);
            return sbx_fail(err, SBX_USAGE, SBX_NO_OFFSET, "%u results do not fit into %zu values", type->results, capacity);
        }
        if (a->function->machine && type->results == 1) {
            sbx_valtype result = type->types[type->params];
            memcpy(a->values, result == SBX_F32 || result == SBX_F64 ? (void *)&engine->dacc : (void *)&engine->acc, sizeof *values);
        }
        carry(values, a->values, type->types + type->params, type->results);
        end_activation(engine);
        return SBX_OK;
    case SBX_INTERRUPTED:
        sbx_call_engine_clear_interrupt(engine);
        /* fall through */
    case SBX_HOST_CALL:
    case SBX_OUT_OF_FUEL:
        a->status = engine->status;
        a->pc = engine->pc;
        a->return_pc = engine->return_pc;
        a->fp = engine->fp;
        a->csp = engine->csp;
        a->guest_sp = engine->guest_sp;
        a->resume = engine->resume;
        a->callee = engine->callee;
        a->callee_fp = engine->callee_fp;
        a->acc = engine->acc;
        a->facc = engine->facc;
        a->dacc = engine->dacc;
        a->instance = engine->instance;
        a->pending = engine->pending;
        sbx_trace_here(engine, a);
        return (sbx_status)a->status;
    default:
        sbx_trace_here(engine, a);
        end_activation(engine);
        if (engine->status == SBX_TRAP || engine->status == SBX_STACK_EXHAUSTED) {
            sbx_fail(err, (sbx_status)engine->status, SBX_NO_OFFSET, "%s", sbx_trap_message(engine->trap));
            if (err)
                err->trap = engine->trap;
        }
        return (sbx_status)engine->status;
    }
}

static sbx_status exhausted(sbx_call_engine *engine, sbx_error *err)
{
    engine->trap = SBX_TRAP_STACK;
    if (err)
        err->trap = SBX_TRAP_STACK;
    return sbx_fail(err, SBX_STACK_EXHAUSTED, SBX_NO_OFFSET, "%s", sbx_trap_message(SBX_TRAP_STACK));
}

/* Stands in for the caller of a host function that the embedder calls directly: no memory. */
static sbx_instance nobody;

sbx_status sbx_call_taken(sbx_call_engine *engine, sbx_function *function, u64 *values, size_t capacity, sbx_error *err)
{
    const sbx_functype *type = type_of(function);
    if (type->params > capacity)
        return sbx_fail(err, SBX_USAGE, SBX_NO_OFFSET, "expected %u params, but passed %zu", type->params, capacity);
    if (engine->depth == engine->nesting || sbx_native_stack_left() < NATIVE_STACK_RESERVE)
        return exhausted(engine, err);
    u64 *base = free_values(engine);
    u32 width = larger(type->params, type->results);
    if (base > engine->vs_limit || width > SBX_MAX_FRAME_SLOTS)
        return exhausted(engine, err);
    sbx_store *store = function->instance ? function->instance->store : NULL, *taken;
    if (!take_store(engine, store, &taken))
        return sbx_fail(err, SBX_BUSY, SBX_NO_OFFSET, "the store is in use by another call engine");
    /* Nothing else in it is read before it was suspended. */
    sbx_activation *a = &engine->activations[engine->depth++];
    a->base = engine->csp;
    a->values = base;
    a->function = function;
    a->store = taken;
    a->guest_base = engine->guest_sp;
    a->status = SBX_OK;
    /* Behind what a suspended activation left there. */
    engine->guest_sp = (char *)(((uintptr_t)engine->guest_sp - 256) & ~(uintptr_t)15);
    engine->resume = 0;
    carry(base, values, type->types, type->params);
    engine->trap = 0;
    engine->trace_top = engine->trace_base = NULL;
    engine->trace_pc = NULL;
    engine->callee = function;
    engine->pc = sbx_entry_code;
    engine->fp = base;
    engine->instance = function->instance ? function->instance : &nobody;
    return run(engine, values, capacity, false, err);
}

static sbx_status enter(sbx_call_engine *engine, sbx_error *err)
{
    if (!sbx_engine_take(engine, SBX_BUSY_CALL))
        return sbx_fail(err, SBX_BUSY, SBX_NO_OFFSET, "the call engine is in use by another thread");
    return SBX_OK;
}

static sbx_status leave(sbx_call_engine *engine, sbx_status status)
{
    engine->unread = status != SBX_OK;
    sbx_engine_leave(engine);
    return status;
}

sbx_status sbx_call_engine_call(sbx_call_engine *engine, sbx_function *function, uint64_t *values, size_t capacity, sbx_error *err)
{
    sbx_status status = enter(engine, err);
    return status ? status : leave(engine, sbx_call_taken(engine, function, values, capacity, err));
}

sbx_status sbx_call_engine_resume(sbx_call_engine *engine, uint64_t *values, size_t capacity, sbx_error *err)
{
    sbx_status status = enter(engine, err);
    if (status)
        return status;
    sbx_activation *a = innermost(engine);
    if (!a) {
        return leave(engine, sbx_fail(err, SBX_USAGE, SBX_NO_OFFSET, "no suspended call to resume"));
    }
    engine->pc = a->pc;
    engine->fp = a->fp;
    engine->csp = a->csp;
    engine->guest_sp = a->guest_sp;
    engine->resume = a->resume;
    engine->acc = a->acc;
    engine->facc = a->facc;
    engine->dacc = a->dacc;
    engine->instance = a->instance;
    engine->trap = 0;
    if (a->status == SBX_HOST_CALL) {
        const sbx_functype *type = type_of(a->pending.function);
        u64 *results = a->pending.values;
        normalise(results, type->types + type->params, type->results);
        engine->pc = a->return_pc;
        engine->acc = results[0];
        memcpy(&engine->facc, results, sizeof engine->facc);
        memcpy(&engine->dacc, results, sizeof engine->dacc);
    }
    bool retry = a->resume == SBX_RESUME_HOST && a->status != SBX_HOST_CALL;
    engine->callee = a->callee;
    engine->callee_fp = a->callee_fp;
    return leave(engine, run(engine, values, capacity, retry, err));
}

void sbx_call_engine_abandon(sbx_call_engine *engine)
{
    if (engine->depth)
        end_activation(engine);
}

const sbx_pending_call *sbx_call_engine_pending(const sbx_call_engine *engine)
{
    const sbx_activation *a = innermost(engine);
    return a && a->status == SBX_HOST_CALL ? &a->pending : NULL;
}

bool sbx_call_engine_suspended(const sbx_call_engine *engine) { return engine->depth != 0; }

/* Fuel and outcomes. */

void sbx_call_engine_set_fuel(sbx_call_engine *engine, int64_t fuel) { engine->fuel = fuel; }
int64_t sbx_call_engine_fuel(const sbx_call_engine *engine) { return engine->fuel; }

bool sbx_call_engine_charge(sbx_call_engine *engine, uint64_t amount)
{
    if (amount > INT64_MAX || engine->fuel < (s64)amount)
        return false;
    engine->fuel -= (s64)amount;
    return true;
}

void sbx_call_engine_set_trap(sbx_call_engine *engine, uint32_t trap) { engine->trap = trap; }
void sbx_call_engine_set_exit(sbx_call_engine *engine, uint32_t code) { engine->exit_code = code; }
uint32_t sbx_call_engine_trap(const sbx_call_engine *engine) { return engine->trap; }
uint32_t sbx_call_engine_exit_code(const sbx_call_engine *engine) { return engine->exit_code; }
