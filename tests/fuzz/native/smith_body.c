/* Valid function bodies at random: operand trees and a stack machine that leaves values lying, mixed. They end by themselves
 * as long as calls are bounded: each loop counts, and whoever calls spends a budget. */
#include <string.h>
#include "fuzz.h"

enum { LOCALS = 96, LABELS = 24, STACK = 32, DEPTH = 6, MANY = 256 };

typedef struct label { uint32_t count; uint8_t types[FZ_ARITY]; int32_t counter, bound; } label; /* counter: of a loop, or -1 */

typedef struct body {
    fz_environment *env;
    fz_rng *rng;
    fz_bytes *out;
    const fz_signature *own;
    uint8_t locals[LOCALS];
    uint32_t local_count, label_count;
    uint32_t hidden[8], hidden_count; /* loop counters of open loops: not to be written */
    label labels[LABELS];             /* innermost last */
    int32_t left;                     /* instructions that may still be made */
    uint32_t plain;                   /* percent of operands that are a local, a constant, a global */
    bool leaf;
} body;

/* Instructions by result type, found in the operation table. */
typedef struct choice { uint16_t opcodes[MANY]; uint32_t count; } choice;
static choice numeric[4], loads[4], stores[4], compares;
static const uint8_t number_types[4] = {SBX_I32, SBX_I64, SBX_F32, SBX_F64};

static uint32_t number_index(sbx_valtype type) { return SBX_I32 - type; }
static bool is_number(sbx_valtype type) { return type >= SBX_F64 && type <= SBX_I32; }

static void add(choice *to, uint32_t opcode)
{
    if (to->count < MANY)
        to->opcodes[to->count++] = (uint16_t)opcode;
}

static void find_instructions(void)
{
    if (compares.count)
        return;
    for (uint32_t i = 0; i < 256 + 8; i++) {
        uint32_t opcode = i < 256 ? i : 0xFC00 + i - 256;
        const sbx_op_info *info = sbx_op_info_of(opcode);
        switch (info->kind) {
        case SBX_KIND_COMPARE: case SBX_KIND_TEST: add(&compares, opcode); /* fall through */
        case SBX_KIND_UNARY: case SBX_KIND_BINARY: add(&numeric[number_index(info->result)], opcode); break;
        case SBX_KIND_LOAD: add(&loads[number_index(info->result)], opcode); break;
        case SBX_KIND_STORE: add(&stores[number_index(info->params[1])], opcode); break;
        default: break;
        }
    }
}

static uint32_t pick(body *b, const choice *from) { return from->opcodes[fz_below(b->rng, from->count)]; }
static void op(body *b, uint32_t opcode) { fz_opcode(b->out, opcode); b->left--; }
static void op1(body *b, uint32_t opcode, uint64_t immediate) { op(b, opcode); fz_unsigned(b->out, immediate); }
static void i32(body *b, uint32_t value) { fz_const(b->out, SBX_I32, value); }

static uint8_t any_type(body *b)
{
    if (fz_chance(b->rng, 6))
        return fz_chance(b->rng, 50) ? SBX_FUNCREF : SBX_EXTERNREF;
    return number_types[fz_below(b->rng, 4)];
}

static int32_t new_local(body *b, uint8_t type)
{
    if (b->local_count >= LOCALS)
        return -1;
    b->locals[b->local_count] = type;
    return (int32_t)b->local_count++;
}

static bool is_hidden(const body *b, uint32_t index)
{
    for (uint32_t i = 0; i < b->hidden_count; i++)
        if (b->hidden[i] == index)
            return true;
    return false;
}

/* A local of the type that may be written, or -1. */
static int32_t local_of(body *b, uint8_t type)
{
    uint32_t start = fz_below(b->rng, b->local_count);
    for (uint32_t i = 0; i < b->local_count; i++) {
        uint32_t k = (start + i) % b->local_count;
        if (b->locals[k] == type && !is_hidden(b, k))
            return (int32_t)k;
    }
    return -1;
}

