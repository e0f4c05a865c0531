/* Typing of blocks, branches and calls (specification 3.3.8). */
#include "validator.h"

/* Value types as bytes at addresses of their own: the results of a block with a plain value type. */
#define ROW(n) n, n + 1, n + 2, n + 3, n + 4, n + 5, n + 6, n + 7
static const sbx_optype single_types[128] = {
    ROW(0), ROW(8), ROW(16), ROW(24), ROW(32), ROW(40), ROW(48), ROW(56),
    ROW(64), ROW(72), ROW(80), ROW(88), ROW(96), ROW(104), ROW(112), ROW(120),
};
#undef ROW

static bool read_signature(sbx_validator *v, sbx_signature *out)
{
    uint32_t index;
    sbx_valtype result;
    if (!sbx_read_blocktype(&v->r, v->m, &index, &result))
        return false;
    if (index == SBX_NO_TYPE_INDEX) {
        *out = (sbx_signature){.results = &single_types[result & 0x7F], .result_count = result != 0};
        return true;
    }
    if (index >= v->m->type_count)
        return SBX_INVALIDATE(v, "unknown type %u", index);
    *out = v->signatures[index];
    return true;
}

static void enter_loop(sbx_validator *v)
{
    if (v->loop_depth++ < 7)
        v->weight *= 8;
}

static void leave_loop(sbx_validator *v)
{
    if (--v->loop_depth < 7)
        v->weight /= 8;
}

static bool validate_block(sbx_validator *v, uint8_t opcode)
{
    sbx_signature type;
    if (!read_signature(v, &type) || (opcode == SBX_WASM_if && !sbx_pop(v, SBX_I32))
        || !sbx_pop_types(v, type.params, type.param_count) || !sbx_push_control(v, opcode, type))
        return false;
    if (opcode == SBX_WASM_loop)
        enter_loop(v);
    return true;
}

/* Locals assigned inside a block are not assigned after it, for a branch may have skipped them. A loop is left by falling
 * out of its end only: there everything stays. */
static void forget_assignments(sbx_validator *v, uint32_t mark)
{
    while (v->assigned_count > mark)
        v->local_state[v->assigned[--v->assigned_count]] &= (uint8_t)~SBX_LOCAL_ASSIGNED;
}

static bool validate_else(sbx_validator *v)
{
    sbx_control frame;
    if (v->controls[v->control_count - 1].opcode != SBX_WASM_if)
        return SBX_REJECT(&v->r, SBX_MALFORMED, v->at, "END opcode expected: else without if");
    if (!sbx_pop_control(v, &frame))
        return false;
    forget_assignments(v, frame.assigned);
    return sbx_push_control(v, SBX_WASM_else, frame.type);
}

static bool same_types(const sbx_signature *t)
{
    return t->param_count == t->result_count && (!t->param_count || memcmp(t->params, t->results, t->param_count) == 0);
}

/* An `if` without `else` is one whose `else` hands its parameters on. */
static bool validate_end(sbx_validator *v)
{
    sbx_control frame;
    if (!sbx_pop_control(v, &frame))
        return false;
    if (frame.opcode == SBX_WASM_if && !same_types(&frame.type))
        return SBX_INVALIDATE(v, "type mismatch: if without else must have the same parameters and results");
    if (frame.opcode == SBX_WASM_loop)
        leave_loop(v);
    else if (v->control_count)
        forget_assignments(v, frame.assigned);
    return v->control_count == 0 || sbx_push_types(v, frame.type.results, frame.type.result_count);
}

/* label_types(): a branch to a loop goes to its start. */
static bool label_types(sbx_validator *v, uint32_t label, const sbx_optype **types, uint32_t *count)
{
    if (label >= v->control_count)
        return SBX_INVALIDATE(v, "unknown label %u", label);
    const sbx_control *frame = &v->controls[v->control_count - 1 - label];
    bool loop = frame->opcode == SBX_WASM_loop;
    *types = loop ? frame->type.params : frame->type.results;
    *count = loop ? frame->type.param_count : frame->type.result_count;
    return true;
}

static bool validate_br(sbx_validator *v, uint8_t opcode)
{
    uint32_t label, count;
    const sbx_optype *types;
    if (!sbx_read_u32(&v->r, &label) || !label_types(v, label, &types, &count)
        || (opcode == SBX_WASM_br_if && !sbx_pop(v, SBX_I32)) || !sbx_pop_types(v, types, count))
        return false;
    if (opcode == SBX_WASM_br_if)
        return sbx_push_types(v, types, count);
    sbx_set_unreachable(v);
    return true;
}

