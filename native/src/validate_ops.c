/* Typing of the rarer instructions: select with types, references, tables, bulk memory, prefixes (specification 3.3.2 to 3.3.7). */
#include "validator.h"

static bool known_memory(sbx_validator *v, uint32_t index)
{
    if (index >= v->m->memory_count)
        return SBX_INVALIDATE(v, "unknown memory %u", index);
    if (index)
        sbx_refuse(&v->refusal, (uint64_t)(v->at - v->r.base), SBX_FEATURE_MULTI_MEMORY, "instruction on another memory than 0");
    return true;
}

static bool known_data(sbx_validator *v, uint32_t index)
{
    if (!v->m->has_data_count)
        return SBX_REJECT(&v->r, SBX_MALFORMED, v->at, "data count section required");
    return index < v->m->data_count || SBX_INVALIDATE(v, "unknown data segment %u", index);
}

static bool known_element(sbx_validator *v, uint32_t index)
{
    return index < v->m->element_count || SBX_INVALIDATE(v, "unknown elem segment %u", index);
}

static bool known_table(sbx_validator *v, uint32_t index)
{
    return index < v->m->table_count || SBX_INVALIDATE(v, "unknown table %u", index);
}

static sbx_optype element_type(const sbx_validator *v, uint32_t table) { return (sbx_optype)v->m->tables[table].element; }

static bool validate_bulk(sbx_validator *v, const sbx_op_info *info)
{
    uint32_t a = 0, b = 0;
    sbx_reader *r = &v->r;
    if (!sbx_read_u32(r, &a))
        return false;
    switch ((sbx_op_immediate)info->imm) {
    case SBX_IMM_DATA_MEMORY: /* memory.init data memory */
        if (!sbx_read_u32(r, &b) || !known_memory(v, b) || !known_data(v, a))
            return false;
        break;
    case SBX_IMM_DATA:
        if (!known_data(v, a))
            return false;
        break;
    case SBX_IMM_MEMORY_MEMORY:
        if (!sbx_read_u32(r, &b) || !known_memory(v, a) || !known_memory(v, b))
            return false;
        break;
    case SBX_IMM_MEMORY:
        if (!known_memory(v, a))
            return false;
        break;
    case SBX_IMM_ELEM:
        if (!known_element(v, a))
            return false;
        break;
    case SBX_IMM_ELEM_TABLE: /* table.init element table */
        if (!sbx_read_u32(r, &b) || !known_table(v, b) || !known_element(v, a))
            return false;
        if (v->m->elements[a].type != v->m->tables[b].element)
            return SBX_INVALIDATE(v, "type mismatch: element segment %u does not fit table %u", a, b);
        break;
    default: /* table.copy destination source */
        if (!sbx_read_u32(r, &b) || !known_table(v, a) || !known_table(v, b))
            return false;
        if (v->m->tables[a].element != v->m->tables[b].element)
            return SBX_INVALIDATE(v, "type mismatch: table %u does not fit table %u", b, a);
        break;
    }
    return sbx_apply(v, info);
}

static bool validate_table(sbx_validator *v, uint32_t opcode)
{
    uint32_t index;
    if (!sbx_read_u32(&v->r, &index) || !known_table(v, index))
        return false;
    sbx_optype type = element_type(v, index);
    switch (opcode) {
    case SBX_WASM_table_get: /* [i32] -> [t] */
        if (!sbx_pop(v, SBX_I32))
            return false;
        sbx_push(v, type);
        return true;
    case SBX_WASM_table_set: /* [i32 t] -> [] */
        return sbx_pop(v, type) && sbx_pop(v, SBX_I32);
    case SBX_WASM_table_grow: /* [t i32] -> [i32] */
        if (!sbx_pop(v, SBX_I32) || !sbx_pop(v, type))
            return false;
        sbx_push(v, SBX_I32);
        return true;
    case SBX_WASM_table_size: /* [] -> [i32] */
        sbx_push(v, SBX_I32);
        return true;
    default: /* table.fill: [i32 t i32] -> [] */
        return sbx_pop(v, SBX_I32) && sbx_pop(v, type) && sbx_pop(v, SBX_I32);
    }
}