static int32_t global_of(body *b, uint8_t type, bool written)
{
    uint32_t count = b->env->global_count, start = fz_below(b->rng, count);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t k = (start + i) % count;
        const fz_global *g = &b->env->globals[k];
        if (g->type == type && (int32_t)k != b->env->budget && (g->is_mutable || !written))
            return (int32_t)k;
    }
    return -1;
}

static int32_t table_of(body *b, uint8_t type)
{
    uint32_t count = b->env->table_count, start = fz_below(b->rng, count);
    for (uint32_t i = 0; i < count; i++)
        if (b->env->tables[(start + i) % count] == type)
            return (int32_t)((start + i) % count);
    return -1;
}

static void push(body *b, uint8_t type, int depth);
static void statement(body *b, int depth);
static void sequence(body *b, const uint8_t *params, uint32_t param_count, const uint8_t *results, uint32_t result_count, int depth);

static void push_all(body *b, const uint8_t *types, uint32_t count, int depth)
{
    for (uint32_t i = 0; i < count; i++) {
        push(b, types[i], depth);
        if (depth > 0 && fz_chance(b->rng, 5))
            statement(b, depth - 1);
    }
}

static void simple(body *b, uint8_t type)
{
    int32_t index;
    uint32_t roll = fz_below(b->rng, 100);
    if (roll < 45 && (index = local_of(b, type)) >= 0)
        op1(b, SBX_WASM_local_get, (uint32_t)index);
    else if (roll < 58 && (index = global_of(b, type, false)) >= 0)
        op1(b, SBX_WASM_global_get, (uint32_t)index);
    else if (type == SBX_FUNCREF && b->env->refers && b->env->function_count && roll < 85)
        op1(b, SBX_WASM_ref_func, fz_below(b->rng, b->env->function_count));
    else
        fz_const(b->out, type, is_number(type) ? fz_number(b->rng, type) : 0);
}

static void masked(body *b, uint32_t mask, int depth)
{
    push(b, SBX_I32, depth - 1);
    i32(b, mask);
    op(b, SBX_WASM_i32_and);
}

static void address(body *b, int depth)
{
    static const uint32_t places[] = {0, 4, 8, 16, 100, 1000, 32768, 65520, 65528, 65532, 65535, 65536, 131064};
    static const uint32_t masks[] = {0xFF, 0xFFF, 0x7FF8, 0xFFE0, 0xFFFF, 0x1FFFF};
    static const uint32_t steps[] = {1, 8, 100, 4096, ~0u, ~7u, ~4095u, 0x80000000u, 0x7FFFFFFFu};
    uint32_t roll = fz_below(b->rng, 100);
    if (roll < 6) {
        push(b, SBX_I32, depth);
    } else if (roll < 35) {
        i32(b, places[fz_below(b->rng, sizeof places / sizeof *places)]);
    } else if (roll < 55 && depth > 0) { /* a sum, as of a pointer and an index: it wraps */
        masked(b, masks[fz_below(b->rng, 3)], depth);
        if (fz_chance(b->rng, 50))
            i32(b, steps[fz_below(b->rng, sizeof steps / sizeof *steps)]);
        else
            push(b, SBX_I32, depth - 1);
        op(b, fz_chance(b->rng, 70) ? SBX_WASM_i32_add : SBX_WASM_i32_sub);
    } else if (roll < 65) { /* the low half of something wide: the upper half must not count */
        push(b, SBX_I64, depth - 1);
        fz_const(b->out, SBX_I64, fz_chance(b->rng, 50) ? 0xFFFFFFFF0000FFFFu : 0xFFFF000000000FF8u);
        op(b, SBX_WASM_i64_and);
        op(b, SBX_WASM_i32_wrap_i64);
    } else {
        masked(b, masks[fz_below(b->rng, sizeof masks / sizeof *masks)], depth);
    }
}

