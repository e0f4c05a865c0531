/* Validation of everything but function bodies (specification 3.2 and 3.4). */
#include <string.h>

#include "decode.h"

#define INVALID(err, offset, ...) (sbx_fail((err), SBX_INVALID, (offset), __VA_ARGS__), false)

/* 3.2.1 to 3.2.4 */
static bool check_limits(const sbx_limits *limits, uint64_t range, const char *words, uint64_t offset, sbx_error *err)
{
    if (limits->min > range || (limits->has_max && limits->max > range))
        return INVALID(err, offset, "%s", words);
    if (limits->has_max && limits->min > limits->max)
        return INVALID(err, offset, "size minimum must not be greater than maximum");
    return true;
}

static bool check_table(const sbx_tabletype *t, uint64_t offset, sbx_error *err)
{
    return check_limits(&t->limits, UINT32_MAX, "table size must be at most 2^32-1 elements", offset, err);
}

static bool check_memory(const sbx_memorytype *t, uint64_t offset, sbx_error *err)
{
    return check_limits(&t->limits, SBX_MAX_PAGES32, "memory size must be at most 65536 pages (4GiB)", offset, err);
}

static bool check_imports(const sbx_module *m, sbx_error *err)
{
    for (uint32_t i = 0; i < m->import_count; i++) {
        const sbx_import *import = &m->imports[i];
        switch (import->kind) {
        case SBX_EXTERN_FUNC:
            if (import->u.type_index >= m->type_count)
                return INVALID(err, import->offset, "unknown type %u", import->u.type_index);
            break;
        case SBX_EXTERN_TABLE:
            if (!check_table(&import->u.table, import->offset, err))
                return false;
            break;
        case SBX_EXTERN_MEMORY:
            if (!check_memory(&import->u.memory, import->offset, err))
                return false;
            break;
        default:
            if (import->u.global.is_mutable
                && !sbx_require_feature(m, err, import->offset, SBX_FEATURE_MUTABLE_GLOBAL, "import of a mutable global"))
                return false;
        }
    }
    return true;
}

/* Definitions of these sections carry no offset of their own: their section's is told. */
enum { IMPORT_SECTION = 2, FUNCTION_SECTION = 3, TABLE_SECTION = 4, MEMORY_SECTION = 5, START_SECTION = 8 };

static bool check_definitions(const sbx_module *m, sbx_error *err)
{
    const uint32_t *section = m->section_offsets;
    for (uint32_t i = m->imported_functions; i < m->function_count; i++)
        if (m->functions[i] >= m->type_count)
            return INVALID(err, section[FUNCTION_SECTION], "unknown type %u of function %u", m->functions[i], i);
    for (uint32_t i = m->imported_tables; i < m->table_count; i++)
        if (!check_table(&m->tables[i], section[TABLE_SECTION], err))
            return false;
    for (uint32_t i = m->imported_memories; i < m->memory_count; i++)
        if (!check_memory(&m->memories[i], section[MEMORY_SECTION], err))
            return false;
    for (uint32_t i = m->imported_globals; i < m->global_count; i++) {
        const sbx_global_def *definition = &m->global_defs[i - m->imported_globals];
        if (!sbx_check_const_expr(m, &definition->init, definition->type.type, i, err))
            return false;
    }
    return true;
}

/* By length, then by bytes: any order in which equal names are neighbours. */
static int compare_names(const sbx_name *a, const sbx_name *b)
{
    if (a->length != b->length)
        return a->length < b->length ? -1 : 1;
    return a->length ? memcmp(a->bytes, b->bytes, a->length) : 0;
}

/* Merge sort, bottom up: n log n comparisons whatever the names are. `order` and `other` hold `count` indices each; the
 * sorted one is returned. */
static uint32_t *sort_exports(const sbx_export *exports, uint32_t *order, uint32_t *other, uint32_t count)
{
    for (uint64_t width = 1; width < count; width *= 2) {
        for (uint64_t start = 0; start < count; start += 2 * width) {
            uint64_t middle = start + width < count ? start + width : count;
            uint64_t end = start + 2 * width < count ? start + 2 * width : count;
            uint64_t left = start, right = middle;
            for (uint64_t k = start; k < end; k++) {
                bool take_left = left < middle
                    && (right >= end || compare_names(&exports[order[left]].name, &exports[order[right]].name) <= 0);
                other[k] = order[take_left ? left++ : right++];
            }
        }
        uint32_t *swap = order;
        order = other;
        other = swap;
    }
    return order;
}

