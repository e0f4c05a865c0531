/* The interpreter: handlers of all operations, in the dispatch technique of dispatch.h. */
#include "dispatch.h"
#include "numeric.h"

/* Outcomes and slow paths. */

#define TRAP_HANDLER(name) COLD(trap_##name) { ce->trap = SBX_TRAP_##name; LEAVE(SBX_TRAP); }
TRAP_HANDLER(UNREACHABLE)
TRAP_HANDLER(DIVIDE_BY_ZERO)
TRAP_HANDLER(INTEGER_OVERFLOW)
TRAP_HANDLER(INVALID_CONVERSION)
TRAP_HANDLER(MEMORY_BOUNDS)
TRAP_HANDLER(TABLE_BOUNDS)
TRAP_HANDLER(UNDEFINED_ELEMENT)
TRAP_HANDLER(UNINITIALIZED_ELEMENT)
TRAP_HANDLER(INDIRECT_CALL_TYPE)
#undef TRAP_HANDLER

COLD(stack_exhausted) { ce->trap = SBX_TRAP_STACK; LEAVE(SBX_STACK_EXHAUSTED); }
/* Nothing was charged: after refuelling the same operation runs again. */
COLD(out_of_fuel) { LEAVE(SBX_OUT_OF_FUEL); }
COLD(interrupted) { LEAVE(SBX_INTERRUPTED); }
COLD(exit) { LEAVE(SBX_OK); }
COLD(unreachable) { TRAP(UNREACHABLE); }

#define MEMORY_BASE(instance) ((instance)->memory0 ? (instance)->memory0->base : NULL)
#define LOAD_RESULT(values) (ACC = (values)[0], FACC = sbx_float32((u32)(values)[0]), DACC = sbx_float64((values)[0]))

/* Calls that leave the instance: host functions, functions of other instances, the embedder's entry. */
COLD(call_other)
{
    sbx_function *function = ce->callee;
    u64 *values = ce->callee_fp;
    if (function->kind == SBX_FUNCTION_WASM) {
        sbx_frame *link = ce->csp;
        if (link >= ce->cs_limit || values > ce->vs_limit)
            GO(stack_exhausted);
        *link++ = (sbx_frame){ce->return_pc, FP};
        if (function->instance != IN) {
            *link++ = (sbx_frame){sbx_cross_code, (u64 *)(void *)IN};
            IN = function->instance;
            MEM = MEMORY_BASE(IN);
        }
        ce->csp = link;
        FP = values;
        PC = function->code;
        DISPATCH();
    }
    if (function->kind == SBX_FUNCTION_NATIVE) {
        SAVE();
        const u16 *return_pc = ce->return_pc;
        u32 status = function->native(ce, IN, function->data, values);
        if (status != SBX_OK)
            LEAVE(status);
        PC = return_pc;
        LOAD_RESULT(values);
        DISPATCH();
    }
    ce->pending = (sbx_pending_call){function, IN, values};
    LEAVE(SBX_HOST_CALL);
}

/* Back from another instance: the link's frame field holds the caller's instance. */
COLD(cross_return)
{
    IN = (sbx_instance *)(void *)FP;
    MEM = MEMORY_BASE(IN);
    const sbx_frame *link = --ce->csp;
    PC = link->pc;
    FP = link->fp;
    DISPATCH();
}

/* The embedder's call: the thunk {entry, exit} calls the function whose values lie at the frame. */
COLD(entry)
{
    ce->callee_fp = FP;
    ce->return_pc = PC + 1;
    GO(call_other);
}

HANDLER(fuel)
{
    s64 left = ce->fuel - IMM32(1);
    if (UNLIKELY(left < 0))
        GO(out_of_fuel);
    ce->fuel = left;
    NEXT(3);
}

/* Memory, table and reference operations: arguments from slot `v`, results back there. */

#define VALUES() (FP + PC[1])
#define RAISE(cause) do { ce->trap = (cause); LEAVE(SBX_TRAP); } while (0)
/* Bulk operations pay by length before they run: one unit for eight bytes or one element. */
#define CHARGE_LENGTH(amount)                                                                      \
    do {                                                                                           \
        if (IN->image->header->metered && !sbx_call_engine_charge(ce, (amount)))                   \
            GO(out_of_fuel);                                                                       \
    } while (0)

COLD(memory_size)
{
    u64 *v = VALUES();
    ACC = v[0] = IN->memories[IMM32(2)]->size / SBX_PAGE_SIZE;
    NEXT(4);
}

COLD(memory_grow)
{
    u64 *v = VALUES();
    ACC = v[0] = (u32)sbx_memory_grow(IN->memories[IMM32(2)], (u32)v[0]);
    NEXT(4);
}

COLD(memory_fill)
{
    u64 *v = VALUES();
    CHARGE_LENGTH((u32)v[2] / 8);
    u32 cause = sbx_bulk_fill(ce, IN, IN->memories[IMM32(2)], v);
    if (cause == SBX_BULK_INTERRUPTED)
        GO(interrupted);
    if (cause)
        RAISE(cause);
    NEXT(4);
}

COLD(memory_copy)
{
    u64 *v = VALUES();
    CHARGE_LENGTH((u32)v[2] / 8);
    u32 cause = sbx_bulk_copy(ce, IN, IN->memories[IMM32(2)], IN->memories[IMM32(4)], v);
    if (cause == SBX_BULK_INTERRUPTED)
        GO(interrupted);
    if (cause)
        RAISE(cause);
    NEXT(6);
}