static void memory_access(body *b, uint32_t opcode)
{
    static const uint32_t far[] = {65527, 65528, 65535, 65536, 131071, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF8, 0xFFFFFFFF};
    uint32_t natural = (uint32_t)__builtin_ctz(sbx_op_info_of(opcode)->width);
    op(b, opcode);
    fz_unsigned(b->out, fz_chance(b->rng, 70) ? natural : fz_below(b->rng, natural + 1));
    uint32_t roll = fz_below(b->rng, 100);
    fz_unsigned(b->out, roll < 55 ? 0 : roll < 95 ? fz_below(b->rng, 24) : far[fz_below(b->rng, sizeof far / sizeof *far)]);
}

static void number(body *b, uint8_t type, int depth)
{
    uint32_t opcode = pick(b, &numeric[number_index(type)]);
    const sbx_op_info *info = sbx_op_info_of(opcode);
    bool truncates = info->kind == SBX_KIND_UNARY && info->traps;
    if (truncates && fz_chance(b->rng, 80)) /* mostly the form that saturates: a trap ends the call */
        opcode = 0xFC00 + (opcode <= SBX_WASM_i32_trunc_f64_u ? opcode - SBX_WASM_i32_trunc_f32_s : opcode - SBX_WASM_i64_trunc_f32_s + 4);
    for (uint32_t i = 0; i < info->param_count; i++)
        push(b, info->params[i], depth - 1);
    if (info->kind == SBX_KIND_BINARY && info->traps && fz_chance(b->rng, 70)) {
        fz_const(b->out, type, 1);
        op(b, type == SBX_I32 ? SBX_WASM_i32_or : SBX_WASM_i64_or);
    }
    op(b, opcode);
}

/* An i32 to branch on: a comparison, so that it may be fused. */
static void condition(body *b, int depth)
{
    if (depth > 0 && fz_chance(b->rng, 75)) {
        uint32_t opcode = pick(b, &compares);
        const sbx_op_info *info = sbx_op_info_of(opcode);
        for (uint32_t i = 0; i < info->param_count; i++)
            push(b, info->params[i], depth - 1);
        op(b, opcode);
    } else {
        push(b, SBX_I32, depth - 1);
    }
}

static const fz_signature *type_of(const body *b, uint32_t function)
{
    uint32_t type = b->env->functions[function];
    return type < b->env->type_count ? &b->env->types[type] : NULL;
}

static bool gives(const fz_signature *t, const uint8_t *results, uint32_t count)
{
    return t && t->results == count && !memcmp(t->types + t->params, results, count);
}

/* A call of something with these results, direct or through a table; false when there is nothing. */
static bool call(body *b, const uint8_t *results, uint32_t count, int depth)
{
    int32_t table = table_of(b, SBX_FUNCREF);
    if (b->leaf || b->env->budget < 0 || depth <= 0)
        return false;
    if (table >= 0 && fz_chance(b->rng, 35)) {
        uint32_t start = fz_below(b->rng, b->env->type_count);
        for (uint32_t i = 0; i < b->env->type_count; i++) {
            uint32_t k = (start + i) % b->env->type_count;
            if (!gives(&b->env->types[k], results, count))
                continue;
            push_all(b, b->env->types[k].types, b->env->types[k].params, depth - 1);
            if (fz_chance(b->rng, 85))
                i32(b, fz_below(b->rng, 12));
            else
                push(b, SBX_I32, depth - 1);
            op1(b, SBX_WASM_call_indirect, k);
            fz_unsigned(b->out, (uint32_t)table);
            return true;
        }
    }
    uint32_t functions = b->env->function_count, start = fz_below(b->rng, functions);
    for (uint32_t i = 0; i < functions; i++) {
        uint32_t k = (start + i) % functions;
        const fz_signature *t = type_of(b, k);
        if (!gives(t, results, count))
            continue;
        push_all(b, t->types, t->params, depth - 1);
        op1(b, SBX_WASM_call, k);
        return true;
    }
    return false;
}

