/* The code section down to each body's locals, and instructions read without typing them (specification 5.4, 5.5.13). */
#include <stdio.h>

#include "decode.h"

static uint64_t offset_at(const sbx_reader *r, const uint8_t *at) { return (uint64_t)(at - r->base); }

/* A prefixed opcode: the byte, then the instruction's number in LEB128. */
static bool read_prefixed(sbx_reader *r, uint8_t prefix, uint32_t *opcode)
{
    const uint8_t *at = r->pos - 1;
    uint32_t number;
    if (!sbx_read_u32(r, &number))
        return false;
    if (number < 256)
        *opcode = (uint32_t)prefix << 8 | number;
    else if (prefix == 0xFD && number < 0x1000)
        *opcode = 0xFD000 | number;
    else
        return SBX_REJECT(r, SBX_MALFORMED, at, "illegal opcode %02x %02x", prefix, number);
    return true;
}

bool sbx_read_opcode(sbx_reader *r, const sbx_module *m, uint32_t *opcode, const sbx_op_info **info)
{
    const uint8_t *at = r->pos;
    uint8_t byte;
    if (!sbx_read_byte(r, &byte))
        return false;
    *opcode = byte;
    if (byte >= 0xFB && byte <= 0xFE && !read_prefixed(r, byte, opcode))
        return false;
    const sbx_op_info *found = *info = sbx_op_info_of(*opcode);
    if (found->kind == SBX_KIND_ILLEGAL) {
        if (*opcode < 256)
            return SBX_REJECT(r, SBX_MALFORMED, at, "illegal opcode %02x", byte);
        return SBX_REJECT(r, SBX_MALFORMED, at, "illegal opcode %02x %02x", byte, *opcode & 0xFFF & (byte == 0xFD ? 0xFFF : 0xFF));
    }
    if (found->kind == SBX_KIND_REFUSED) {
        char what[32];
        snprintf(what, sizeof what, "instruction 0x%x", *opcode);
        return sbx_refuse(r->err, offset_at(r, at), found->feature, what);
    }
    return found->feature == SBX_FEATURE_COUNT
        || sbx_require_feature(m, r->err, offset_at(r, at), found->feature, found->name);
}

bool sbx_read_blocktype(sbx_reader *r, const sbx_module *m, uint32_t *type_index, sbx_valtype *result)
{
    const uint8_t *at = r->pos;
    *type_index = SBX_NO_TYPE_INDEX;
    *result = 0;
    if (r->pos >= r->end)
        return sbx_unexpected_end(r);
    if (*at == 0x40) {
        r->pos++;
        return true;
    }
    if ((*at & 0xC0) == 0x40) /* negative in one byte: a value type */
        return sbx_read_valtype(r, m, result);
    int64_t index;
    if (!sbx_read_signed(r, 33, &index))
        return false;
    if (index < 0)
        return SBX_REJECT(r, SBX_MALFORMED, at, "malformed block type");
    if (index >= SBX_NO_TYPE_INDEX) /* must not be taken for the number that stands for none */
        return SBX_REJECT(r, SBX_INVALID, at, "unknown type %lld", (long long)index);
    *type_index = (uint32_t)index;
    return sbx_require_feature(m, r->err, offset_at(r, at), SBX_FEATURE_MULTI_VALUE, "block with a type index");
}

static bool skip_memarg(sbx_reader *r)
{
    const uint8_t *at = r->pos;
    uint32_t flags, memory;
    uint64_t offset;
    if (!sbx_read_u32(r, &flags))
        return false;
    if (flags >= 0x80)
        return SBX_REJECT(r, SBX_MALFORMED, at, "malformed memop flags 0x%x", flags);
    return (!(flags & 0x40) || sbx_read_u32(r, &memory)) && sbx_read_u64(r, &offset);
}

static bool skip_vector(sbx_reader *r, const sbx_module *m, bool types)
{
    uint32_t count, index;
    sbx_valtype type;
    if (!sbx_read_length(r, &count))
        return false;
    for (uint32_t i = 0; i < count; i++)
        if (!(types ? sbx_read_valtype(r, m, &type) : sbx_read_u32(r, &index)))
            return false;
    return true;
}

bool sbx_skip_immediates(sbx_reader *r, const sbx_module *m, const sbx_op_info *info, uint32_t opcode)
{
    uint32_t a, b;
    int32_t i32;
    int64_t i64;
    sbx_valtype type;
    const uint8_t *bytes;
    switch ((sbx_op_immediate)info->imm) {
    case SBX_IMM_NONE:
        return true;
    case SBX_IMM_BLOCK:
        return sbx_read_blocktype(r, m, &a, &type);
    case SBX_IMM_LABEL: case SBX_IMM_FUNC: case SBX_IMM_LOCAL: case SBX_IMM_GLOBAL: case SBX_IMM_TABLE:
    case SBX_IMM_MEMORY: case SBX_IMM_ELEM:
        return sbx_read_u32(r, &a);
    case SBX_IMM_TYPE_TABLE: case SBX_IMM_MEMORY_MEMORY: case SBX_IMM_ELEM_TABLE: case SBX_IMM_TABLE_TABLE:
        return sbx_read_u32(r, &a) && sbx_read_u32(r, &b);
    case SBX_IMM_DATA: case SBX_IMM_DATA_MEMORY:
        if (!m->has_data_count)
            return SBX_REJECT(r, SBX_MALFORMED, r->pos, "data count section required");
        return sbx_read_u32(r, &a) && (info->imm == SBX_IMM_DATA || sbx_read_u32(r, &b));
    case SBX_IMM_LABEL_TABLE:
        return skip_vector(r, m, false) && sbx_read_u32(r, &a);
    case SBX_IMM_MEMARG:
        return skip_memarg(r);
    case SBX_IMM_I32:
        return sbx_read_s32(r, &i32);
    case SBX_IMM_I64:
        return sbx_read_s64(r, &i64);
    case SBX_IMM_F32:
        return sbx_read_bytes(r, 4, &bytes);
    case SBX_IMM_F64:
        return sbx_read_bytes(r, 8, &bytes);
    case SBX_IMM_REFTYPE:
        return sbx_read_heaptype(r, m, &type);
    case SBX_IMM_TYPES:
        return skip_vector(r, m, true);
    }
    return SBX_REJECT(r, SBX_USAGE, r->pos, "instruction 0x%x has no known immediate", opcode);
}