COLD(memory_init)
{
    u64 *v = VALUES();
    CHARGE_LENGTH((u32)v[2] / 8);
    sbx_trap cause = sbx_memory_init(IN, IMM32(2), IN->memories[IMM32(4)], (u32)v[0], (u32)v[1], (u32)v[2]);
    if (cause)
        RAISE(cause);
    NEXT(6);
}

COLD(data_drop) { sbx_data_drop(IN, IMM32(2)); NEXT(4); }
COLD(elem_drop) { sbx_element_drop(IN, IMM32(2)); NEXT(4); }

COLD(table_get)
{
    u64 *v = VALUES();
    const sbx_table *table = IN->tables[IMM32(2)];
    if ((u32)v[0] >= table->size)
        TRAP(TABLE_BOUNDS);
    ACC = v[0] = table->elements[(u32)v[0]];
    NEXT(4);
}

COLD(table_set)
{
    u64 *v = VALUES();
    sbx_table *table = IN->tables[IMM32(2)];
    if ((u32)v[0] >= table->size)
        TRAP(TABLE_BOUNDS);
    table->elements[(u32)v[0]] = v[1];
    NEXT(4);
}

COLD(table_size)
{
    u64 *v = VALUES();
    ACC = v[0] = (u32)IN->tables[IMM32(2)]->size;
    NEXT(4);
}

COLD(table_grow)
{
    u64 *v = VALUES();
    CHARGE_LENGTH((u32)v[1]);
    ACC = v[0] = (u32)sbx_table_grow(IN->tables[IMM32(2)], (u32)v[1], v[0]);
    NEXT(4);
}

COLD(table_fill)
{
    u64 *v = VALUES();
    CHARGE_LENGTH((u32)v[2]);
    sbx_trap cause = sbx_table_fill(IN->tables[IMM32(2)], (u32)v[0], v[1], (u32)v[2]);
    if (cause)
        RAISE(cause);
    NEXT(4);
}

COLD(table_copy)
{
    u64 *v = VALUES();
    CHARGE_LENGTH((u32)v[2]);
    sbx_trap cause = sbx_table_copy(IN->tables[IMM32(2)], IN->tables[IMM32(4)], (u32)v[0], (u32)v[1], (u32)v[2]);
    if (cause)
        RAISE(cause);
    NEXT(6);
}

COLD(table_init)
{
    u64 *v = VALUES();
    CHARGE_LENGTH((u32)v[2]);
    sbx_trap cause = sbx_table_init(IN, IMM32(2), IMM32(4), (u32)v[0], (u32)v[1], (u32)v[2]);
    if (cause)
        RAISE(cause);
    NEXT(6);
}

COLD(ref_func)
{
    u64 *v = VALUES();
    ACC = v[0] = (u64)(uintptr_t)sbx_instance_function(IN, IMM32(2));
    NEXT(4);
}

#define METERED 0
#define VARIANT(name) HANDLER(name)
#define FUEL(k)
#include "interp_control.h"
#undef METERED
#undef VARIANT
#undef FUEL
#define METERED 1
#define VARIANT(name) HANDLER(name##_m)
#define FUEL(k) CHARGE(k)
#include "interp_control.h"

#include "interp_handlers.h"

#define OP(name) op_##name,
const sbx_handler sbx_interpreter_table[SBX_IR_COUNT] = {
#include "interp_table.h"
};
#undef OP

const u16 sbx_entry_code[2] = {SBX_IR_entry, SBX_IR_exit};
const u16 sbx_cross_code[1] = {SBX_IR_cross_return};

#if SBX_TAIL_DISPATCH
/* Stores where the native stack stands, so that the fault handler can leave from any handler: it resumes at sbx_leave with that rsp. */
void sbx_enter(const u16 *pc, u64 *fp, u8 *mem, u64 acc, sbx_call_engine *ce, sbx_instance *in, float facc, double dacc);
__attribute__((used)) void sbx_dispatch_first(const u16 *pc, u64 *fp, u8 *mem, u64 acc, sbx_call_engine *ce, sbx_instance *in,
                                              float facc, double dacc);

__asm__(".text\n"
        ".p2align 4\n"
        ".globl sbx_enter\n.hidden sbx_enter\n.type sbx_enter, @function\n"
        ".globl sbx_leave\n.hidden sbx_leave\n"
        "sbx_enter:\n"
        "    push %rbp\n    push %rbx\n    push %r12\n    push %r13\n    push %r14\n    push %r15\n"
        "    sub $8, %rsp\n"
        "    mov %rsp, 0(%r8)\n"
        "    call sbx_dispatch_first\n"
        "sbx_leave:\n"
        "    add $8, %rsp\n"
        "    pop %r15\n    pop %r14\n    pop %r13\n    pop %r12\n    pop %rbx\n    pop %rbp\n"
        "    ret\n"
        ".size sbx_enter, .-sbx_enter\n");

void sbx_dispatch_first(PARAMS) { DISPATCH(); }

const char *sbx_dispatch(void) { return "tail calls"; }

void sbx_interpret(sbx_call_engine *ce)
{
    sbx_enter(ce->pc, ce->fp, MEMORY_BASE(ce->instance), ce->acc, ce, ce->instance, ce->facc, ce->dacc);
}
#else
const char *sbx_dispatch(void) { return "loop"; }

void sbx_interpret(sbx_call_engine *ce)
{
    ce->mem = MEMORY_BASE(ce->instance);
    ce->running = 1;
    while (ce->running)
        __atomic_load_n(&ce->handlers[*ce->pc], __ATOMIC_RELAXED)(ce);
}
#endif
