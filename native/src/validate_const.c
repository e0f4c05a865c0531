/* Constant expressions of one instruction (specification 3.3.10); the decoder has noted every other form. */
#include "decode.h"

#define INVALID(err, offset, ...) (sbx_fail((err), SBX_INVALID, (offset), __VA_ARGS__), false)

/* Version 2.0 sees imported globals only, and of them the immutable ones. */
static bool global_type(const sbx_module *m, const sbx_const_expr *e, uint32_t visible, sbx_valtype *type, sbx_error *err)
{
    uint64_t index = e->bits;
    if (index >= visible || index >= m->global_count)
        return INVALID(err, e->offset, "unknown global %llu", (unsigned long long)index);
    if (m->globals[index].is_mutable)
        return INVALID(err, e->offset, "constant expression required: global %llu is mutable", (unsigned long long)index);
    if (index >= m->imported_globals)
        return sbx_refuse(err, e->offset, SBX_FEATURE_GC, "constant expression that reads a global of the module itself");
    *type = m->globals[index].type;
    return true;
}

bool sbx_check_const_expr(const sbx_module *m, const sbx_const_expr *e, sbx_valtype expected, uint32_t visible, sbx_error *err)
{
    sbx_valtype type = SBX_BOTTOM;
    switch (e->opcode) {
    case SBX_WASM_i32_const: type = SBX_I32; break;
    case SBX_WASM_i64_const: type = SBX_I64; break;
    case SBX_WASM_f32_const: type = SBX_F32; break;
    case SBX_WASM_f64_const: type = SBX_F64; break;
    case SBX_WASM_ref_null: type = (sbx_valtype)e->bits; break;
    case SBX_WASM_ref_func:
        if (e->bits >= m->function_count)
            return INVALID(err, e->offset, "unknown function %llu", (unsigned long long)e->bits);
        type = SBX_FUNCREF;
        break;
    case SBX_WASM_global_get:
        if (!global_type(m, e, visible, &type, err))
            return false;
        break;
    default: /* what the decoder refused, or deferred as invalid */
        return m->refused ? true : INVALID(err, e->offset, "constant expression required");
    }
    if (type != expected)
        return INVALID(err, e->offset, "type mismatch: expected %s, found %s", sbx_valtype_name(expected), sbx_valtype_name(type));
    return true;
}
