/* Control flow of the compiled tier: blocks, branches, calls, fuel. Fuel and joins follow lower_control.c to the letter: counts must agree. */
#include "engine_state.h"
#include "x64.h"

/* Charges the straight line that ends here. Before anything that reads flags. */
void x64_charge(sbx_x64 *c)
{
    uint64_t cost = c->cost;
    c->cost = 0;
    if (!c->options->metered)
        return;
    for (; cost; cost -= cost < INT32_MAX ? cost : INT32_MAX) {
        uint32_t part = cost < INT32_MAX ? (uint32_t)cost : INT32_MAX;
        size_t back = c->b.size;
        x64_alu_constant(&c->b, 5, W, x64_reg(FUEL), (int32_t)part);
        x64_cold_path(c, COLD_FUEL, part, x64_jcc(&c->b, CC_S, 0), back);
    }
}

static uint8_t result_register(uint8_t cls) { return cls == CLASS_FLOAT ? XMM(0) : RAX; }

static x64_label *label_at(sbx_x64 *c, uint32_t depth) { return &c->labels[c->depth - 1 - depth]; }
static uint32_t arity(const x64_label *t) { return t->kind == LABEL_LOOP ? t->type.param_count : t->type.result_count; }
/* The slot where a branch leaves value i: results of the function go to the frame's first slots, all others home. */
static uint32_t target_slot(const sbx_x64 *c, const x64_label *t, uint32_t i)
{
    return t->kind == LABEL_FUNCTION ? i : c->temps + t->height + i;
}

static void patch_chain(sbx_x64 *c, size_t fixups, size_t target)
{
    while (fixups != X64_NO_FIXUP && !c->b.failed) {
        uint32_t next;
        memcpy(&next, c->b.bytes + fixups, 4);
        x64_patch(&c->b, fixups, target);
        fixups = next == UINT32_MAX ? X64_NO_FIXUP : next;
    }
}

static uint32_t link_of(size_t fixups) { return fixups == X64_NO_FIXUP ? UINT32_MAX : (uint32_t)fixups; }

/* Completes the distance of a jump whose field was just emitted. */
static void aim(sbx_x64 *c, size_t field, x64_label *t)
{
    if (t->kind == LABEL_LOOP) {
        x64_patch(&c->b, field, t->start);
        return;
    }
    if (t->kind != LABEL_FUNCTION)
        t->targeted = true;
    uint32_t link = link_of(t->fixups);
    if (!c->b.failed)
        memcpy(c->b.bytes + field, &link, 4);
    t->fixups = field;
}

/* One jump, or two where a float comparison needs them. */
static void jump_if(sbx_x64 *c, uint8_t cc, x64_label *t)
{
    if (cc == CC_FLOAT_EQ) { /* equal and ordered */
        size_t unordered = x64_jcc(&c->b, CC_P, 0);
        aim(c, x64_jcc(&c->b, CC_E, 0), t);
        x64_patch(&c->b, unordered, c->b.size);
    } else if (cc == CC_FLOAT_NE) {
        aim(c, x64_jcc(&c->b, CC_P, 0), t);
        aim(c, x64_jcc(&c->b, CC_NE, 0), t);
    } else {
        aim(c, x64_jcc(&c->b, cc, 0), t);
    }
}

static uint8_t opposite(uint8_t cc) { return cc ^ 1; } /* also of the two float codes */

/* Values for a label. */

static void place_in_register(sbx_x64 *c, x64_entry e)
{
    uint8_t to = result_register(e.cls);
    if (e.place != IN_REG || e.reg != to) {
        x64_claim(c, to);
        x64_into(c, to, &e);
    }
}

/* Puts the top entries where a branch to the label wants them. The code behind is not reached: entries may be consumed. */
static void place_results(sbx_x64 *c, x64_label *t)
{
    uint32_t n = arity(t);
    if (!n)
        return;
    if (t->in_register) {
        place_in_register(c, x64_take(c));
        return;
    }
    x64_materialise_top(c, n);
    for (uint32_t i = 0; i < n; i++)
        x64_write(c, &c->stack[c->height - n + i], target_slot(c, t, i));
}

