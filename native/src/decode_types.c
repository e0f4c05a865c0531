/* Types in the binary format: value types, limits, table, memory, global and function types (specification 5.3, 5.5.4). */
#include "decode.h"

/* One-byte value types of later versions: code, feature, name. */
static const struct { uint8_t code; uint8_t feature; const char *what; } later_types[] = {
    {0x7B, SBX_FEATURE_SIMD, "v128 value type"},
    {0x6E, SBX_FEATURE_GC, "anyref value type"},
    {0x6D, SBX_FEATURE_GC, "eqref value type"},
    {0x6C, SBX_FEATURE_GC, "i31ref value type"},
    {0x6B, SBX_FEATURE_GC, "structref value type"},
    {0x6A, SBX_FEATURE_GC, "arrayref value type"},
    {0x71, SBX_FEATURE_GC, "nullref value type"},
    {0x72, SBX_FEATURE_GC, "nullexternref value type"},
    {0x73, SBX_FEATURE_GC, "nullfuncref value type"},
    {0x69, SBX_FEATURE_EXCEPTIONS, "exnref value type"},
    {0x74, SBX_FEATURE_EXCEPTIONS, "nullexnref value type"},
    {SBX_REF_NULL_PREFIX, SBX_FEATURE_FUNCTION_REFERENCES, "(ref null ht) value type"},
    {SBX_REF_PREFIX, SBX_FEATURE_FUNCTION_REFERENCES, "(ref ht) value type"},
};

static bool refuse_type(sbx_reader *r, const uint8_t *at, uint8_t code, const char *malformed)
{
    for (size_t i = 0; i < sizeof later_types / sizeof *later_types; i++)
        if (later_types[i].code == code)
            return sbx_refuse(r->err, (uint64_t)(at - r->base), later_types[i].feature, later_types[i].what);
    return SBX_REJECT(r, SBX_MALFORMED, at, "%s 0x%02x", malformed, code);
}

static bool is_reference_code(uint8_t code) { return code == SBX_FUNCREF || code == SBX_EXTERNREF; }

/* 5.3.4: numtype and reftype share one code space. */
bool sbx_read_valtype(sbx_reader *r, const sbx_module *m, sbx_valtype *out)
{
    const uint8_t *at = r->pos;
    uint8_t code;
    if (!sbx_read_byte(r, &code))
        return false;
    *out = code;
    if (code >= SBX_F64 && code <= SBX_I32)
        return true;
    if (is_reference_code(code))
        return sbx_require_feature(m, r->err, (uint64_t)(at - r->base), SBX_FEATURE_REFERENCE_TYPES, "reference value type");
    return refuse_type(r, at, code, "malformed value type");
}

/* 5.3.3. funcref was the element type of every table in version 1.0: it needs no feature there. */
bool sbx_read_reftype(sbx_reader *r, const sbx_module *m, sbx_valtype *out)
{
    const uint8_t *at = r->pos;
    uint8_t code;
    if (!sbx_read_byte(r, &code))
        return false;
    *out = code;
    if (code == SBX_FUNCREF)
        return true;
    if (code == SBX_EXTERNREF)
        return sbx_require_feature(m, r->err, (uint64_t)(at - r->base), SBX_FEATURE_REFERENCE_TYPES, "externref");
    if (code == 0x7B) /* v128 is not even a reference in later versions */
        return SBX_REJECT(r, SBX_MALFORMED, at, "malformed reference type 0x%02x", code);
    return refuse_type(r, at, code, "malformed reference type");
}

/* The heap type after ref.null: func and extern have the codes of their reference types; in later versions also type indices. */
bool sbx_read_heaptype(sbx_reader *r, const sbx_module *m, sbx_valtype *out)
{
    if (r->pos < r->end && (*r->pos & 0xC0) != 0x40)
        return sbx_refuse(r->err, sbx_reader_offset(r), SBX_FEATURE_FUNCTION_REFERENCES, "heap type that is a type index");
    return sbx_read_reftype(r, m, out);
}

bool sbx_read_local_type(sbx_decoder *d, sbx_valtype *out)
{
    sbx_reader *r = &d->r;
    if (r->pos >= r->end || (*r->pos != SBX_REF_NULL_PREFIX && *r->pos != SBX_REF_PREFIX))
        return sbx_read_valtype(r, d->m, out);
    bool nullable = *r->pos == SBX_REF_NULL_PREFIX;
    sbx_refuse(&d->refused, sbx_reader_offset(r), SBX_FEATURE_FUNCTION_REFERENCES,
               nullable ? "(ref null ht) value type" : "(ref ht) value type");
    *out = *r->pos++;
    int64_t heap_type;
    if (!sbx_read_signed(r, 33, &heap_type))
        return false;
    if (heap_type >= d->heap_types)
        d->heap_types = heap_type + 1, d->heap_type_at = (uint64_t)(r->pos - r->base);
    int64_t func = (int64_t)SBX_FUNCREF - 0x80, external = (int64_t)SBX_EXTERNREF - 0x80;
    if (nullable && (heap_type == func || heap_type == external)) /* the long way to write funcref and externref */
        *out = heap_type == func ? SBX_FUNCREF : SBX_EXTERNREF;
    return true;
}