/* The reference decoder reads on into whatever follows; these are the words that it ends with. */
bool sbx_body_ran_out(const sbx_module *m, uint32_t code_index, sbx_reader *r)
{
    const uint8_t *end = r->base + m->code[code_index].end;
    if (r->pos > end)
        return SBX_REJECT(r, SBX_MALFORMED, end, "section size mismatch: an instruction runs over the end of function body %u", code_index);
    if (code_index + 1 < m->code_count)
        return SBX_REJECT(r, SBX_MALFORMED, end, "END opcode expected");
    if (end < r->end && *end == SBX_WASM_end)
        return SBX_REJECT(r, SBX_MALFORMED, end, "section size mismatch: function body %u has no end", code_index);
    return SBX_REJECT(r, SBX_MALFORMED, end, "unexpected end of section or function");
}

bool sbx_skim_body(const sbx_module *m, uint32_t code_index, sbx_error *err)
{
    const sbx_code *code = &m->code[code_index];
    sbx_reader r = {m->bytes, m->bytes + code->offset, m->bytes + m->size, err};
    const uint8_t *end = m->bytes + code->end;
    uint32_t depth = 1;
    while (r.pos < end) {
        uint32_t opcode;
        const sbx_op_info *info;
        if (!sbx_read_opcode(&r, m, &opcode, &info) || !sbx_skip_immediates(&r, m, info, opcode))
            return false;
        depth += info->imm == SBX_IMM_BLOCK;
        depth -= opcode == SBX_WASM_end;
        if (!depth)
            return r.pos == end || SBX_REJECT(&r, SBX_MALFORMED, r.pos, "section size mismatch");
    }
    return sbx_body_ran_out(m, code_index, &r);
}

/* locals: runs of (count, type). Their sum is checked before anything else: 2^32 of them are malformed, not merely many. */
static bool read_locals(sbx_decoder *d, sbx_code *code, const uint8_t *body_end)
{
    const uint8_t *at = d->r.pos;
    uint32_t count;
    if (!sbx_read_length(&d->r, &count))
        return false;
    size_t left = d->r.pos < body_end ? (size_t)(body_end - d->r.pos) : 0;
    uint32_t fitting = count > left / 2 ? (uint32_t)(left / 2) : count; /* two bytes each at least */
    sbx_local_run *runs = fitting ? sbx_decoder_alloc(d, fitting, sizeof *runs) : NULL;
    if (fitting && !runs)
        return false;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        sbx_local_run run;
        if (!sbx_read_u32(&d->r, &run.count) || !sbx_read_local_type(d, &run.type))
            return false;
        if (i >= fitting || d->r.pos > body_end)
            return SBX_REJECT(&d->r, SBX_MALFORMED, body_end, "unexpected end of section or function");
        if (run.count) /* empty runs say nothing */
            runs[code->run_count++] = run;
        sum += run.count;
    }
    if (sum > UINT32_MAX)
        return SBX_REJECT(&d->r, SBX_MALFORMED, at, "too many locals");
    code->runs = runs;
    code->local_count = (uint32_t)sum;
    return sbx_check_limit(&d->error, offset_at(&d->r, at), "locals", sum, d->limits->locals);
}

/* Locals cost a byte or two a function, and compiling and calling it cost something for each: all of them together are bounded. */
enum { LOCALS_A_BYTE = 32, LOCALS_FLOOR = 10000000 };

bool sbx_decode_code_section(sbx_decoder *d)
{
    const uint8_t *start = d->r.pos;
    uint64_t locals = 0;
    uint32_t count;
    if (!sbx_decoder_count(d, "functions", d->m->imported_functions, d->limits->functions, &count))
        return false;
    sbx_code *code = sbx_decoder_alloc(d, count, sizeof *code);
    if (!code)
        return false;
    d->m->code = code;
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *at = d->r.pos;
        uint32_t size;
        if (!sbx_read_length(&d->r, &size)
            || !sbx_check_limit(&d->error, offset_at(&d->r, at), "body_bytes", size, d->limits->body_bytes))
            return false;
        if (size > sbx_reader_left(&d->r))
            return SBX_REJECT(&d->r, SBX_MALFORMED, at, "unexpected end of section or function");
        const uint8_t *end = d->r.pos + size;
        if (!read_locals(d, &code[i], end))
            return false;
        locals += code[i].local_count;
        if (!sbx_check_limit(&d->error, offset_at(&d->r, at), "locals of all functions", locals,
                             LOCALS_FLOOR + d->m->size * LOCALS_A_BYTE))
            return false;
        code[i].offset = (uint32_t)offset_at(&d->r, d->r.pos);
        code[i].end = (uint32_t)offset_at(&d->r, end);
        d->r.pos = end;
        d->m->code_count = i + 1;
    }
    d->m->code_bytes = (uint64_t)(d->r.pos - start);
    return true;
}
