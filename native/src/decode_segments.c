/* Constant expressions, element and data segments (specification 5.4.9, 5.5.12, 5.5.14, 5.5.15). */
#include "decode.h"

/* Records what validation will report; decoding goes on. */
#define DEFER(d, status, at, ...) ((void)sbx_fail(&(d)->deferred, (status), (uint64_t)((at) - (d)->r.base), __VA_ARGS__))

static bool read_const_immediate(sbx_decoder *d, uint8_t opcode, uint64_t *bits)
{
    uint32_t index = 0;
    int32_t i32 = 0;
    int64_t i64 = 0;
    sbx_valtype type = 0;
    bool ok;
    switch (opcode) {
    case SBX_WASM_i32_const: ok = sbx_read_s32(&d->r, &i32); *bits = (uint32_t)i32; return ok;
    case SBX_WASM_i64_const: ok = sbx_read_s64(&d->r, &i64); *bits = (uint64_t)i64; return ok;
    case SBX_WASM_f32_const: ok = sbx_read_fixed32(&d->r, &index); *bits = index; return ok;
    case SBX_WASM_f64_const: return sbx_read_fixed64(&d->r, bits);
    case SBX_WASM_ref_null: ok = sbx_read_heaptype(&d->r, d->m, &type); *bits = type; return ok;
    default: ok = sbx_read_u32(&d->r, &index); *bits = index; return ok; /* global.get, ref.func */
    }
}

static bool is_const_opcode(uint32_t opcode)
{
    return (opcode >= SBX_WASM_i32_const && opcode <= SBX_WASM_f64_const) || opcode == SBX_WASM_global_get
        || opcode == SBX_WASM_ref_null || opcode == SBX_WASM_ref_func;
}

static bool is_extended_const(uint32_t opcode)
{
    return (opcode >= SBX_WASM_i32_add && opcode <= SBX_WASM_i32_mul) || (opcode >= SBX_WASM_i64_add && opcode <= SBX_WASM_i64_mul);
}

/* Any expression that is not one instruction and `end`: finds its end, and leaves to validation why it will not do. */
static bool scan_const_expr(sbx_decoder *d, const uint8_t *start)
{
    const uint8_t *extended = NULL, *illegal = NULL;
    uint32_t depth = 1, instructions = 0;
    d->r.pos = start;
    while (depth) {
        const uint8_t *at = d->r.pos;
        if (at >= d->limit)
            return sbx_unexpected_end(&d->r);
        uint32_t opcode;
        const sbx_op_info *info;
        if (!sbx_read_opcode(&d->r, d->m, &opcode, &info) || !sbx_skip_immediates(&d->r, d->m, info, opcode))
            return false;
        if (opcode == SBX_WASM_else && depth == 1)
            return SBX_REJECT(&d->r, SBX_MALFORMED, at, "END opcode expected");
        depth += info->imm == SBX_IMM_BLOCK;
        depth -= opcode == SBX_WASM_end;
        instructions += opcode != SBX_WASM_end;
        if (is_extended_const(opcode))
            extended = extended ? extended : at;
        else if (!is_const_opcode(opcode) && opcode != SBX_WASM_end)
            illegal = illegal ? illegal : at;
    }
    if (illegal)
        DEFER(d, SBX_INVALID, illegal, "constant expression required");
    else if (extended)
        sbx_refuse(&d->refused, (uint64_t)(extended - d->r.base), SBX_FEATURE_EXTENDED_CONST, "arithmetic in a constant expression");
    else
        DEFER(d, SBX_INVALID, start, "type mismatch: a constant expression must leave one value, this one leaves %u", instructions);
    return true;
}