/* 5.3.7. The numbers are read as 64 bits wide, as in version 3.0: too large a size is invalid, not malformed. */
static bool read_limits(sbx_decoder *d, bool memory, sbx_limits *out)
{
    const uint8_t *at = d->r.pos;
    uint8_t flags;
    if (!sbx_read_byte(&d->r, &flags))
        return false;
    if (flags > 7 || (!memory && flags & 2))
        return SBX_REJECT(&d->r, SBX_MALFORMED, at, "malformed limits flags 0x%02x", flags);
    if (flags & 2)
        return sbx_refuse(&d->error, (uint64_t)(at - d->r.base), SBX_FEATURE_THREADS, "shared memory");
    if (flags & 4)
        return sbx_refuse(&d->error, (uint64_t)(at - d->r.base), SBX_FEATURE_MEMORY64,
                          memory ? "memory with 64-bit addresses" : "table with 64-bit indices");
    *out = (sbx_limits){.has_max = flags & 1};
    return sbx_read_u64(&d->r, &out->min) && (!out->has_max || sbx_read_u64(&d->r, &out->max));
}

bool sbx_read_tabletype(sbx_decoder *d, sbx_tabletype *out)
{
    return sbx_read_reftype(&d->r, d->m, &out->element) && read_limits(d, false, &out->limits);
}

bool sbx_read_memorytype(sbx_decoder *d, sbx_memorytype *out)
{
    return read_limits(d, true, &out->limits);
}

static bool read_mutability(sbx_decoder *d, uint8_t *out)
{
    const uint8_t *at = d->r.pos;
    if (!sbx_read_byte(&d->r, out))
        return false;
    if (*out > 1)
        return SBX_REJECT(&d->r, SBX_MALFORMED, at, "malformed mutability 0x%02x", *out);
    return true;
}

bool sbx_read_globaltype(sbx_decoder *d, sbx_globaltype *out)
{
    return sbx_read_valtype(&d->r, d->m, &out->type) && read_mutability(d, &out->is_mutable);
}

/* Later versions define more than functions here. An array type is read to its end, because the official suite wants to
 * hear of its malformed mutability first. */
static bool refuse_definition(sbx_decoder *d, const uint8_t *at, uint8_t form)
{
    uint64_t offset = (uint64_t)(at - d->r.base);
    if (form == 0x5E) {
        sbx_valtype element;
        uint8_t is_mutable;
        bool packed = d->r.pos < d->r.end && (*d->r.pos == 0x78 || *d->r.pos == 0x77); /* i8, i16 */
        if (packed)
            d->r.pos++;
        else if (!sbx_read_valtype(&d->r, d->m, &element))
            return false;
        return read_mutability(d, &is_mutable) && sbx_refuse(&d->error, offset, SBX_FEATURE_GC, "array type");
    }
    if (form == 0x5F)
        return sbx_refuse(&d->error, offset, SBX_FEATURE_GC, "struct type");
    if (form == 0x50 || form == 0x4F)
        return sbx_refuse(&d->error, offset, SBX_FEATURE_GC, "sub type");
    if (form == 0x4E)
        return sbx_refuse(&d->error, offset, SBX_FEATURE_GC, "rec type");
    if (form & 0x80) /* a signed number of seven bits (5.5.4) */
        return SBX_REJECT(&d->r, SBX_MALFORMED, at, "integer representation too long");
    return SBX_REJECT(&d->r, SBX_MALFORMED, at, "malformed definition type 0x%02x", form);
}

/* `count` value types into `out`, or nowhere when it is NULL. */
static bool read_valtypes(sbx_decoder *d, sbx_valtype *out, uint32_t count)
{
    sbx_valtype ignored;
    for (uint32_t i = 0; i < count; i++)
        if (!sbx_read_local_type(d, out ? &out[i] : &ignored))
            return false;
    return true;
}

/* 5.3.6: 0x60, the vector of parameters, the vector of results. */
static bool read_functype(sbx_decoder *d, sbx_functype *out)
{
    const uint8_t *at = d->r.pos;
    uint8_t form;
    if (!sbx_read_byte(&d->r, &form))
        return false;
    if (form != 0x60)
        return refuse_definition(d, at, form);
    if (!sbx_decoder_count(d, "params", 0, d->limits->params, &out->params))
        return false;
    /* Both vectors lie in one array: the first reading learns its size, the second fills it. */
    const uint8_t *params_at = d->r.pos;
    if (!read_valtypes(d, NULL, out->params) || !sbx_decoder_count(d, "results", 0, d->limits->results, &out->results))
        return false;
    const uint8_t *results_at = d->r.pos;
    if (out->results > 1 && !sbx_require_feature(d->m, &d->error, (uint64_t)(at - d->r.base), SBX_FEATURE_MULTI_VALUE,
                                                 "function type with several results"))
        return false;
    sbx_valtype *types = sbx_decoder_alloc(d, (size_t)out->params + out->results, sizeof *types);
    if (!types)
        return false;
    out->types = types;
    d->r.pos = params_at;
    if (!read_valtypes(d, types, out->params))
        return false;
    d->r.pos = results_at;
    return read_valtypes(d, types + out->params, out->results);
}

bool sbx_decode_type_section(sbx_decoder *d)
{
    uint32_t count;
    if (!sbx_decoder_count(d, "types", 0, d->limits->types, &count))
        return false;
    sbx_functype *types = sbx_decoder_alloc(d, count, sizeof *types);
    if (!types)
        return false;
    for (uint32_t i = 0; i < count; i++)
        if (!read_functype(d, &types[i]))
            return false;
    d->m->types = types;
    d->m->type_count = count;
    return true;
}