/* Every label takes as many values as the default, and the stack has to fit each of them. Runs of labels of one type are
 * checked once. */
static bool validate_br_table(sbx_validator *v)
{
    uint32_t length, label, count, first_count = 0;
    const sbx_optype *types, *checked = NULL;
    if (!sbx_read_length(&v->r, &length) || !sbx_pop(v, SBX_I32))
        return false;
    for (uint64_t i = 0; i <= length; i++) { /* the default is the last */
        if (!sbx_read_u32(&v->r, &label) || !label_types(v, label, &types, &count))
            return false;
        if (i == 0)
            first_count = count;
        else if (count != first_count)
            return SBX_INVALIDATE(v, "type mismatch: br_table labels take %u and %u values", first_count, count);
        if (types != checked && !sbx_match_types(v, types, count))
            return false;
        checked = types;
    }
    sbx_set_unreachable(v);
    return true;
}

static bool validate_return(sbx_validator *v)
{
    if (!sbx_pop_types(v, v->function->results, v->function->result_count))
        return false;
    sbx_set_unreachable(v);
    return true;
}

static bool apply_signature(sbx_validator *v, const sbx_signature *type)
{
    v->is_leaf = false;
    return sbx_pop_types(v, type->params, type->param_count) && sbx_push_types(v, type->results, type->result_count);
}

static bool validate_call(sbx_validator *v)
{
    uint32_t index;
    if (!sbx_read_u32(&v->r, &index))
        return false;
    if (index >= v->m->function_count)
        return SBX_INVALIDATE(v, "unknown function %u", index);
    return apply_signature(v, &v->signatures[v->m->functions[index]]);
}

static bool validate_call_indirect(sbx_validator *v)
{
    uint32_t type, table;
    if (!sbx_read_u32(&v->r, &type) || !sbx_read_u32(&v->r, &table))
        return false;
    if (table >= v->m->table_count)
        return SBX_INVALIDATE(v, "unknown table %u", table);
    if (v->m->tables[table].element != SBX_FUNCREF)
        return SBX_INVALIDATE(v, "type mismatch: call_indirect needs a table of funcref");
    if (type >= v->m->type_count)
        return SBX_INVALIDATE(v, "unknown type %u", type);
    return sbx_pop(v, SBX_I32) && apply_signature(v, &v->signatures[type]);
}

bool sbx_validate_control(sbx_validator *v, uint8_t opcode)
{
    switch (opcode) {
    case SBX_WASM_unreachable: sbx_set_unreachable(v); return true;
    case SBX_WASM_nop: return true;
    case SBX_WASM_block: case SBX_WASM_loop: case SBX_WASM_if: return validate_block(v, opcode);
    case SBX_WASM_else: return validate_else(v);
    case SBX_WASM_end: return validate_end(v);
    case SBX_WASM_br: case SBX_WASM_br_if: return validate_br(v, opcode);
    case SBX_WASM_br_table: return validate_br_table(v);
    case SBX_WASM_return: return validate_return(v);
    case SBX_WASM_call: return validate_call(v);
    case SBX_WASM_call_indirect: return validate_call_indirect(v);
    default: return SBX_REJECT(&v->r, SBX_USAGE, v->at, "control instruction 0x%02x has no rule", opcode);
    }
}

bool sbx_validate_later(sbx_validator *v, uint8_t opcode)
{
    uint32_t type = 0;
    sbx_optype reference;
    sbx_refuse(&v->refusal, (uint64_t)(v->at - v->r.base), SBX_FEATURE_FUNCTION_REFERENCES,
               opcode == SBX_CALL_REF ? "call_ref" : "ref.as_non_null");
    v->r.pos = v->at + 1;
    if (opcode == SBX_CALL_REF && !sbx_read_u32(&v->r, &type))
        return false;
    if (opcode == SBX_CALL_REF && type >= v->m->type_count)
        return SBX_INVALIDATE(v, "unknown type %u", type);
    if (!sbx_pop_any(v, &reference))
        return false;
    if (reference != SBX_BOTTOM && !sbx_is_reference(reference) && !sbx_is_typed_ref(reference))
        return SBX_INVALIDATE(v, "type mismatch: expected a reference, found %s", sbx_valtype_name(reference));
    if (opcode == SBX_CALL_REF)
        return apply_signature(v, &v->signatures[type]);
    sbx_push(v, SBX_REF_PREFIX);
    return true;
}