static void table_index(body *b, int depth)
{
    if (fz_chance(b->rng, 70))
        i32(b, fz_below(b->rng, 14));
    else if (fz_chance(b->rng, 50))
        masked(b, 15, depth);
    else
        push(b, SBX_I32, depth - 1);
}

/* Values that are neither arithmetic nor a structure; false when the module has not what it takes. */
static bool special(body *b, uint8_t type, int depth)
{
    int32_t table = table_of(b, fz_chance(b->rng, 50) ? SBX_FUNCREF : SBX_EXTERNREF);
    if (type == SBX_I32) {
        switch (fz_below(b->rng, 6)) {
        case 0: if (!b->env->has_memory) return false; op1(b, SBX_WASM_memory_size, 0); return true;
        case 1:
            if (!b->env->has_memory) return false;
            if (fz_chance(b->rng, 80)) i32(b, fz_below(b->rng, 3)); else push(b, SBX_I32, depth - 1);
            op1(b, SBX_WASM_memory_grow, 0);
            return true;
        case 2: if (table < 0) return false; op1(b, SBX_WASM_table_size, (uint32_t)table); return true;
        case 3:
            if (table < 0) return false;
            push(b, b->env->tables[table], depth - 1);
            i32(b, fz_chance(b->rng, 97) ? fz_below(b->rng, 4) : ~0u);
            op1(b, SBX_WASM_table_grow, (uint32_t)table);
            return true;
        default:
            push(b, fz_chance(b->rng, 50) ? SBX_FUNCREF : SBX_EXTERNREF, depth - 1);
            op(b, SBX_WASM_ref_is_null);
            return true;
        }
    }
    if (!is_number(type) && (table = table_of(b, type)) >= 0) {
        table_index(b, depth);
        op1(b, SBX_WASM_table_get, (uint32_t)table);
        return true;
    }
    return false;
}

static void structure(body *b, const uint8_t *params, uint32_t param_count, const uint8_t *results, uint32_t result_count, int depth);

static void push(body *b, uint8_t type, int depth)
{
    if (depth <= 0 || b->left <= 0 || fz_chance(b->rng, b->plain)) {
        simple(b, type);
        return;
    }
    uint32_t roll = fz_below(b->rng, 100);
    int32_t index;
    if (roll < 42 && is_number(type)) {
        number(b, type, depth);
    } else if (roll < 56 && is_number(type) && b->env->has_memory) {
        address(b, depth);
        memory_access(b, pick(b, &loads[number_index(type)]));
    } else if (roll < 64) {
        push(b, type, depth - 1);
        push(b, type, depth - 1);
        condition(b, depth - 1);
        if (is_number(type) && fz_chance(b->rng, 70)) {
            op(b, SBX_WASM_select);
        } else {
            op1(b, SBX_WASM_select_t, 1);
            fz_put(b->out, type);
        }
    } else if (roll < 70 && (index = local_of(b, type)) >= 0) {
        push(b, type, depth - 1);
        op1(b, SBX_WASM_local_tee, (uint32_t)index);
    } else if (roll < 82) {
        structure(b, NULL, 0, &type, 1, depth - 1);
    } else if (roll < 92 ? !call(b, &type, 1, depth - 1) && !special(b, type, depth) : !special(b, type, depth)) {
        simple(b, type);
    }
}

/* Structures and branches. */

static void guard(body *b, const label *l)
{
    op1(b, SBX_WASM_local_get, (uint32_t)l->counter);
    i32(b, (uint32_t)l->bound);
    op(b, SBX_WASM_i32_lt_u);
}

static void new_label(body *b, const uint8_t *types, uint32_t count, int32_t counter)
{
    label *l = &b->labels[b->label_count++];
    *l = (label){.count = count, .counter = counter, .bound = 1 + (int32_t)fz_below(b->rng, 5)};
    if (count)
        memcpy(l->types, types, count);
}

