/* The sections that declare: imports, functions, tables, memories, globals, exports, start (specification 5.5.5 to 5.5.11). */
#include <string.h>

#include "decode.h"

static uint32_t offset_of(const sbx_decoder *d) { return (uint32_t)sbx_reader_offset(&d->r); }

/* import: module name, name, kind, description. */
static bool read_import(sbx_decoder *d, sbx_import *out)
{
    out->offset = offset_of(d);
    if (!sbx_read_name(&d->r, &out->module) || !sbx_read_name(&d->r, &out->name))
        return false;
    const uint8_t *at = d->r.pos;
    if (!sbx_read_byte(&d->r, &out->kind))
        return false;
    switch (out->kind) {
    case SBX_EXTERN_FUNC:
        d->m->imported_functions++;
        return sbx_read_u32(&d->r, &out->u.type_index);
    case SBX_EXTERN_TABLE:
        d->m->imported_tables++;
        return sbx_read_tabletype(d, &out->u.table);
    case SBX_EXTERN_MEMORY:
        d->m->imported_memories++;
        return sbx_read_memorytype(d, &out->u.memory);
    case SBX_EXTERN_GLOBAL:
        d->m->imported_globals++;
        return sbx_read_globaltype(d, &out->u.global);
    case SBX_EXTERN_TAG:
        return sbx_refuse(&d->error, (uint64_t)(at - d->r.base), SBX_FEATURE_EXCEPTIONS, "imported tag");
    default:
        return SBX_REJECT(&d->r, SBX_MALFORMED, at, "malformed import kind 0x%02x", out->kind);
    }
}

/* The imports open every index space (2.5.1); the own definitions follow in publish_*. */
static bool collect_imports(sbx_decoder *d)
{
    sbx_module *m = d->m;
    d->functions = sbx_decoder_alloc(d, m->imported_functions, sizeof *d->functions);
    d->tables = sbx_decoder_alloc(d, m->imported_tables, sizeof *d->tables);
    d->memories = sbx_decoder_alloc(d, m->imported_memories, sizeof *d->memories);
    d->globals = sbx_decoder_alloc(d, m->imported_globals, sizeof *d->globals);
    if (!d->functions || !d->tables || !d->memories || !d->globals)
        return false;
    uint32_t functions = 0, tables = 0, memories = 0, globals = 0;
    for (uint32_t i = 0; i < m->import_count; i++) {
        const sbx_import *import = &m->imports[i];
        switch (import->kind) {
        case SBX_EXTERN_FUNC: d->functions[functions++] = import->u.type_index; break;
        case SBX_EXTERN_TABLE: d->tables[tables++] = import->u.table; break;
        case SBX_EXTERN_MEMORY: d->memories[memories++] = import->u.memory; break;
        default: d->globals[globals++] = import->u.global; break;
        }
    }
    m->functions = d->functions, m->function_count = functions;
    m->tables = d->tables, m->table_count = tables;
    m->memories = d->memories, m->memory_count = memories;
    m->globals = d->globals, m->global_count = globals;
    return true;
}

/* Versions before reference types allow one table. (More than one memory is for validation to refuse.) */
static bool check_tables(sbx_decoder *d, const uint8_t *at)
{
    return d->m->table_count <= 1 || sbx_require_feature(d->m, &d->error, (uint64_t)(at - d->r.base),
                                                         SBX_FEATURE_REFERENCE_TYPES, "more than one table");
}

bool sbx_decode_import_section(sbx_decoder *d)
{
    const uint8_t *at = d->r.pos;
    uint32_t count;
    if (!sbx_decoder_count(d, "imports", 0, d->limits->imports, &count))
        return false;
    sbx_import *imports = sbx_decoder_alloc(d, count, sizeof *imports);
    if (!imports)
        return false;
    d->m->imports = imports;
    for (uint32_t i = 0; i < count; i++, d->m->import_count = i)
        if (!read_import(d, &imports[i]))
            return false;
    const sbx_module *m = d->m;
    uint64_t offset = (uint64_t)(at - d->r.base);
    return sbx_check_limit(&d->error, offset, "functions", m->imported_functions, d->limits->functions)
        && sbx_check_limit(&d->error, offset, "tables", m->imported_tables, d->limits->tables)
        && sbx_check_limit(&d->error, offset, "memories", m->imported_memories, SBX_MAX_MEMORIES)
        && sbx_check_limit(&d->error, offset, "globals", m->imported_globals, d->limits->globals)
        && collect_imports(d) && check_tables(d, at);
}

/* An index space with room for `more` own entries behind the imported ones. */
static void *extend(sbx_decoder *d, const void *imported, uint32_t already, uint32_t more, size_t size)
{
    uint8_t *all = sbx_decoder_alloc(d, (size_t)already + more, size);
    if (all && already)
        memcpy(all, imported, already * size);
    return all;
}

