/* Handlers of control flow, once without and once with the charge of fuel (METERED, VARIANT): included twice by interp.c.
 * The fuel unit is the last operand before a branch's offset, else the last of all. */

VARIANT(br) { FUEL(1); BRANCH(1 + METERED); }

VARIANT(br_table_s)
{
    FUEL(2);
    u32 index = SLOT32(1), count = IMM32(2 + METERED);
    PC += 4 + METERED + 2 * (u64)(index < count ? index : count);
    PC += (s32)IMM32(0);
    DISPATCH();
}

VARIANT(br_table_a)
{
    FUEL(1);
    u32 index = (u32)ACC, count = IMM32(1 + METERED);
    PC += 3 + METERED + 2 * (u64)(index < count ? index : count);
    PC += (s32)IMM32(0);
    DISPATCH();
}

#define RETURN()                                                                                   \
    do {                                                                                           \
        const sbx_frame *link = --ce->csp;                                                         \
        PC = link->pc;                                                                             \
        FP = link->fp;                                                                             \
        DISPATCH();                                                                                \
    } while (0)

/* A single result goes to slot 0, where the caller's operand lies, and stays in its accumulator. */
VARIANT(return) { FUEL(1); RETURN(); }
VARIANT(return_xs) { FUEL(2); ACC = SLOT64(1); FP[0] = ACC; RETURN(); }
VARIANT(return_xa) { FUEL(1); FP[0] = ACC; RETURN(); }
VARIANT(return_fs) { FUEL(2); FACC = SLOTF(1); *(float *)FP = FACC; RETURN(); }
VARIANT(return_fa) { FUEL(1); *(float *)FP = FACC; RETURN(); }
VARIANT(return_Fs) { FUEL(2); DACC = SLOTD(1); *(double *)FP = DACC; RETURN(); }
VARIANT(return_Fa) { FUEL(1); *(double *)FP = DACC; RETURN(); }

/* The callee's frame begins at the first argument's slot. Depth and value stack are compared here; both end in room for one more frame. */
#define PUSH_AND_GO(units, target)                                                                 \
    do {                                                                                           \
        sbx_frame *link = ce->csp;                                                                 \
        u64 *callee_fp = FP + PC[1];                                                               \
        if (UNLIKELY(link >= ce->cs_limit || callee_fp > ce->vs_limit))                            \
            GO(stack_exhausted);                                                                   \
        link->pc = PC + (units);                                                                   \
        link->fp = FP;                                                                             \
        ce->csp = link + 1;                                                                        \
        FP = callee_fp;                                                                            \
        PC = (target);                                                                             \
        DISPATCH();                                                                                \
    } while (0)

VARIANT(call) { FUEL(4); PUSH_AND_GO(4 + METERED, PC + 2 + (s32)IMM32(2)); }

VARIANT(call_import)
{
    FUEL(4);
    ce->callee = IN->imported_functions[IMM32(2)];
    ce->callee_fp = FP + PC[1];
    ce->return_pc = PC + 4 + METERED;
    GO(call_other);
}

#define CALL_INDIRECT(index_expression, at)                                                        \
    do {                                                                                           \
        const sbx_table *table = IN->tables[IMM32((at) + 2)];                                      \
        u32 index = (index_expression);                                                            \
        if (UNLIKELY(index >= table->size))                                                        \
            TRAP(UNDEFINED_ELEMENT);                                                               \
        sbx_function *function = (sbx_function *)(uintptr_t)table->elements[index];                \
        if (UNLIKELY(!function))                                                                   \
            TRAP(UNINITIALIZED_ELEMENT);                                                           \
        if (UNLIKELY(function->type_id != IN->type_ids[IMM32(at)]))                                \
            TRAP(INDIRECT_CALL_TYPE);                                                              \
        if (__builtin_expect(function->instance == IN, 1))                                         \
            PUSH_AND_GO((at) + 4 + METERED, function->code);                                       \
        ce->callee = function;                                                                     \
        ce->callee_fp = FP + PC[1];                                                                \
        ce->return_pc = PC + (at) + 4 + METERED;                                                   \
        GO(call_other);                                                                            \
    } while (0)

VARIANT(call_indirect_s) { FUEL(7); CALL_INDIRECT(SLOT32(2), 3); }
VARIANT(call_indirect_a) { FUEL(6); CALL_INDIRECT((u32)ACC, 2); }

#undef RETURN
#undef PUSH_AND_GO
#undef CALL_INDIRECT