/* A block, loop or if over what lies on the stack already. */
static void structure(body *b, const uint8_t *params, uint32_t param_count, const uint8_t *results, uint32_t result_count, int depth)
{
    fz_signature t = {.params = param_count, .results = result_count};
    if (param_count)
        memcpy(t.types, params, param_count);
    if (result_count)
        memcpy(t.types + param_count, results, result_count);
    uint32_t kind = fz_below(b->rng, 5);
    int32_t counter = -1;
    if (b->label_count >= LABELS || b->left <= 0)
        depth = 0;
    if (kind == 2 && b->hidden_count < 8 && (counter = new_local(b, SBX_I32)) >= 0) {
        i32(b, 0);
        op1(b, SBX_WASM_local_set, (uint32_t)counter);
        b->hidden[b->hidden_count++] = (uint32_t)counter;
    } else if (kind >= 3) {
        condition(b, depth);
    }
    bool labelled = b->label_count < LABELS;
    op(b, counter >= 0 ? SBX_WASM_loop : kind >= 3 ? SBX_WASM_if : SBX_WASM_block);
    if (!t.params && t.results <= 1)
        fz_put(b->out, t.results ? t.types[0] : 0x40);
    else
        fz_signed(b->out, fz_type_index(b->env, &t)); /* there is room: `step` has looked */
    const uint8_t *out = t.types + t.params;
    if (labelled)
        new_label(b, counter >= 0 ? t.types : out, counter >= 0 ? t.params : t.results, counter);
    if (counter >= 0) {
        op1(b, SBX_WASM_local_get, (uint32_t)counter);
        i32(b, 1);
        op(b, SBX_WASM_i32_add);
        op1(b, SBX_WASM_local_set, (uint32_t)counter);
    }
    sequence(b, t.types, t.params, out, t.results, labelled ? depth - 1 : -1);
    bool same = t.params == t.results && !memcmp(t.types, out, t.params);
    if (counter < 0 && kind >= 3 && (!same || fz_chance(b->rng, 70))) {
        fz_put(b->out, SBX_WASM_else);
        sequence(b, t.types, t.params, out, t.results, labelled ? depth - 1 : -1);
    }
    fz_put(b->out, SBX_WASM_end);
    if (labelled)
        b->label_count--;
    if (counter >= 0)
        b->hidden_count--;
}

static uint32_t distance(const body *b, const label *l) { return b->label_count - 1 - (uint32_t)(l - b->labels); }

/* All labels whose types are those of `like`, loops guarded: pushes the guards' conjunction when there are loops. */
static void branch_table(body *b, const label *like, int depth)
{
    const label *same[LABELS];
    uint32_t count = 0, targets[6], n = 1 + fz_below(b->rng, 5);
    for (uint32_t i = 0; i < b->label_count; i++) {
        const label *l = &b->labels[i];
        if (l->counter < 0 && l->count == like->count && !memcmp(l->types, like->types, l->count))
            same[count++] = l;
    }
    if (!count)
        return;
    condition(b, depth - 1);
    op(b, SBX_WASM_if);
    fz_put(b->out, 0x40);
    new_label(b, NULL, 0, -1);
    push_all(b, like->types, like->count, depth - 1);
    if (fz_chance(b->rng, 70))
        masked(b, 7, depth);
    else
        push(b, SBX_I32, depth - 1);
    for (uint32_t i = 0; i <= n; i++)
        targets[i] = distance(b, same[fz_below(b->rng, count)]);
    op1(b, SBX_WASM_br_table, n);
    for (uint32_t i = 0; i <= n; i++)
        fz_unsigned(b->out, targets[i]);
    fz_put(b->out, SBX_WASM_end);
    b->label_count--;
}

