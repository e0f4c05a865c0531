/* The lowering's control flow: blocks, branches, returns, calls, and the charge of fuel at the end of each straight line. */
#include <string.h>
#include "lower.h"

/* Fuel: every instruction but block, loop, else, end and nop counts one. A straight line is charged where it ends. */

static void emit_fuel_op(sbx_lowerer *l, uint64_t cost)
{
    for (; cost; cost -= cost < UINT32_MAX ? cost : UINT32_MAX) {
        sbx_emit(l, SBX_IR_fuel);
        sbx_emit32(l, cost < UINT32_MAX ? (uint32_t)cost : UINT32_MAX);
    }
}

/* Charges by an operation of its own: before a join, where no branch does it. */
void sbx_emit_fuel(sbx_lowerer *l)
{
    if (l->options->metered)
        emit_fuel_op(l, l->cost);
    l->cost = 0;
}

/* What the operation emitted next charges itself, in one unit. */
static uint32_t take_cost(sbx_lowerer *l)
{
    uint64_t cost = l->cost;
    l->cost = 0;
    if (l->options->metered && cost > UINT16_MAX) {
        emit_fuel_op(l, cost - UINT16_MAX);
        cost = UINT16_MAX;
    }
    return (uint32_t)cost;
}

static void emit_control(sbx_lowerer *l, uint32_t op)
{
    sbx_emit(l, op + l->options->metered); /* the metered twin follows its row */
}

static void emit_cost(sbx_lowerer *l, uint32_t cost)
{
    if (l->options->metered)
        sbx_emit(l, cost);
}

static void patch(sbx_lowerer *l, uint32_t fixups, size_t target)
{
    while (fixups != NO_FIXUP && !l->failed) {
        uint32_t next;
        int32_t distance = (int32_t)((int64_t)target - fixups);
        memcpy(&next, l->code + fixups, 4);
        memcpy(l->code + fixups, &distance, 4);
        fixups = next;
    }
}

static void emit_offset_to(sbx_lowerer *l, uint32_t *fixups)
{
    uint32_t field = (uint32_t)l->count;
    sbx_emit32(l, *fixups);
    *fixups = field;
}

/* The offset field of a branch to a label: known for loops, chained for the others. */
static void emit_target(sbx_lowerer *l, label *target)
{
    if (target->kind == LABEL_LOOP) {
        sbx_emit32(l, (uint32_t)(target->start - (uint32_t)l->count));
        return;
    }
    target->targeted = true;
    emit_offset_to(l, &target->fixups);
}

static label *label_at(sbx_lowerer *l, uint32_t depth) { return &l->labels[l->depth - 1 - depth]; }

static uint32_t arity(const label *t) { return t->kind == LABEL_LOOP ? t->type.param_count : t->type.result_count; }

/* True when the top of the stack lies where a branch to the label wants it, once it is at home. */
static bool in_place(const sbx_lowerer *l, const label *t) { return !arity(t) || l->height - arity(t) == t->height; }

void sbx_dead(sbx_lowerer *l)
{
    sbx_pop_to(l, l->labels[l->depth - 1].height);
    l->unreachable = true;
    l->cost = 0;
}

/* Conditions. */

static condition take_condition(sbx_lowerer *l)
{
    condition c = {.left = sbx_pop(l)};
    if (sbx_made_last(l, &c.left) && l->last.opcode != SBX_WASM_i32_add) {
        sbx_take_back(l);
        c = (condition){l->last.opcode, l->last.left, l->last.right};
    } else if (c.left.place == AT_CONST) {
        sbx_to_slot(l, &c.left);
    }
    return c;
}

static bool is_zero(const operand *o) { return o->place == AT_CONST && !o->bits; }