/* What follows is never reached: on to the `else` or `end` of the block. */
static void dead(sbx_x64 *c)
{
    x64_pop_to(c, c->labels[c->depth - 1].height);
    c->unreachable = true;
    c->cost = 0;
    sbx_pass_dead_code(&c->at);
}

static void push_types(sbx_x64 *c, const sbx_valtype *types, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        x64_push_home(c, x64_class(types[i]));
}

static void push_results(sbx_x64 *c, const x64_label *t)
{
    if (t->in_register)
        x64_push_reg(c, result_register(x64_class(sbx_block_result(&t->type, 0))));
    else
        for (uint32_t i = 0; i < t->type.result_count; i++)
            x64_push_home(c, x64_class(sbx_block_result(&t->type, i)));
}

/* Blocks. */

static x64_label *new_label(sbx_x64 *c, uint8_t kind)
{
    static x64_label nowhere;
    if (!x64_grow(c, &c->labels, &c->label_capacity, c->depth + 1, sizeof *c->labels))
        return &nowhere;
    x64_label *t = &c->labels[c->depth];
    *t = (x64_label){.kind = kind, .fixups = X64_NO_FIXUP, .else_fixup = X64_NO_FIXUP};
    t->type = sbx_pass_block_type(&c->at, c->module);
    t->in_register = t->type.result_count == 1 && !t->type.param_count && kind != LABEL_LOOP;
    t->height = c->height - t->type.param_count;
    x64_materialise_top(c, t->type.param_count);
    x64_flush(c);
    return t;
}

/* The interrupt and stack check: the limit is raised above every stack to stop the guest. */
static void poll(sbx_x64 *c)
{
    x64_load64(&c->b, SCRATCH, x64_mem(INSTANCE, offsetof(sbx_instance, engine)));
    size_t back = 0;
    x64_op(&c->b, 0x3B, W, RSP, x64_mem(SCRATCH, offsetof(sbx_call_engine, machine_limit)));
    size_t jump = x64_jcc(&c->b, CC_B, 0);
    back = c->b.size;
    x64_cold_path(c, COLD_POLL, 0, jump, back);
}

static void lower_loop(sbx_x64 *c, const x64_row *row)
{
    (void)row;
    x64_label *t = new_label(c, LABEL_LOOP);
    x64_charge(c);
    t->start = c->b.size;
    poll(c);
    c->depth++;
}

/* `cc` holds when the first arm is taken; flags are live, so nothing here may change them. */
static void begin_if(sbx_x64 *c, uint8_t cc)
{
    x64_label *t = new_label(c, LABEL_IF);
    uint8_t not = opposite(cc);
    size_t field;
    if (not == CC_FLOAT_EQ) {
        size_t unordered = x64_jcc(&c->b, CC_P, 0);
        field = x64_jcc(&c->b, CC_E, UINT32_MAX);
        x64_patch(&c->b, unordered, c->b.size);
    } else if (not == CC_FLOAT_NE) {
        size_t unordered = x64_jcc(&c->b, CC_P, UINT32_MAX);
        field = x64_jcc(&c->b, CC_NE, (uint32_t)unordered);
    } else {
        field = x64_jcc(&c->b, not, UINT32_MAX);
    }
    t->else_fixup = field;
    c->depth++;
}

static void join(sbx_x64 *c)
{
    c->unreachable = false;
    c->cost = 0;
}

static void lower_else(sbx_x64 *c, const x64_row *row)
{
    (void)row;
    x64_label *t = &c->labels[c->depth - 1];
    if (!c->unreachable) {
        x64_charge(c);
        place_results(c, t);
        aim(c, x64_jmp(&c->b, 0), t);
    }
    x64_pop_to(c, t->height);
    patch_chain(c, t->else_fixup, c->b.size);
    t->kind = LABEL_ELSE;
    join(c);
    push_types(c, t->type.params, t->type.param_count);
}