static bool check_export_names(const sbx_module *m, sbx_error *err)
{
    uint32_t count = m->export_count;
    uint32_t *indices = sbx_malloc((size_t)count * 2 * sizeof *indices);
    if (!indices) {
        sbx_fail(err, SBX_NO_MEMORY, SBX_NO_OFFSET, "out of memory while validating");
        return false;
    }
    for (uint32_t i = 0; i < count; i++)
        indices[i] = i;
    const uint32_t *sorted = sort_exports(m->exports, indices, indices + count, count);
    const sbx_export *duplicate = NULL;
    for (uint32_t i = 1; i < count && !duplicate; i++)
        if (compare_names(&m->exports[sorted[i - 1]].name, &m->exports[sorted[i]].name) == 0)
            duplicate = &m->exports[sorted[i]];
    sbx_free(indices);
    if (!duplicate)
        return true;
    char name[64];
    sbx_printable(name, sizeof name, duplicate->name.bytes, duplicate->name.length);
    return INVALID(err, duplicate->offset, "duplicate export name \"%s\"", name);
}

static bool check_exports(const sbx_module *m, sbx_error *err)
{
    static const char *const kinds[] = {"function", "table", "memory", "global", "tag"};
    const uint32_t counts[] = {m->function_count, m->table_count, m->memory_count, m->global_count, m->tag_count};
    for (uint32_t i = 0; i < m->export_count; i++) {
        const sbx_export *export = &m->exports[i];
        if (export->index >= counts[export->kind])
            return INVALID(err, export->offset, "unknown %s %u", kinds[export->kind], export->index);
        if (export->kind == SBX_EXTERN_GLOBAL && m->globals[export->index].is_mutable
            && !sbx_require_feature(m, err, export->offset, SBX_FEATURE_MUTABLE_GLOBAL, "export of a mutable global"))
            return false;
    }
    return check_export_names(m, err);
}

static bool check_start(const sbx_module *m, sbx_error *err)
{
    if (!m->has_start)
        return true;
    if (m->start >= m->function_count)
        return INVALID(err, m->section_offsets[START_SECTION], "unknown function %u", m->start);
    const sbx_functype *type = &m->types[m->functions[m->start]];
    if (type->params || type->results)
        return INVALID(err, m->section_offsets[START_SECTION], "start function must have no parameters and no results");
    return true;
}

/* One initialiser: a function, null, or an imported immutable global of the segment's type. */
static bool check_element_init(const sbx_module *m, const sbx_element_segment *segment, uint32_t init, sbx_error *err)
{
    if (init == SBX_INIT_NULL)
        return true;
    if (!(init & SBX_INIT_GLOBAL))
        return init < m->function_count || INVALID(err, segment->file_offset, "unknown function %u", init);
    sbx_const_expr get = {.offset = segment->file_offset, .opcode = SBX_WASM_global_get, .bits = init & ~SBX_INIT_GLOBAL};
    return sbx_check_const_expr(m, &get, segment->type, m->global_count, err);
}

/* Before reference types, an active segment that cannot fit was refused before anything ran. */
static bool check_static_bounds(const sbx_module *m, uint32_t index, sbx_error *err)
{
    const sbx_element_segment *segment = &m->elements[index];
    if (m->features & SBX_FEATURE_BIT(REFERENCE_TYPES) || segment->offset.opcode != SBX_WASM_i32_const)
        return true;
    uint64_t end = segment->offset.bits + segment->count, size = m->tables[segment->table].limits.min;
    if (end <= size)
        return true;
    sbx_fail(err, SBX_ELEMENT_OFFSET, segment->file_offset,
             "out of bounds table access: element segment %u ends at %llu, but table %u has at least %llu elements", index,
             (unsigned long long)end, segment->table, (unsigned long long)size);
    return false;
}

static bool check_elements(const sbx_module *m, sbx_error *err)
{
    for (uint32_t i = 0; i < m->element_count; i++) {
        const sbx_element_segment *segment = &m->elements[i];
        for (uint32_t k = 0; k < segment->count; k++)
            if (!check_element_init(m, segment, segment->inits[k], err))
                return false;
        if (segment->mode != SBX_SEGMENT_ACTIVE)
            continue;
        if (segment->table >= m->table_count)
            return INVALID(err, segment->file_offset, "unknown table %u", segment->table);
        if (m->tables[segment->table].element != segment->type)
            return INVALID(err, segment->file_offset, "type mismatch: element segment of %s for a table of %s",
                           sbx_valtype_name(segment->type), sbx_valtype_name(m->tables[segment->table].element));
        if (!sbx_check_const_expr(m, &segment->offset, SBX_I32, m->global_count, err))
            return false;
    }
    for (uint32_t i = 0; i < m->element_count; i++) /* after all that is plainly invalid */
        if (m->elements[i].mode == SBX_SEGMENT_ACTIVE && !check_static_bounds(m, i, err))
            return false;
    return true;
}