/* Operation, fuel, operands of a conditional branch; the offset field comes next. */
static void emit_conditional(sbx_lowerer *l, condition *c, bool sense)
{
    uint32_t cost = take_cost(l);
    bool equality = c->compare == SBX_WASM_i32_eq || c->compare == SBX_WASM_i64_eq;
    bool inequality = c->compare == SBX_WASM_i32_ne || c->compare == SBX_WASM_i64_ne;
    if ((equality || inequality) && is_zero(&c->right) && c->left.place != AT_CONST) {
        sense = sense == inequality;
        c->compare = 0;
    }
    if (!c->compare) {
        uint8_t form = sbx_form(l, &c->left);
        uint32_t op = form == FORM_ACC ? (sense ? SBX_IR_br_nz_a : SBX_IR_br_z_a) : (sense ? SBX_IR_br_nz_s : SBX_IR_br_z_s);
        emit_control(l, op);
        sbx_emit_operand(l, &c->left, form, 'I');
        emit_cost(l, cost);
        return;
    }
    uint8_t forms[2];
    uint32_t compare = sbx_choose(l, c->compare, &c->left, &c->right, forms);
    emit_control(l, sbx_branch_op(compare, forms, sense));
    char letter = sbx_compare_letter(compare);
    sbx_emit_operand(l, &c->left, forms[0], letter);
    sbx_emit_operand(l, &c->right, forms[1], letter);
    emit_cost(l, cost);
}

/* Blocks. */

static void push_types(sbx_lowerer *l, const sbx_valtype *types, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        sbx_push_slot(l, sbx_class_of(types[i]));
}

void sbx_lower_block(sbx_lowerer *l, uint32_t opcode)
{
    size_t capacity = l->label_capacity;
    if (!sbx_room(l, &l->labels, &capacity, l->depth + 1, sizeof *l->labels))
        return;
    l->label_capacity = (uint32_t)capacity;
    label *t = &l->labels[l->depth];
    *t = (label){.kind = LABEL_BLOCK, .fixups = NO_FIXUP, .else_fixup = NO_FIXUP};
    t->type = sbx_pass_block_type(&l->at, l->module);
    condition c = {0};
    if (opcode == SBX_WASM_if)
        c = take_condition(l);
    t->height = l->height - t->type.param_count;
    sbx_materialise_top(l, t->type.param_count);
    sbx_flush(l);
    if (opcode == SBX_WASM_if) {
        t->kind = LABEL_IF;
        emit_conditional(l, &c, false);
        emit_offset_to(l, &t->else_fixup);
    } else if (opcode == SBX_WASM_loop) {
        t->kind = LABEL_LOOP;
        sbx_emit_fuel(l);
        sbx_forget_accumulators(l);
        t->start = (uint32_t)l->count;
        l->last.end = NOTHING_OPEN;
    }
    l->depth++;
}

/* A place that several paths reach: nothing is known of the accumulators. */
static void join(sbx_lowerer *l)
{
    sbx_forget_accumulators(l);
    l->last.end = NOTHING_OPEN;
    l->unreachable = false;
    l->cost = 0;
}

void sbx_lower_else(sbx_lowerer *l)
{
    label *t = &l->labels[l->depth - 1];
    if (!l->unreachable) {
        sbx_materialise_top(l, t->type.result_count);
        uint32_t cost = take_cost(l);
        emit_control(l, SBX_IR_br);
        emit_cost(l, cost);
        emit_target(l, t);
    }
    sbx_pop_to(l, t->height);
    patch(l, t->else_fixup, l->count);
    t->kind = LABEL_ELSE;
    join(l);
    push_types(l, t->type.params, t->type.param_count);
}

void sbx_lower_end(sbx_lowerer *l)
{
    label *t = &l->labels[l->depth - 1];
    if (t->kind == LABEL_FUNCTION) {
        if (!l->unreachable)
            sbx_lower_return(l);
        l->depth--;
        return;
    }
    bool joins = t->targeted || t->kind == LABEL_IF; /* an if without else falls through with its parameters */
    if (joins && !l->unreachable) {
        sbx_materialise_top(l, t->type.result_count);
        sbx_emit_fuel(l);
    }
    if (joins) {
        if (t->kind == LABEL_IF)
            patch(l, t->else_fixup, l->count);
        patch(l, t->fixups, l->count);
        sbx_pop_to(l, t->height);
        for (uint32_t i = 0; i < t->type.result_count; i++)
            sbx_push_slot(l, sbx_class_of(sbx_block_result(&t->type, i)));
        join(l);
    }
    l->depth--;
}

/* Branches. */