bool sbx_read_const_expr(sbx_decoder *d, sbx_const_expr *out)
{
    const uint8_t *start = d->r.pos;
    if (start < d->limit && is_const_opcode(*start)) {
        const sbx_op_info *info;
        uint32_t opcode;
        if (!sbx_read_opcode(&d->r, d->m, &opcode, &info) || !read_const_immediate(d, (uint8_t)opcode, &out->bits))
            return false;
        out->opcode = (uint8_t)opcode;
    }
    if (out->opcode && d->r.pos < d->limit && *d->r.pos == SBX_WASM_end) {
        d->r.pos++;
    } else {
        out->opcode = 0;
        if (!scan_const_expr(d, start))
            return false;
    }
    out->offset = (uint32_t)(start - d->r.base);
    out->length = (uint32_t)(d->r.pos - start);
    return true;
}

/* Element expressions carry no type once they are numbers: what does not fit the segment is noted here. */
static uint32_t init_of_expr(sbx_decoder *d, const sbx_const_expr *e, sbx_valtype type)
{
    const uint8_t *at = d->r.base + e->offset;
    switch (e->opcode) {
    case SBX_WASM_ref_func:
        if (type != SBX_FUNCREF)
            DEFER(d, SBX_INVALID, at, "type mismatch: expected %s, found funcref", sbx_valtype_name(type));
        else if (e->bits >= SBX_INIT_GLOBAL)
            DEFER(d, SBX_INVALID, at, "unknown function %u", (uint32_t)e->bits);
        return (uint32_t)e->bits & ~SBX_INIT_GLOBAL;
    case SBX_WASM_ref_null:
        if (e->bits != type)
            DEFER(d, SBX_INVALID, at, "type mismatch: expected %s, found %s", sbx_valtype_name(type),
                  sbx_valtype_name((sbx_valtype)e->bits));
        return SBX_INIT_NULL;
    case SBX_WASM_global_get:
        if (e->bits >= ~SBX_INIT_GLOBAL)
            DEFER(d, SBX_INVALID, at, "unknown global %u", (uint32_t)e->bits);
        return (uint32_t)e->bits | SBX_INIT_GLOBAL;
    case 0: /* noted by scan_const_expr */
        return SBX_INIT_NULL;
    default:
        DEFER(d, SBX_INVALID, at, "type mismatch: expected %s, found a number", sbx_valtype_name(type));
        return SBX_INIT_NULL;
    }
}

static bool read_element_inits(sbx_decoder *d, sbx_element_segment *out, bool expressions)
{
    if (!sbx_read_length(&d->r, &out->count))
        return false;
    uint32_t *inits = sbx_decoder_alloc(d, out->count, sizeof *inits);
    if (!inits)
        return false;
    for (uint32_t i = 0; i < out->count; i++) {
        if (expressions) {
            sbx_const_expr e = {0};
            if (!sbx_read_const_expr(d, &e))
                return false;
            inits[i] = init_of_expr(d, &e, out->type);
            continue;
        }
        const uint8_t *at = d->r.pos;
        if (!sbx_read_u32(&d->r, &inits[i]))
            return false;
        if (inits[i] >= SBX_INIT_GLOBAL) {
            DEFER(d, SBX_INVALID, at, "unknown function %u", inits[i]);
            inits[i] = 0;
        }
    }
    out->inits = inits;
    return true;
}

/* Element kind: 0x00 is funcref, the only one. */
static bool read_element_kind(sbx_decoder *d, sbx_valtype *out)
{
    const uint8_t *at = d->r.pos;
    uint8_t kind;
    if (!sbx_read_byte(&d->r, &kind))
        return false;
    *out = SBX_FUNCREF;
    return kind == 0 || SBX_REJECT(&d->r, SBX_MALFORMED, at, "malformed element kind 0x%02x", kind);
}

/*  flags  bit 0: passive or declarative; bit 1: explicit table index, or declarative; bit 2: expressions, not indices
 *   0  offset                 indices        4  offset                    expressions
 *   1                 kind    indices        5                   reftype  expressions
 *   2  table offset   kind    indices        6  table offset     reftype  expressions
 *   3                 kind    indices        7                   reftype  expressions   (3, 7: declarative) */
