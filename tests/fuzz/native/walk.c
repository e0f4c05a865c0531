/* The walk over bytes that may be a module: sections, instructions, and what function bodies may name. */
#include <string.h>
#include "fuzz.h"

bool fz_read_unsigned(fz_cursor *c, uint64_t *out)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && c->at < c->end; shift += 7) {
        uint8_t byte = *c->at++;
        value |= (uint64_t)(byte & 0x7F) << shift;
        if (!(byte & 0x80)) {
            *out = value;
            return true;
        }
    }
    return false;
}

bool fz_read_u32(fz_cursor *c, uint32_t *out)
{
    uint64_t wide;
    if (!fz_read_unsigned(c, &wide) || wide > UINT32_MAX)
        return false;
    *out = (uint32_t)wide;
    return true;
}

bool fz_skip(fz_cursor *c, uint64_t bytes)
{
    if (bytes > (uint64_t)(c->end - c->at))
        return false;
    c->at += bytes;
    return true;
}

bool fz_section(fz_cursor *c, uint8_t *id, fz_cursor *contents)
{
    uint32_t size;
    if (c->at >= c->end)
        return false;
    *id = *c->at++;
    if (!fz_read_u32(c, &size))
        return false;
    contents->at = c->at;
    if (!fz_skip(c, size))
        return false;
    contents->end = c->at;
    return true;
}

static bool numbers(fz_cursor *c, uint32_t count)
{
    uint64_t unused;
    for (uint32_t i = 0; i < count; i++)
        if (!fz_read_unsigned(c, &unused))
            return false;
    return true;
}

bool fz_instruction(fz_cursor *c, uint32_t *opcode)
{
    uint32_t sub, count;
    if (c->at >= c->end)
        return false;
    *opcode = *c->at++;
    if (*opcode == 0xFC) {
        if (!fz_read_u32(c, &sub) || sub > 17)
            return false;
        *opcode = 0xFC00 | sub;
    }
    const sbx_op_info *info = sbx_op_info_of(*opcode);
    if (info->kind == SBX_KIND_ILLEGAL || info->kind == SBX_KIND_REFUSED)
        return false;
    switch (info->imm) {
    case SBX_IMM_NONE: return true;
    case SBX_IMM_F32: return fz_skip(c, 4);
    case SBX_IMM_F64: return fz_skip(c, 8);
    case SBX_IMM_LABEL_TABLE:
        return fz_read_u32(c, &count) && count < (1u << 20) && numbers(c, count + 1);
    case SBX_IMM_TYPES: return fz_read_u32(c, &count) && fz_skip(c, count);
    case SBX_IMM_TYPE_TABLE: case SBX_IMM_MEMARG: case SBX_IMM_MEMORY_MEMORY: case SBX_IMM_DATA_MEMORY:
    case SBX_IMM_ELEM_TABLE: case SBX_IMM_TABLE_TABLE: return numbers(c, 2);
    default: return numbers(c, 1);
    }
}

/* Reading an environment: each reader takes one section's contents and leaves what it cannot hold. */

static bool read_types(fz_environment *env, fz_cursor c)
{
    uint32_t count, n;
    if (!fz_read_u32(&c, &count))
        return false;
    for (uint32_t i = 0; i < count && env->type_count < FZ_TYPES; i++) {
        fz_signature *t = &env->types[env->type_count];
        if (!fz_skip(&c, 1) || !fz_read_u32(&c, &n) || n > FZ_ARITY || !fz_skip(&c, n))
            return env->type_count > 0;
        t->params = n;
        memcpy(t->types, c.at - n, n);
        if (!fz_read_u32(&c, &n) || n > FZ_ARITY - t->params || !fz_skip(&c, n))
            return env->type_count > 0;
        t->results = n;
        memcpy(t->types + t->params, c.at - n, n);
        env->type_count++;
    }
    return true;
}

static bool read_limits(fz_cursor *c)
{
    uint64_t flags;
    return fz_read_unsigned(c, &flags) && flags <= 1 && numbers(c, 1 + (uint32_t)flags);
}

static void add_function(fz_environment *env, uint32_t type)
{
    if (env->function_count < FZ_FUNCTIONS)
        env->functions[env->function_count++] = type;
}

static void add_global(fz_environment *env, uint8_t type, uint8_t is_mutable)
{
    if (env->global_count < FZ_GLOBALS)
        env->globals[env->global_count++] = (fz_global){type, is_mutable};
}