/* Copies the top n entries to the homes of the heights from `height` up; changes nothing of what is known. */
static void emit_moves(sbx_lowerer *l, uint32_t n, uint32_t height)
{
    for (uint32_t i = 0; i < n; i++)
        sbx_move(l, &l->stack[l->height - n + i], l->temps + height + i);
}

/* The return sequence, after its cost was charged elsewhere or with it; several values must be at home. */
static void emit_return(sbx_lowerer *l, uint32_t cost, bool charged)
{
    static const uint16_t ops[CLASS_COUNT][2] = {
        {SBX_IR_return_xs, SBX_IR_return_xa}, {SBX_IR_return_fs, SBX_IR_return_fa}, {SBX_IR_return_Fs, SBX_IR_return_Fa}};
    uint32_t n = l->type->results, twin = !charged && l->options->metered;
    if (n == 1) {
        operand *o = &l->stack[l->height - 1];
        bool acc = o->place == AT_ACC || (o->place != AT_CONST && l->acc_slot[o->cls] == o->slot);
        sbx_emit(l, ops[o->cls][acc] + twin);
        if (!acc)
            sbx_emit(l, o->slot);
    } else {
        for (uint32_t i = 0; i < n; i++) /* homes lie above every result slot: ascending copies overwrite nothing that is needed */
            sbx_move(l, &l->stack[l->height - n + i], i);
        sbx_emit(l, SBX_IR_return + twin);
    }
    if (twin)
        sbx_emit(l, cost);
}

/* What a return needs in place before a branch over it: no constant alone, several values at home. */
static void prepare_return(sbx_lowerer *l)
{
    uint32_t n = l->type->results;
    if (n > 1 || (n == 1 && l->stack[l->height - 1].place == AT_CONST))
        sbx_materialise_top(l, n);
}

void sbx_lower_return(sbx_lowerer *l)
{
    prepare_return(l);
    uint32_t cost = take_cost(l);
    emit_return(l, cost, false);
    sbx_dead(l);
}

void sbx_lower_br(sbx_lowerer *l, uint32_t depth)
{
    label *t = label_at(l, depth);
    if (t->kind == LABEL_FUNCTION) {
        sbx_lower_return(l);
        return;
    }
    if (in_place(l, t)) {
        sbx_materialise_top(l, arity(t));
    } else if (arity(t) == 1) {
        operand o = sbx_pop(l);
        sbx_store_operand(l, &o, l->temps + t->height);
    } else {
        emit_moves(l, arity(t), t->height);
    }
    uint32_t cost = take_cost(l);
    emit_control(l, SBX_IR_br);
    emit_cost(l, cost);
    emit_target(l, t);
    sbx_dead(l);
}

void sbx_lower_br_if(sbx_lowerer *l, uint32_t depth)
{
    label *t = label_at(l, depth);
    condition c = take_condition(l);
    bool returns = t->kind == LABEL_FUNCTION, direct = !returns && in_place(l, t);
    if (returns)
        prepare_return(l);
    else if (direct)
        sbx_materialise_top(l, arity(t));
    emit_conditional(l, &c, direct);
    if (direct) {
        emit_target(l, t);
        return;
    }
    uint32_t over = NO_FIXUP;
    emit_offset_to(l, &over);
    if (returns) {
        emit_return(l, 0, true);
    } else {
        emit_moves(l, arity(t), t->height);
        sbx_emit(l, SBX_IR_br);
        emit_target(l, t);
    }
    patch(l, over, l->count);
    l->last.end = NOTHING_OPEN;
}

static bool needs_stub(const sbx_lowerer *l, const label *t) { return t->kind == LABEL_FUNCTION || !in_place(l, t); }

/* One offset field of a br_table: the label itself, or a stub behind the table that all entries of the label share. */
static void emit_table_entry(sbx_lowerer *l, uint32_t depth)
{
    label *t = label_at(l, depth);
    if (!needs_stub(l, t)) {
        emit_target(l, t);
        return;
    }
    if (t->stub_epoch != l->stub_epoch) {
        size_t capacity = l->stub_capacity;
        if (!sbx_room(l, &l->stubs, &capacity, l->stub_count + 1, sizeof *l->stubs))
            return;
        l->stub_capacity = (uint32_t)capacity;
        l->stubs[l->stub_count++] = depth;
        t->stub_epoch = l->stub_epoch;
        t->stub_fixups = NO_FIXUP;
    }
    emit_offset_to(l, &t->stub_fixups);
}