bool sbx_decode_function_section(sbx_decoder *d)
{
    uint32_t count, imported = d->m->function_count;
    if (!sbx_decoder_count(d, "functions", imported, d->limits->functions, &count))
        return false;
    d->functions = extend(d, d->m->functions, imported, count, sizeof *d->functions);
    if (!d->functions)
        return false;
    for (uint32_t i = 0; i < count; i++)
        if (!sbx_read_u32(&d->r, &d->functions[imported + i]))
            return false;
    d->own_functions = count;
    d->m->functions = d->functions;
    d->m->function_count += count;
    return true;
}

bool sbx_decode_table_section(sbx_decoder *d)
{
    const uint8_t *at = d->r.pos;
    uint32_t count, imported = d->m->table_count;
    if (!sbx_decoder_count(d, "tables", imported, d->limits->tables, &count))
        return false;
    d->tables = extend(d, d->m->tables, imported, count, sizeof *d->tables);
    if (!d->tables)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        if (d->r.pos < d->r.end && *d->r.pos == 0x40)
            return sbx_refuse(&d->error, sbx_reader_offset(&d->r), SBX_FEATURE_FUNCTION_REFERENCES,
                              "table with an initializer expression");
        if (!sbx_read_tabletype(d, &d->tables[imported + i]))
            return false;
    }
    d->m->tables = d->tables;
    d->m->table_count += count;
    return check_tables(d, at);
}

bool sbx_decode_memory_section(sbx_decoder *d)
{
    uint32_t count, imported = d->m->memory_count;
    if (!sbx_decoder_count(d, "memories", imported, SBX_MAX_MEMORIES, &count))
        return false;
    d->memories = extend(d, d->m->memories, imported, count, sizeof *d->memories);
    if (!d->memories)
        return false;
    for (uint32_t i = 0; i < count; i++)
        if (!sbx_read_memorytype(d, &d->memories[imported + i]))
            return false;
    d->m->memories = d->memories;
    d->m->memory_count += count;
    return true;
}

/* tag (version 3.0): attribute 0, type. Read so that what is wrong with it is told, refused in the end. */
bool sbx_decode_tag_section(sbx_decoder *d)
{
    uint32_t count;
    sbx_refuse(&d->refused, sbx_reader_offset(&d->r), SBX_FEATURE_EXCEPTIONS, "tag section");
    if (!sbx_read_length(&d->r, &count))
        return false;
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *at = d->r.pos;
        uint8_t attribute;
        uint32_t type;
        if (!sbx_read_byte(&d->r, &attribute) || !sbx_read_u32(&d->r, &type))
            return false;
        if (attribute)
            return SBX_REJECT(&d->r, SBX_MALFORMED, at, "malformed tag attribute 0x%02x", attribute);
        if (type >= d->m->type_count)
            sbx_fail(&d->deferred, SBX_INVALID, (uint64_t)(at - d->r.base), "unknown type %u", type);
        else if (d->m->types[type].results)
            sbx_fail(&d->deferred, SBX_INVALID, (uint64_t)(at - d->r.base), "non-empty tag result type");
    }
    d->m->tag_count = count;
    return true;
}

bool sbx_decode_global_section(sbx_decoder *d)
{
    uint32_t count, imported = d->m->global_count;
    if (!sbx_decoder_count(d, "globals", imported, d->limits->globals, &count))
        return false;
    d->globals = extend(d, d->m->globals, imported, count, sizeof *d->globals);
    sbx_global_def *definitions = sbx_decoder_alloc(d, count, sizeof *definitions);
    if (!d->globals || !definitions)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        definitions[i].offset = offset_of(d);
        if (!sbx_read_globaltype(d, &definitions[i].type) || !sbx_read_const_expr(d, &definitions[i].init))
            return false;
        d->globals[imported + i] = definitions[i].type;
    }
    d->m->globals = d->globals;
    d->m->global_defs = definitions;
    d->m->global_count += count;
    return true;
}

/* export: name, kind, index. */
static bool read_export(sbx_decoder *d, sbx_export *out)
{
    out->offset = offset_of(d);
    if (!sbx_read_name(&d->r, &out->name))
        return false;
    const uint8_t *at = d->r.pos;
    if (!sbx_read_byte(&d->r, &out->kind))
        return false;
    if (out->kind > SBX_EXTERN_TAG)
        return SBX_REJECT(&d->r, SBX_MALFORMED, at, "malformed export kind 0x%02x", out->kind);
    return sbx_read_u32(&d->r, &out->index);
}

bool sbx_decode_export_section(sbx_decoder *d)
{
    uint32_t count;
    if (!sbx_decoder_count(d, "exports", 0, d->limits->exports, &count))
        return false;
    sbx_export *exports = sbx_decoder_alloc(d, count, sizeof *exports);
    if (!exports)
        return false;
    for (uint32_t i = 0; i < count; i++)
        if (!read_export(d, &exports[i]))
            return false;
    d->m->exports = exports;
    d->m->export_count = count;
    return true;
}

bool sbx_decode_start_section(sbx_decoder *d)
{
    d->m->has_start = true;
    return sbx_read_u32(&d->r, &d->m->start);
}