static void lower_end(sbx_x64 *c, const x64_row *row)
{
    (void)row;
    x64_label *t = &c->labels[c->depth - 1];
    if (t->kind == LABEL_FUNCTION) {
        if (!c->unreachable) {
            x64_charge(c);
            place_results(c, t);
        }
        patch_chain(c, t->fixups, c->b.size);
        x64_epilogue(c);
        c->depth--;
        return;
    }
    bool joins = t->targeted || t->kind == LABEL_IF;
    if (joins && !c->unreachable) {
        x64_charge(c);
        place_results(c, t);
    }
    if (joins) {
        if (t->kind == LABEL_IF)
            patch_chain(c, t->else_fixup, c->b.size);
        patch_chain(c, t->fixups, c->b.size);
        x64_pop_to(c, t->height);
        push_results(c, t);
        join(c);
    }
    c->depth--;
    if (c->unreachable)
        sbx_pass_dead_code(&c->at);
}

/* Branches. */

static void branch(sbx_x64 *c, uint32_t depth)
{
    x64_label *t = label_at(c, depth);
    x64_charge(c);
    place_results(c, t);
    aim(c, x64_jmp(&c->b, 0), t);
    dead(c);
}

static void lower_br(sbx_x64 *c, const x64_row *row)
{
    (void)row;
    branch(c, sbx_leb_u32(&c->at));
}

static void lower_return(sbx_x64 *c, const x64_row *row)
{
    (void)row;
    branch(c, c->depth - 1);
}

/* A conditional branch that carries values: they are put in place first, and stay on the stack for the way on. */
static void branch_with_values(sbx_x64 *c, x64_label *t)
{
    x64_entry condition = x64_take(c);
    x64_charge(c);
    if (t->in_register) {
        uint8_t to = result_register(c->stack[c->height - 1].cls);
        if (condition.place == IN_REG && condition.reg == to) {
            x64_move(&c->b, SCRATCH, to);
            condition.reg = SCRATCH;
        }
        x64_entry value = x64_take(c);
        place_in_register(c, value);
        x64_push_reg(c, to);
        x64_test_nonzero(c, &condition);
        aim(c, x64_jcc(&c->b, CC_NE, 0), t);
        return;
    }
    uint32_t n = arity(t);
    uint8_t reg = x64_in_reg(c, &condition);
    x64_materialise_top(c, n);
    x64_op(&c->b, 0x85, W, reg, x64_reg(reg));
    if (t->kind != LABEL_FUNCTION && c->height - n == t->height) {
        aim(c, x64_jcc(&c->b, CC_NE, 0), t);
        return;
    }
    size_t over = x64_jcc(&c->b, CC_E, 0);
    for (uint32_t i = 0; i < n; i++)
        x64_write(c, &c->stack[c->height - n + i], target_slot(c, t, i));
    aim(c, x64_jmp(&c->b, 0), t);
    x64_patch(&c->b, over, c->b.size);
}

static void lower_br_if(sbx_x64 *c, const x64_row *row)
{
    (void)row;
    x64_label *t = label_at(c, sbx_leb_u32(&c->at));
    if (arity(t)) {
        branch_with_values(c, t);
        return;
    }
    x64_entry condition = x64_take(c);
    x64_charge(c);
    x64_test_nonzero(c, &condition);
    aim(c, x64_jcc(&c->b, CC_NE, 0), t);
}