void sbx_lower_br_table(sbx_lowerer *l)
{
    uint32_t count = sbx_leb_u32(&l->at);
    const uint8_t *targets = l->at;
    for (uint32_t i = 0; i < count; i++)
        sbx_leb_u32(&l->at);
    uint32_t fallback = sbx_leb_u32(&l->at);
    const uint8_t *behind = l->at;
    operand index = sbx_pop(l);
    if (index.place == AT_CONST)
        sbx_to_slot(l, &index);
    sbx_materialise_top(l, arity(label_at(l, fallback)));
    uint8_t form = sbx_form(l, &index);
    uint32_t cost = take_cost(l);
    emit_control(l, form == FORM_ACC ? SBX_IR_br_table_a : SBX_IR_br_table_s);
    sbx_emit_operand(l, &index, form, 'i');
    emit_cost(l, cost);
    sbx_emit32(l, count);
    l->stub_epoch++;
    l->stub_count = 0;
    l->at = targets;
    for (uint32_t i = 0; i <= count; i++)
        emit_table_entry(l, sbx_leb_u32(&l->at));
    l->at = behind;
    for (uint32_t i = 0; i < l->stub_count; i++) {
        label *t = label_at(l, l->stubs[i]);
        patch(l, t->stub_fixups, l->count);
        sbx_forget_accumulators(l);
        if (t->kind == LABEL_FUNCTION) {
            emit_return(l, 0, true);
        } else {
            emit_moves(l, arity(t), t->height);
            sbx_emit(l, SBX_IR_br);
            emit_target(l, t);
        }
    }
    sbx_dead(l);
}

/* Calls: arguments at home, where the callee's frame begins; results come back in the same place. */

static uint32_t call_arguments(sbx_lowerer *l, const sbx_functype *type)
{
    sbx_materialise_top(l, type->params);
    sbx_spill_accumulators(l);
    return l->temps + l->height - type->params;
}

static void call_results(sbx_lowerer *l, const sbx_functype *type)
{
    sbx_pop_to(l, l->height - type->params);
    sbx_forget_accumulators(l);
    push_types(l, type->types + type->params, type->results);
    if (type->results == 1) {
        const operand *o = &l->stack[l->height - 1];
        l->acc_slot[o->cls] = o->slot;
    }
    l->last.end = NOTHING_OPEN;
}

void sbx_lower_call(sbx_lowerer *l, uint32_t function, const uint8_t *instruction)
{
    const sbx_module *m = l->module;
    const sbx_functype *type = &m->types[m->functions[function]];
    uint32_t base = call_arguments(l, type), cost = take_cost(l);
    bool imported = function < m->imported_functions;
    sbx_mark(l, instruction);
    emit_control(l, imported ? SBX_IR_call_import : SBX_IR_call);
    sbx_emit(l, base);
    if (!imported) {
        if (sbx_room(l, &l->calls, &l->call_capacity, l->call_count + 1, sizeof *l->calls))
            l->calls[l->call_count++] = (call_site){(uint32_t)l->count, function - m->imported_functions};
    }
    sbx_emit32(l, function);
    emit_cost(l, cost);
    call_results(l, type);
}

void sbx_lower_call_indirect(sbx_lowerer *l, uint32_t type_index, uint32_t table, const uint8_t *instruction)
{
    const sbx_functype *type = &l->module->types[type_index];
    operand index = sbx_pop(l);
    if (index.place == AT_CONST)
        sbx_to_slot(l, &index);
    uint32_t base = call_arguments(l, type), cost = take_cost(l);
    uint8_t form = sbx_form(l, &index);
    sbx_mark(l, instruction);
    emit_control(l, form == FORM_ACC ? SBX_IR_call_indirect_a : SBX_IR_call_indirect_s);
    sbx_emit(l, base);
    sbx_emit_operand(l, &index, form, 'i');
    sbx_emit32(l, type_index);
    sbx_emit32(l, table);
    emit_cost(l, cost);
    call_results(l, type);
}