static bool read_element_segment(sbx_decoder *d, sbx_element_segment *out)
{
    const uint8_t *at = d->r.pos;
    uint32_t flags;
    out->file_offset = (uint32_t)(at - d->r.base);
    if (!sbx_read_u32(&d->r, &flags))
        return false;
    if (flags > 7)
        return SBX_REJECT(&d->r, SBX_MALFORMED, at, "malformed elements segment kind %u", flags);
    if (flags && !(d->m->features & SBX_FEATURE_BIT(REFERENCE_TYPES))
        && !sbx_require_feature(d->m, &d->error, (uint64_t)(at - d->r.base), SBX_FEATURE_BULK_MEMORY, "element segment with flags"))
        return false;
    out->mode = !(flags & 1) ? SBX_SEGMENT_ACTIVE : flags & 2 ? SBX_SEGMENT_DECLARATIVE : SBX_SEGMENT_PASSIVE;
    out->type = SBX_FUNCREF;
    if (out->mode == SBX_SEGMENT_ACTIVE
        && ((flags & 2 && !sbx_read_u32(&d->r, &out->table)) || !sbx_read_const_expr(d, &out->offset)))
        return false;
    if (flags & 3 && !(flags & 4 ? sbx_read_reftype(&d->r, d->m, &out->type) : read_element_kind(d, &out->type)))
        return false;
    return read_element_inits(d, out, flags & 4);
}

bool sbx_decode_element_section(sbx_decoder *d)
{
    uint32_t count;
    if (!sbx_decoder_count(d, "segments", 0, d->limits->segments, &count))
        return false;
    sbx_element_segment *elements = sbx_decoder_alloc(d, count, sizeof *elements);
    if (!elements)
        return false;
    for (uint32_t i = 0; i < count; i++)
        if (!read_element_segment(d, &elements[i]))
            return false;
    d->m->elements = elements;
    d->m->element_count = count;
    return true;
}

bool sbx_decode_data_count_section(sbx_decoder *d)
{
    if (!sbx_require_feature(d->m, &d->error, sbx_reader_offset(&d->r), SBX_FEATURE_BULK_MEMORY, "data count section"))
        return false;
    d->m->has_data_count = true;
    return sbx_read_u32(&d->r, &d->m->declared_data_count);
}

/*  flags  0: offset, bytes    1: bytes (passive)    2: memory index, offset, bytes */
static bool read_data_segment(sbx_decoder *d, sbx_data_segment *out)
{
    const uint8_t *at = d->r.pos;
    uint32_t flags;
    out->file_offset = (uint32_t)(at - d->r.base);
    if (!sbx_read_u32(&d->r, &flags))
        return false;
    if (flags > 2)
        return SBX_REJECT(&d->r, SBX_MALFORMED, at, "malformed data segment kind %u", flags);
    if (flags && !sbx_require_feature(d->m, &d->error, (uint64_t)(at - d->r.base), SBX_FEATURE_BULK_MEMORY, "data segment with flags"))
        return false;
    out->mode = flags == 1 ? SBX_SEGMENT_PASSIVE : SBX_SEGMENT_ACTIVE;
    if (flags == 2 && !sbx_read_u32(&d->r, &out->memory))
        return false;
    if (flags != 1 && !sbx_read_const_expr(d, &out->offset))
        return false;
    return sbx_read_length(&d->r, &out->length) && sbx_read_bytes(&d->r, out->length, &out->bytes);
}

bool sbx_decode_data_section(sbx_decoder *d)
{
    uint32_t count;
    if (!sbx_decoder_count(d, "segments", 0, d->limits->segments, &count))
        return false;
    sbx_data_segment *data = sbx_decoder_alloc(d, count, sizeof *data);
    if (!data)
        return false;
    for (uint32_t i = 0; i < count; i++)
        if (!read_data_segment(d, &data[i]))
            return false;
    d->m->data = data;
    d->m->data_count = count;
    return true;
}