/* ref.null of a type index, of version 3.0. */
static bool validate_typed_null(sbx_validator *v)
{
    int64_t index;
    sbx_refuse(&v->refusal, (uint64_t)(v->at - v->r.base), SBX_FEATURE_FUNCTION_REFERENCES, "ref.null of a type index");
    if (!sbx_read_signed(&v->r, 33, &index))
        return false;
    if (index >= 0 && index >= v->m->type_count)
        return SBX_INVALIDATE(v, "unknown type %llu", (unsigned long long)index);
    sbx_push(v, SBX_REF_NULL_PREFIX);
    return true;
}

static bool validate_reference(sbx_validator *v, uint32_t opcode)
{
    uint32_t index;
    sbx_valtype type;
    sbx_optype found;
    switch (opcode) {
    case SBX_WASM_ref_null:
        if (v->r.pos < v->r.end && (*v->r.pos & 0xC0) != 0x40)
            return validate_typed_null(v);
        if (!sbx_read_heaptype(&v->r, v->m, &type))
            return false;
        sbx_push(v, (sbx_optype)type);
        return true;
    case SBX_WASM_ref_is_null:
        if (!sbx_pop_any(v, &found))
            return false;
        if (found != SBX_BOTTOM && !sbx_is_reference(found) && !sbx_is_typed_ref(found))
            return SBX_INVALIDATE(v, "type mismatch: ref.is_null expected a reference, found %s", sbx_valtype_name(found));
        sbx_push(v, SBX_I32);
        return true;
    default: /* ref.func: the function must occur outside of function bodies (C.refs) */
        if (!sbx_read_u32(&v->r, &index))
            return false;
        if (index >= v->m->function_count)
            return SBX_INVALIDATE(v, "unknown function %u", index);
        if (!(v->m->declared_refs[index >> 3] >> (index & 7) & 1))
            return SBX_INVALIDATE(v, "undeclared function reference %u", index);
        /* In version 3.0 it has the function's own type. */
        sbx_push(v, v->m->refused || v->refusal.status != SBX_OK ? SBX_REF_PREFIX : SBX_FUNCREF);
        return true;
    }
}

/* select t: exactly one type in this version. */
static bool validate_select_types(sbx_validator *v)
{
    uint32_t count;
    sbx_valtype type = 0;
    if (!sbx_read_length(&v->r, &count))
        return false;
    for (uint32_t i = 0; i < count; i++)
        if (!sbx_read_valtype(&v->r, v->m, &type))
            return false;
    if (count != 1)
        return SBX_INVALIDATE(v, "invalid result arity: select has %u types", count);
    if (!sbx_pop(v, SBX_I32) || !sbx_pop(v, (sbx_optype)type) || !sbx_pop(v, (sbx_optype)type))
        return false;
    sbx_push(v, (sbx_optype)type);
    return true;
}

bool sbx_validate_rare(sbx_validator *v, uint32_t opcode, const sbx_op_info *info)
{
    uint32_t index;
    switch ((sbx_op_kind)info->kind) {
    case SBX_KIND_PARAMETRIC:
        return validate_select_types(v);
    case SBX_KIND_TABLE:
        return validate_table(v, opcode);
    case SBX_KIND_REFERENCE:
        return validate_reference(v, opcode);
    case SBX_KIND_BULK:
        return validate_bulk(v, info);
    case SBX_KIND_MEMORY: /* memory.size, memory.grow */
        return sbx_read_u32(&v->r, &index) && known_memory(v, index) && sbx_apply(v, info);
    case SBX_KIND_UNARY: /* trunc_sat */
        return sbx_apply(v, info);
    default:
        return SBX_REJECT(&v->r, SBX_USAGE, v->at, "instruction 0x%x has no rule", opcode);
    }
}