/* A branch or return in an `if`, so that it is a statement. */
static void leave(body *b, int depth)
{
    if (b->label_count + 1 >= LABELS || depth <= 0)
        return;
    const label *l = &b->labels[fz_below(b->rng, b->label_count)];
    if (fz_chance(b->rng, 30)) {
        branch_table(b, l, depth);
        return;
    }
    if (l->counter >= 0)
        guard(b, l);
    else
        condition(b, depth - 1);
    op(b, SBX_WASM_if);
    fz_put(b->out, 0x40);
    new_label(b, NULL, 0, -1);
    if (fz_chance(b->rng, 15)) {
        push_all(b, b->own->types + b->own->params, b->own->results, depth - 1);
        op(b, SBX_WASM_return);
    } else {
        push_all(b, l->types, l->count, depth - 1);
        op1(b, SBX_WASM_br, distance(b, l));
    }
    fz_put(b->out, SBX_WASM_end);
    b->label_count--;
}

/* Bulk operations with small lengths, mostly in bounds; false when the module has not what it takes. */
static bool bulk(body *b, int depth)
{
    static const uint32_t lengths[] = {0, 1, 3, 8, 17, 65536};
    uint32_t length = lengths[fz_below(b->rng, fz_chance(b->rng, 90) ? 5 : 6)];
    int32_t table = table_of(b, fz_chance(b->rng, 60) ? SBX_FUNCREF : SBX_EXTERNREF);
    uint32_t data = fz_below(b->rng, b->env->data_count), kind = fz_below(b->rng, 10);
    if (kind < 5 ? !b->env->has_memory : table < 0)
        return false;
    if (kind < 2) { /* copy, fill */
        address(b, depth);
        if (kind) push(b, SBX_I32, depth - 1); else address(b, depth);
        i32(b, length);
        op1(b, kind ? SBX_WASM_memory_fill : SBX_WASM_memory_copy, 0);
        if (!kind)
            fz_put(b->out, 0);
    } else if (kind < 5) {
        if (!b->env->data_count)
            return false;
        if (kind == 4 && fz_chance(b->rng, 50)) {
            op1(b, SBX_WASM_data_drop, data);
            return true;
        }
        address(b, depth);
        i32(b, fz_below(b->rng, 5));
        i32(b, fz_below(b->rng, 5));
        op1(b, SBX_WASM_memory_init, data);
        fz_put(b->out, 0);
    } else if (kind < 7) { /* table.fill, table.set */
        table_index(b, depth);
        push(b, b->env->tables[table], depth - 1);
        if (kind == 5)
            i32(b, fz_below(b->rng, 4));
        op1(b, kind == 5 ? SBX_WASM_table_fill : SBX_WASM_table_set, (uint32_t)table);
    } else if (kind == 7) {
        table_index(b, depth);
        table_index(b, depth);
        i32(b, fz_below(b->rng, 5));
        op1(b, SBX_WASM_table_copy, (uint32_t)table);
        fz_unsigned(b->out, (uint32_t)table);
    } else {
        uint32_t segment = fz_below(b->rng, b->env->element_count);
        if (!b->env->element_count || (table = table_of(b, b->env->elements[segment])) < 0)
            return false;
        if (kind == 8 && fz_chance(b->rng, 25)) {
            op1(b, SBX_WASM_elem_drop, segment);
            return true;
        }
        table_index(b, depth);
        i32(b, fz_below(b->rng, 3));
        i32(b, fz_below(b->rng, 4));
        op1(b, SBX_WASM_table_init, segment);
        fz_unsigned(b->out, (uint32_t)table);
    }
    return true;
}