static bool check_data(const sbx_module *m, sbx_error *err)
{
    for (uint32_t i = 0; i < m->data_count; i++) {
        const sbx_data_segment *segment = &m->data[i];
        if (segment->mode != SBX_SEGMENT_ACTIVE)
            continue;
        if (segment->memory >= m->memory_count)
            return INVALID(err, segment->file_offset, "unknown memory %u", segment->memory);
        if (!sbx_check_const_expr(m, &segment->offset, SBX_I32, m->global_count, err))
            return false;
    }
    return true;
}

/* C.refs (3.4.10): the functions that occur in the module outside of its functions and its start. */
static bool collect_declared_refs(sbx_module *m, sbx_error *err)
{
    uint8_t *refs = m->declared_refs = sbx_arena_alloc(m->arena, ((size_t)m->function_count + 7) / 8, 1);
    if (!refs) {
        sbx_fail(err, SBX_NO_MEMORY, SBX_NO_OFFSET, "out of memory while validating");
        return false;
    }
#define DECLARE(index) (refs[(index) >> 3] |= (uint8_t)(1u << ((index) & 7)))
    for (uint32_t i = 0; i < m->global_count - m->imported_globals; i++)
        if (m->global_defs[i].init.opcode == SBX_WASM_ref_func)
            DECLARE(m->global_defs[i].init.bits);
    for (uint32_t i = 0; i < m->export_count; i++)
        if (m->exports[i].kind == SBX_EXTERN_FUNC)
            DECLARE(m->exports[i].index);
    for (uint32_t i = 0; i < m->element_count; i++)
        for (uint32_t k = 0; k < m->elements[i].count; k++)
            if (!(m->elements[i].inits[k] & SBX_INIT_GLOBAL))
                DECLARE(m->elements[i].inits[k]);
#undef DECLARE
    return true;
}

/* A data segment does not fit the memory that it is for: instantiation traps before anything of the module can run. */
static bool bound_to_trap(const sbx_module *m)
{
    for (uint32_t i = 0; i < m->data_count; i++) {
        const sbx_data_segment *segment = &m->data[i];
        if (segment->mode != SBX_SEGMENT_ACTIVE)
            continue;
        uint64_t offset = segment->offset.opcode == SBX_WASM_i32_const ? segment->offset.bits : 0;
        if (offset + segment->length > m->memories[segment->memory].limits.min * SBX_PAGE_SIZE)
            return true;
    }
    return false;
}

/* Several memories are of version 3.0. Nothing need be known of them to trap, and the official suite wants to see it. */
static bool check_memory_count(const sbx_module *m, sbx_error *err)
{
    uint32_t section = m->imported_memories < m->memory_count ? MEMORY_SECTION : IMPORT_SECTION;
    return m->memory_count <= 1 || bound_to_trap(m)
        || sbx_refuse(err, m->section_offsets[section], SBX_FEATURE_MULTI_MEMORY, "more than one memory");
}

/* The module is refused, unless a body is invalid, which is worse. */
static bool check_refused(sbx_module *m, const sbx_error *refusal, sbx_error *err)
{
    sbx_validator *v = sbx_validator_new(m);
    sbx_error found;
    sbx_error_clear(&found);
    if (!v)
        sbx_fail(&found, SBX_NO_MEMORY, SBX_NO_OFFSET, "out of memory while validating");
    for (uint32_t i = 0; i < m->code_count && found.status == SBX_OK; i++)
        if (sbx_validate_body(v, i, &found) == SBX_UNSUPPORTED)
            sbx_error_clear(&found);
    sbx_validator_free(v);
    *err = found.status != SBX_OK ? found : *refusal;
    return false;
}

static bool validate(sbx_module *m, sbx_error *err)
{
    if (m->deferred) {
        *err = *m->deferred;
        return false;
    }
    if (!check_imports(m, err) || !check_definitions(m, err) || !check_exports(m, err) || !check_start(m, err)
        || !check_elements(m, err) || !check_data(m, err) || !collect_declared_refs(m, err))
        return false;
    sbx_error refusal;
    sbx_error_clear(&refusal);
    if (m->refused)
        return check_refused(m, m->refused, err);
    return check_memory_count(m, &refusal) || check_refused(m, &refusal, err);
}

sbx_status sbx_validate_module(sbx_module *module, sbx_error *err)
{
    sbx_error found;
    sbx_error_clear(&found);
    if (validate(module, &found))
        return SBX_OK;
    if (err && err->status == SBX_OK)
        *err = found;
    return (sbx_status)found.status;
}