static void lower_br_table(sbx_x64 *c, const x64_row *row)
{
    (void)row;
    uint32_t count = sbx_leb_u32(&c->at);
    const uint8_t *targets = c->at;
    for (uint32_t i = 0; i < count; i++)
        sbx_leb_u32(&c->at);
    uint32_t fallback = sbx_leb_u32(&c->at);
    const uint8_t *behind = c->at;
    x64_entry index = x64_take(c);
    x64_charge(c);
    uint32_t n = arity(label_at(c, fallback));
    uint8_t reg = x64_in_reg(c, &index);
    x64_materialise_top(c, n);
    /* min(index, count) into rax, then the entry's distance from the table. */
    if (reg != RAX) {
        if (c->owned >> RAX & 1)
            x64_claim(c, RAX);
        x64_move(&c->b, RAX, reg);
    }
    x64_move_constant(&c->b, SCRATCH, count);
    x64_op(&c->b, 0x3B, 0, RAX, x64_reg(SCRATCH));
    x64_op(&c->b, OP(0, 0x0F, 0x47), 0, RAX, x64_reg(SCRATCH)); /* cmova */
    uint8_t lea[] = {0x48, 0x8D, 0x0D, 9, 0, 0, 0}; /* lea rcx, [rip + 9]: the table, behind movsxd, add and jmp */
    x64_bytes(&c->b, lea, sizeof lea);
    x64_op(&c->b, 0x63, W, RAX, x64_indexed(RCX, RAX, 2, 0));
    x64_op(&c->b, 0x03, W, RAX, x64_reg(RCX));
    x64_op(&c->b, 0xFF, 0, 4, x64_reg(RAX));
    size_t table = c->b.size;
    for (uint32_t i = 0; i <= count; i++)
        x64_u32(&c->b, 0);
    /* Entries go to the label itself, or to a stub that moves the values; entries of one label share it. */
    c->at = targets;
    for (uint32_t i = 0; i <= count && !c->b.failed; i++) {
        uint32_t depth = i < count ? sbx_leb_u32(&c->at) : fallback;
        x64_label *t = label_at(c, depth);
        if (t->stub_epoch != table) {
            t->stub_epoch = table;
            t->stub = c->b.size;
            for (uint32_t k = 0; k < n && !t->in_register; k++)
                x64_write(c, &c->stack[c->height - n + k], target_slot(c, t, k));
            if (t->in_register)
                x64_load64(&c->b, result_register(c->stack[c->height - 1].cls), x64_slot(c->stack[c->height - 1].home));
            aim(c, x64_jmp(&c->b, 0), t);
        }
        uint32_t distance = (uint32_t)(t->stub - table);
        memcpy(c->b.bytes + table + 4 * (size_t)i, &distance, 4);
    }
    c->at = behind;
    dead(c);
}

/* Comparisons and tests: their flags go straight into a branch, an if or a select that follows. */

static void select_by(sbx_x64 *c, uint8_t cc)
{
    x64_entry two = x64_take(c), one = x64_take(c);
    if (one.cls == CLASS_FLOAT) {
        uint8_t to = x64_in_temp(c, &one);
        uint8_t other = x64_in_reg(c, &two);
        size_t keep = x64_jcc(&c->b, cc, 0);
        x64_move(&c->b, to, other);
        x64_patch(&c->b, keep, c->b.size);
        x64_push_reg(c, to);
        return;
    }
    uint8_t to = x64_in_temp(c, &one);
    x64_rm other = x64_as_rm(c, &two);
    x64_op(&c->b, OP(0, 0x0F, 0x40 | opposite(cc)), W, to, other); /* cmov */
    x64_push_reg(c, to);
}