static void statement(body *b, int depth)
{
    uint32_t roll = fz_below(b->rng, 100);
    uint8_t type = any_type(b);
    int32_t index;
    if (b->left <= 0)
        return;
    if (roll < 14 && b->env->has_memory) {
        type = number_types[fz_below(b->rng, 4)];
        address(b, depth);
        push(b, type, depth);
        memory_access(b, pick(b, &stores[number_index(type)]));
        return;
    }
    if (roll < 21 && (index = global_of(b, type, true)) >= 0) {
        push(b, type, depth);
        op1(b, SBX_WASM_global_set, (uint32_t)index);
        return;
    }
    if (roll < 29 && bulk(b, depth))
        return;
    if (roll < 38 && b->env->function_count) {
        const fz_signature *t = type_of(b, fz_below(b->rng, b->env->function_count));
        if (t && call(b, t->types + t->params, t->results, depth)) {
            for (uint32_t i = 0; i < t->results; i++)
                op(b, SBX_WASM_drop);
            return;
        }
    }
    if (roll < 48) {
        leave(b, depth);
        return;
    }
    if (roll < 60 && depth > 0) {
        structure(b, NULL, 0, NULL, 0, depth);
        return;
    }
    index = local_of(b, type);
    push(b, type, depth);
    if (index >= 0)
        op1(b, SBX_WASM_local_set, (uint32_t)index);
    else
        op(b, SBX_WASM_drop);
}

/* One step of the stack machine; returns the new height. */
static uint32_t step(body *b, uint8_t *stack, uint32_t height, int depth)
{
    uint32_t roll = fz_below(b->rng, 100);
    uint8_t top = height ? stack[height - 1] : 0;
    int32_t index = height ? local_of(b, top) : -1;
    if (roll < 40 || depth < 0) {
        statement(b, depth);
    } else if (roll < 62 || !height) {
        stack[height] = any_type(b);
        push(b, stack[height], depth);
        height++;
    } else if (roll < 68) {
        if (index >= 0 && fz_chance(b->rng, 70))
            op1(b, SBX_WASM_local_set, (uint32_t)index);
        else
            op(b, SBX_WASM_drop);
        height--;
    } else if (roll < 74 && index >= 0) {
        op1(b, SBX_WASM_local_tee, (uint32_t)index);
    } else if (roll < 84 && is_number(top)) { /* an operation on what lies there */
        uint32_t opcode = pick(b, &numeric[fz_below(b->rng, 4)]);
        const sbx_op_info *info = sbx_op_info_of(opcode);
        if (info->traps || info->params[0] != top)
            return height;
        if (info->param_count == 2)
            push(b, info->params[1], depth);
        op(b, opcode);
        stack[height - 1] = info->result;
    } else if (roll < 91 && depth > 0) {
        uint32_t count = 1 + fz_below(b->rng, height < 3 ? height : 3), made = fz_below(b->rng, 3);
        uint8_t results[2] = {any_type(b), any_type(b)};
        fz_signature t = {.params = count, .results = made};
        if (!b->env->may_add_types || b->env->type_count >= FZ_TYPES)
            return height;
        memcpy(t.types, stack + height - count, count);
        structure(b, t.types, count, results, made, depth);
        height -= count;
        memcpy(stack + height, results, made);
        height += made;
    } else {
        for (uint32_t i = 0; i < b->label_count; i++) {
            const label *l = &b->labels[i];
            if (!l->count || l->count > height || memcmp(stack + height - l->count, l->types, l->count))
                continue;
            if (l->counter >= 0)
                guard(b, l);
            else
                condition(b, depth);
            op1(b, SBX_WASM_br_if, distance(b, l));
            break;
        }
    }
    return height;
}

/* Code that ends the sequence for good, and dead code behind it. */
static void terminate(body *b, int depth)
{
    const label *l = &b->labels[fz_below(b->rng, b->label_count)];
    if (l->counter < 0 && fz_chance(b->rng, 80)) {
        push_all(b, l->types, l->count, depth);
        op1(b, SBX_WASM_br, distance(b, l));
    } else if (fz_chance(b->rng, 85)) {
        push_all(b, b->own->types + b->own->params, b->own->results, depth);
        op(b, SBX_WASM_return);
    } else {
        op(b, SBX_WASM_unreachable);
    }
    static const uint8_t dead[][2] = {
        {SBX_WASM_drop, SBX_WASM_nop}, {SBX_WASM_i32_add, SBX_WASM_drop}, {SBX_WASM_select, SBX_WASM_drop},
        {SBX_WASM_i64_eqz, SBX_WASM_drop}, {SBX_WASM_f32_neg, SBX_WASM_drop}, {SBX_WASM_ref_is_null, SBX_WASM_drop},
    };
    for (uint32_t n = fz_below(b->rng, 3); n; n--) {
        const uint8_t *pair = dead[fz_below(b->rng, sizeof dead / sizeof *dead)];
        op(b, pair[0]);
        op(b, pair[1]);
    }
}