static void add_table(fz_environment *env, uint8_t type)
{
    if (env->table_count < FZ_TABLES)
        env->tables[env->table_count++] = type;
}

static bool read_import(fz_environment *env, fz_cursor *c)
{
    uint32_t n;
    for (int i = 0; i < 2; i++)
        if (!fz_read_u32(c, &n) || !fz_skip(c, n))
            return false;
    if (!fz_skip(c, 1))
        return false;
    switch (c->at[-1]) {
    case SBX_EXTERN_FUNC:
        if (!fz_read_u32(c, &n))
            return false;
        env->imported_functions++;
        add_function(env, n);
        return true;
    case SBX_EXTERN_TABLE:
        if (!fz_skip(c, 1))
            return false;
        add_table(env, c->at[-1]);
        return read_limits(c);
    case SBX_EXTERN_MEMORY:
        env->has_memory = true;
        return read_limits(c);
    default:
        if (!fz_skip(c, 2))
            return false;
        add_global(env, c->at[-2], c->at[-1]);
        return true;
    }
}

static bool constant_expression(fz_cursor *c)
{
    uint32_t opcode;
    while (fz_instruction(c, &opcode))
        if (opcode == SBX_WASM_end)
            return true;
    return false;
}

static void read_elements(fz_environment *env, fz_cursor c, uint32_t count)
{
    uint32_t flags, n;
    for (uint32_t i = 0; i < count && env->element_count < FZ_SEGMENTS; i++) {
        uint8_t type = SBX_FUNCREF;
        if (!fz_read_u32(&c, &flags) || flags > 7)
            return;
        if (!(flags & 1) && ((flags & 2 && !numbers(&c, 1)) || !constant_expression(&c)))
            return;
        if (flags & 3) {
            if (!fz_skip(&c, 1))
                return;
            type = flags & 4 ? c.at[-1] : SBX_FUNCREF;
        }
        if (!fz_read_u32(&c, &n))
            return;
        for (uint32_t k = 0; k < n; k++)
            if (flags & 4 ? !constant_expression(&c) : !numbers(&c, 1))
                return;
        env->elements[env->element_count++] = type;
        env->refers |= !(flags & 4) && (flags & 3) == 3 && n >= env->function_count - env->imported_functions;
    }
}

/* The export "B": a mutable i32 that the embedder fills before each call, and that bounds what one call may call. */
static bool read_export(fz_environment *env, fz_cursor *c)
{
    uint32_t length, index;
    if (!fz_read_u32(c, &length) || !fz_skip(c, length))
        return false;
    bool named = length == 1 && c->at[-1] == 'B';
    if (!fz_skip(c, 1))
        return false;
    uint8_t kind = c->at[-1];
    if (!fz_read_u32(c, &index))
        return false;
    if (named && kind == SBX_EXTERN_GLOBAL && index < env->global_count && env->globals[index].type == SBX_I32 && env->globals[index].is_mutable)
        env->budget = (int32_t)index;
    return true;
}

static bool read_section(fz_environment *env, uint8_t id, fz_cursor c)
{
    uint32_t count, n;
    if (id == 0)
        return true;
    if (id == 1)
        return read_types(env, c);
    if (!fz_read_u32(&c, &count))
        return false;
    for (uint32_t i = 0; i < count; i++) {
        switch (id) {
        case 2: if (!read_import(env, &c)) return false; break;
        case 3: if (!fz_read_u32(&c, &n)) return false; add_function(env, n); break;
        case 4: if (!fz_skip(&c, 1)) return false; add_table(env, c.at[-1]); if (!read_limits(&c)) return false; break;
        case 5: env->has_memory = true; return true;
        case 6:
            if (!fz_skip(&c, 2))
                return false;
            add_global(env, c.at[-2], c.at[-1]);
            if (!constant_expression(&c))
                return false;
            break;
        case 7: if (!read_export(env, &c)) return false; break;
        case 9: read_elements(env, c, count); return true;
        case 12: env->data_count = count < FZ_SEGMENTS ? count : FZ_SEGMENTS; return true;
        default: return true;
        }
    }
    return true;
}

bool fz_environment_read(fz_environment *env, const uint8_t *bytes, size_t size)
{
    fz_cursor c = {bytes, bytes + size}, contents;
    uint8_t id;
    env->budget = -1;
    if (!fz_skip(&c, 8))
        return false;
    while (fz_section(&c, &id, &contents) && id != 10)
        if (!read_section(env, id, contents))
            return false;
    return env->type_count > 0;
}