/* A comparison, or a test (`extra`), and what the instruction behind it does with it; eqz before that turns it round. */
void x64_condition(sbx_x64 *c, const x64_row *row)
{
    uint8_t opcode = row->opcode;
    bool test = row->extra, turned = test;
    x64_entry right = {.place = IN_CONST}, left;
    if (!test)
        right = x64_take(c);
    left = x64_take(c);
    while (*c->at == SBX_WASM_i32_eqz) {
        c->at++;
        c->cost++;
        turned = !turned;
    }
    uint32_t next = *c->at;
    bool branch = next == SBX_WASM_br_if || next == SBX_WASM_if;
    bool choose = next == SBX_WASM_select && opcode != SBX_WASM_f32_eq && opcode != SBX_WASM_f32_ne && opcode != SBX_WASM_f64_eq &&
                  opcode != SBX_WASM_f64_ne;
    const uint8_t *operand = c->at + 1;
    uint32_t depth = next == SBX_WASM_br_if ? sbx_leb_u32(&operand) : 0;
    if (next == SBX_WASM_br_if && arity(label_at(c, depth)))
        branch = false;
    if (branch) {
        c->at = next == SBX_WASM_br_if ? operand : c->at + 1;
        c->cost++;
        x64_charge(c);
    }
    uint8_t cc = CC_NE;
    if (test)
        x64_test_nonzero(c, &left);
    else
        cc = x64_compare(c, opcode, &left, &right);
    if (turned)
        cc = opposite(cc);
    if (choose) {
        c->at++;
        c->cost++;
        select_by(c, cc);
    } else if (!branch) {
        x64_push_reg(c, x64_setcc(c, cc));
    } else if (next == SBX_WASM_br_if) {
        jump_if(c, cc, label_at(c, depth));
    } else {
        begin_if(c, cc);
    }
}

/* Calls. */

static uint32_t arguments(sbx_x64 *c, const sbx_functype *type)
{
    x64_materialise_top(c, type->params);
    x64_spill_all(c);
    return c->temps + c->height - type->params;
}

static void move_frame(sbx_x64 *c, uint32_t slots, bool back)
{
    if (slots)
        x64_alu_constant(&c->b, back ? 5 : 0, W, x64_reg(FRAME), (int32_t)slots * 8);
}

static void results(sbx_x64 *c, const sbx_functype *type)
{
    x64_pop_to(c, c->height - type->params);
    if (type->results == 1)
        x64_push_reg(c, result_register(x64_class(type->types[type->params])));
    else
        push_types(c, type->types + type->params, type->results);
}

static void call_own(sbx_x64 *c, uint32_t index)
{
    if (index <= c->index) {
        x64_call(&c->b, index < c->index ? c->functions[index].machine_offset : c->start);
        return;
    }
    uint32_t field = (uint32_t)x64_call(&c->b, 0);
    if (x64_grow(c, &c->calls, &c->call_capacity, c->call_count + 1, sizeof *c->calls))
        c->calls[c->call_count++] = (x64_call_site){field, index};
}

static void lower_call(sbx_x64 *c, const x64_row *row)
{
    (void)row;
    uint32_t function = sbx_leb_u32(&c->at);
    const sbx_module *m = c->module;
    const sbx_functype *type = &m->types[m->functions[function]];
    uint32_t base = arguments(c, type);
    x64_charge(c);
    if (function < m->imported_functions) {
        x64_load64(&c->b, RAX, x64_mem(INSTANCE, offsetof(sbx_instance, imported_functions)));
        x64_load64(&c->b, RAX, x64_mem(RAX, (int32_t)(function * sizeof(void *))));
        move_frame(c, base, false);
        x64_mark(c, c->instruction);
        x64_call(&c->b, c->stubs.call);
    } else {
        move_frame(c, base, false);
        x64_mark(c, c->instruction);
        call_own(c, function - m->imported_functions);
    }
    results(c, type);
    move_frame(c, base, true);
}