static void sequence(body *b, const uint8_t *params, uint32_t param_count, const uint8_t *results, uint32_t result_count, int depth)
{
    uint8_t stack[FZ_ARITY + STACK];
    uint32_t height = param_count, kept = 0;
    if (param_count)
        memcpy(stack, params, param_count);
    for (uint32_t n = depth >= 0 ? 1 + fz_below(b->rng, 5) : 0; n && b->left > 0 && height < STACK; n--)
        height = step(b, stack, height, depth);
    if (depth > 0 && b->label_count && fz_chance(b->rng, 5)) {
        terminate(b, depth - 1);
        return;
    }
    while (kept < height && kept < result_count && stack[kept] == results[kept])
        kept++;
    while (height > kept) {
        int32_t index = local_of(b, stack[--height]);
        if (index >= 0 && fz_chance(b->rng, 60))
            op1(b, SBX_WASM_local_set, (uint32_t)index);
        else
            op(b, SBX_WASM_drop);
    }
    push_all(b, results + kept, result_count - kept, depth < 0 ? 0 : depth);
}

/* Whoever has spent the budget answers at once. */
static void spend(body *b)
{
    uint32_t budget = (uint32_t)b->env->budget;
    op1(b, SBX_WASM_global_get, budget);
    op(b, SBX_WASM_i32_eqz);
    op(b, SBX_WASM_if);
    fz_put(b->out, 0x40);
    for (uint32_t i = 0; i < b->own->results; i++)
        fz_const(b->out, b->own->types[b->own->params + i], 0);
    op(b, SBX_WASM_return);
    fz_put(b->out, SBX_WASM_end);
    op1(b, SBX_WASM_global_get, budget);
    i32(b, 1);
    op(b, SBX_WASM_i32_sub);
    op1(b, SBX_WASM_global_set, budget);
}

static void put_locals(const body *b, fz_bytes *out)
{
    uint32_t runs = 0;
    for (uint32_t i = b->own->params; i < b->local_count; i++)
        runs += i == b->own->params || b->locals[i] != b->locals[i - 1];
    fz_unsigned(out, runs);
    for (uint32_t i = b->own->params; i < b->local_count;) {
        uint32_t first = i;
        while (i < b->local_count && b->locals[i] == b->locals[first])
            i++;
        fz_unsigned(out, i - first);
        fz_put(out, b->locals[first]);
    }
}

void fz_body(fz_environment *env, uint32_t type_index, fz_bytes *out)
{
    static const int32_t sizes[] = {12, 30, 80, 200};
    static const uint32_t plainness[] = {15, 35, 60};
    fz_bytes code = {0};
    fz_signature own = env->types[type_index]; /* a copy: types may be added meanwhile */
    body b = {.env = env, .rng = env->rng, .out = &code, .own = &own};
    find_instructions();
    b.left = sizes[fz_below(b.rng, 4)];
    b.plain = plainness[fz_below(b.rng, 3)];
    b.leaf = fz_chance(b.rng, 35);
    for (uint32_t i = 0; i < own.params; i++)
        new_local(&b, own.types[i]);
    for (uint32_t n = fz_below(b.rng, 7); n; n--)
        new_local(&b, any_type(&b));
    if (!b.leaf && env->budget >= 0)
        spend(&b);
    new_label(&b, own.types + own.params, own.results, -1);
    sequence(&b, NULL, 0, own.types + own.params, own.results, 1 + (int)fz_below(b.rng, DEPTH - 1));
    fz_put(&code, SBX_WASM_end);
    put_locals(&b, out);
    fz_append(out, code.data, code.size);
    fz_free(&code);
}