static void lower_call_indirect(sbx_x64 *c, const x64_row *row)
{
    (void)row;
    uint32_t type_index = sbx_leb_u32(&c->at), table = sbx_leb_u32(&c->at);
    const sbx_functype *type = &c->module->types[type_index];
    x64_entry index = x64_take(c);
    uint8_t reg = index.place == IN_REG ? index.reg : NO_REG;
    uint32_t base = arguments(c, type); /* spares the index: it is off the stack, and stores change no register but scratch */
    x64_charge(c);
    if (reg != RAX)
        x64_into(c, RAX, &index);
    x64_load64(&c->b, SCRATCH, x64_mem(INSTANCE, offsetof(sbx_instance, tables)));
    x64_load64(&c->b, SCRATCH, x64_mem(SCRATCH, (int32_t)(table * sizeof(void *))));
    x64_op(&c->b, 0x39, W, RAX, x64_mem(SCRATCH, offsetof(sbx_table, size)));
    x64_trap_if(c, CC_BE, SBX_TRAP_UNDEFINED_ELEMENT);
    x64_load64(&c->b, SCRATCH, x64_mem(SCRATCH, offsetof(sbx_table, elements)));
    x64_load64(&c->b, RAX, x64_indexed(SCRATCH, RAX, 3, 0));
    x64_op(&c->b, 0x85, W, RAX, x64_reg(RAX));
    x64_trap_if(c, CC_E, SBX_TRAP_UNINITIALIZED_ELEMENT);
    x64_load64(&c->b, SCRATCH, x64_mem(INSTANCE, offsetof(sbx_instance, type_ids)));
    x64_op(&c->b, 0x8B, 0, SCRATCH, x64_mem(SCRATCH, (int32_t)(type_index * sizeof(uint32_t))));
    x64_op(&c->b, 0x39, 0, SCRATCH, x64_mem(RAX, offsetof(sbx_function, type_id)));
    x64_trap_if(c, CC_NE, SBX_TRAP_INDIRECT_CALL_TYPE);
    move_frame(c, base, false);
    x64_op(&c->b, 0x39, W, INSTANCE, x64_mem(RAX, offsetof(sbx_function, instance)));
    size_t other = x64_jcc(&c->b, CC_NE, 0);
    x64_mark(c, c->instruction);
    x64_op(&c->b, 0xFF, 0, 2, x64_mem(RAX, offsetof(sbx_function, machine)));
    size_t back = c->b.size;
    results(c, type);
    x64_cold_path(c, COLD_CALL, 0, other, back);
    move_frame(c, base, true);
}

static void lower_select(sbx_x64 *c, const x64_row *row)
{
    if (row->opcode == SBX_WASM_select_t)
        sbx_pass_immediates(&c->at, SBX_IMM_TYPES);
    x64_entry condition = x64_take(c);
    /* Constants and homes are loaded before the test: loads keep flags, but a spill may need its scratch. */
    x64_test_nonzero(c, &condition);
    select_by(c, CC_NE);
}

static void lower_unreachable(sbx_x64 *c, const x64_row *row)
{
    (void)row;
    x64_cold_path(c, COLD_TRAP, SBX_TRAP_UNREACHABLE, x64_jmp(&c->b, 0), 0);
    dead(c);
}

static void lower_block(sbx_x64 *c, const x64_row *row)
{
    (void)row;
    new_label(c, LABEL_BLOCK);
    c->depth++;
}

static void lower_if(sbx_x64 *c, const x64_row *row)
{
    (void)row;
    x64_entry condition = x64_take(c);
    x64_charge(c);
    x64_test_nonzero(c, &condition);
    begin_if(c, CC_NE);
}

const x64_row x64_control_rows[] = {
    {.opcode = SBX_WASM_unreachable, .emit = lower_unreachable}, {.opcode = SBX_WASM_block, .emit = lower_block},
    {.opcode = SBX_WASM_loop, .emit = lower_loop}, {.opcode = SBX_WASM_if, .emit = lower_if}, {.opcode = SBX_WASM_else, .emit = lower_else},
    {.opcode = SBX_WASM_end, .emit = lower_end}, {.opcode = SBX_WASM_br, .emit = lower_br}, {.opcode = SBX_WASM_br_if, .emit = lower_br_if},
    {.opcode = SBX_WASM_br_table, .emit = lower_br_table}, {.opcode = SBX_WASM_return, .emit = lower_return},
    {.opcode = SBX_WASM_call, .emit = lower_call}, {.opcode = SBX_WASM_call_indirect, .emit = lower_call_indirect},
    {.opcode = SBX_WASM_select, .emit = lower_select}, {.opcode = SBX_WASM_select_t, .emit = lower_select},
    {.opcode = SBX_WASM_ref_is_null, .emit = x64_condition, .extra = true},
    {.emit = NULL},
};
