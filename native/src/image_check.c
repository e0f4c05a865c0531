/* Image checker: every count, index, range, kind and type in the records, so that the run time may follow them blindly. */
#include "image_internal.h"
#include "wasm_ops.h"
#include <string.h>

#define MAX_TABLE 0xFFFFFFFFull

typedef struct checker {
    const sbx_image *image;
    const sbx_image_header *h;
    const sbx_tabletype *tables;
    const sbx_memorytype *memories;
    const sbx_image_global *globals;
    const sbx_image_function *functions;
    sbx_error *err;
} checker;

static sbx_status bad(const checker *c, const char *what)
{
    return sbx_fail(c->err, SBX_BAD_IMAGE, SBX_NO_OFFSET, "not an image of this build: %s", what);
}

static sbx_status bad_record(const checker *c, const char *kind, uint64_t index, const char *what)
{
    return sbx_fail(c->err, SBX_BAD_IMAGE, SBX_NO_OFFSET, "broken image: %s %llu: %s", kind, (unsigned long long)index, what);
}

static uint64_t length_of(const checker *c, sbx_image_section section) { return c->h->sections[section].bytes; }

/* [first, first + count) within [0, total) */
static bool inside(uint64_t first, uint64_t count, uint64_t total) { return count <= total && first <= total - count; }

static bool name_ok(const checker *c, sbx_image_name name)
{
    return inside(name.offset, name.length, length_of(c, SBX_IMAGE_NAMES));
}

static bool valtype_ok(sbx_valtype type) { return sbx_is_number(type) || sbx_is_reference(type); }

static bool limits_ok(const sbx_limits *limits, uint64_t largest)
{
    return limits->has_max <= 1 && limits->shared == 0 && limits->is64 == 0 && limits->min <= largest
        && (!limits->has_max || (limits->max <= largest && limits->min <= limits->max));
}

static bool limits_equal(const sbx_limits *a, const sbx_limits *b)
{
    return a->min == b->min && a->has_max == b->has_max && (!a->has_max || a->max == b->max);
}

static bool table_ok(const sbx_tabletype *type) { return sbx_is_reference(type->element) && limits_ok(&type->limits, MAX_TABLE); }
static bool memory_ok(const sbx_memorytype *type) { return limits_ok(&type->limits, SBX_MAX_PAGES32); }
static bool global_ok(const sbx_globaltype *type) { return valtype_ok(type->type) && type->is_mutable <= 1; }

/* A global that a constant expression may read: imported, immutable, of the type. */
static bool readable_global(const checker *c, uint64_t index, sbx_valtype type)
{
    return index < c->h->imported_globals && c->globals[index].type.type == type && !c->globals[index].type.is_mutable;
}

static bool const_ok(const checker *c, const sbx_image_const *init, sbx_valtype type)
{
    switch (init->opcode) {
    case SBX_WASM_i32_const: return type == SBX_I32 && init->bits <= UINT32_MAX;
    case SBX_WASM_i64_const: return type == SBX_I64;
    case SBX_WASM_f32_const: return type == SBX_F32 && init->bits <= UINT32_MAX;
    case SBX_WASM_f64_const: return type == SBX_F64;
    case SBX_WASM_global_get: return readable_global(c, init->bits, type);
    case SBX_WASM_ref_null: return sbx_is_reference(type);
    case SBX_WASM_ref_func: return type == SBX_FUNCREF && init->bits < c->h->function_count;
    default: return false;
    }
}

static sbx_status check_header(checker *c)
{
    const sbx_image_header *h = c->h;
    if (memcmp(h->magic, "SBXIMAGE", 8) != 0)
        return bad(c, "no magic");
    if (memcmp(h->build_id, sbx_build_id(), sizeof h->build_id) != 0)
        return bad(c, "foreign build id");
    if (h->size != c->image->size)
        return bad(c, "size differs");
    if (h->metered > 1 || h->explicit_bounds > 1 || h->has_start > 1 || h->preinitialised > SBX_PREINITIALISED_KEPT
        || (h->features & ~(uint32_t)SBX_FEATURES_SUPPORTED))
        return bad(c, "unknown flags");
    uint64_t bytes[SBX_IMAGE_SECTION_COUNT], offsets[SBX_IMAGE_SECTION_COUNT], total;
    for (int i = 0; i < SBX_IMAGE_SECTION_COUNT; i++) {
        bytes[i] = h->sections[i].bytes;
        uint64_t records = sbx_image_record_bytes(h, i);
        if (records != UINT64_MAX && records != bytes[i])
            return bad_record(c, "section", i, "its length is not that of its records");
    }
    if (!sbx_image_place(bytes, offsets, &total) || total != h->size)
        return bad(c, "sections do not add up");
    for (int i = 0; i < SBX_IMAGE_SECTION_COUNT; i++)
        if (h->sections[i].offset != offsets[i])
            return bad_record(c, "section", i, "it is not where it belongs");
    if (bytes[SBX_IMAGE_VALTYPES] % sizeof(sbx_valtype) || bytes[SBX_IMAGE_ELEMENT_INITS] % sizeof(uint32_t)
        || bytes[SBX_IMAGE_CODE] % sizeof(uint16_t) || bytes[SBX_IMAGE_DATA_PAGES] % SBX_IMAGE_PAGE)
        return bad(c, "a section's length is not a multiple of its items");
    if (h->function_count >= SBX_INIT_GLOBAL || h->imported_functions > h->function_count || h->imported_tables > h->table_count
        || h->imported_memories > h->memory_count || h->imported_globals > h->global_count)
        return bad(c, "more imports than entries");
    return SBX_OK;
}

static sbx_status check_types(checker *c)
{
    const sbx_image_type *types = SBX_IMAGE_AT(c->image, TYPES, sbx_image_type);
    const sbx_valtype *pool = SBX_IMAGE_AT(c->image, VALTYPES, sbx_valtype);
    uint64_t pool_count = length_of(c, SBX_IMAGE_VALTYPES) / sizeof *pool;
    for (uint64_t i = 0; i < pool_count; i++)
        if (!valtype_ok(pool[i]))
            return bad_record(c, "value type", i, "unknown");
    for (uint32_t i = 0; i < c->h->type_count; i++)
        if (types[i].params > INT32_MAX || types[i].results > INT32_MAX
            || !inside(types[i].first, (uint64_t)types[i].params + types[i].results, pool_count))
            return bad_record(c, "type", i, "outside the pool");
    return SBX_OK;
}

/* The import's own description must be that of its entry in the index space. */
static bool import_matches(const checker *c, const sbx_image_import *import, const uint32_t seen[4])
{
    uint32_t index = seen[import->kind];
    switch (import->kind) {
    case SBX_EXTERN_FUNC:
        return index < c->h->imported_functions && import->type_index == c->functions[index].type_index;
    case SBX_EXTERN_TABLE:
        return index < c->h->imported_tables && import->table.element == c->tables[index].element
            && limits_equal(&import->table.limits, &c->tables[index].limits);
    case SBX_EXTERN_MEMORY:
        return index < c->h->imported_memories && limits_equal(&import->memory.limits, &c->memories[index].limits);
    default:
        return index < c->h->imported_globals && import->global.type == c->globals[index].type.type
            && import->global.is_mutable == c->globals[index].type.is_mutable;
    }
}

static sbx_status check_imports(checker *c)
{
    const sbx_image_import *imports = SBX_IMAGE_AT(c->image, IMPORTS, sbx_image_import);
    uint32_t seen[4] = {0};
    for (uint32_t i = 0; i < c->h->import_count; i++) {
        if (!name_ok(c, imports[i].module) || !name_ok(c, imports[i].name))
            return bad_record(c, "import", i, "its name lies outside the names");
        if (imports[i].kind > SBX_EXTERN_GLOBAL || !import_matches(c, &imports[i], seen))
            return bad_record(c, "import", i, "its type is not that of its index space");
        seen[imports[i].kind]++;
    }
    if (seen[SBX_EXTERN_FUNC] != c->h->imported_functions || seen[SBX_EXTERN_TABLE] != c->h->imported_tables
        || seen[SBX_EXTERN_MEMORY] != c->h->imported_memories || seen[SBX_EXTERN_GLOBAL] != c->h->imported_globals)
        return bad(c, "imports are missing");
    return SBX_OK;
}

static sbx_status check_exports(checker *c)
{
    const sbx_image_export *exports = SBX_IMAGE_AT(c->image, EXPORTS, sbx_image_export);
    const uint32_t counts[4] = {c->h->function_count, c->h->table_count, c->h->memory_count, c->h->global_count};
    for (uint32_t i = 0; i < c->h->export_count; i++) {
        if (!name_ok(c, exports[i].name))
            return bad_record(c, "export", i, "its name lies outside the names");
        if (exports[i].kind > SBX_EXTERN_GLOBAL || exports[i].index >= counts[exports[i].kind])
            return bad_record(c, "export", i, "unknown kind or index");
        sbx_name name = sbx_image_name_of(c->image, exports[i].name);
        if (i && sbx_name_compare(sbx_image_name_of(c->image, exports[i - 1].name), name) >= 0)
            return bad_record(c, "export", i, "not sorted by name");
    }
    return SBX_OK;
}

static const char *function_fault(const checker *c, uint32_t index)
{
    const sbx_image_function *f = &c->functions[index];
    if (f->type_index >= c->h->type_count)
        return "unknown type";
    if (!name_ok(c, f->name))
        return "its name lies outside the names";
    if (index < c->h->imported_functions)
        return f->machine_bytes || f->machine_offset || f->code_units || f->code_offset || f->frame_slots || f->map_length ? "code of an imported function" : NULL;
    if (length_of(c, SBX_IMAGE_MACHINE) ? f->machine_bytes == 0 || f->code_units || !inside(f->machine_offset, f->machine_bytes, length_of(c, SBX_IMAGE_MACHINE))
        : f->code_units == 0 || f->machine_bytes || !inside(f->code_offset, f->code_units, length_of(c, SBX_IMAGE_CODE) / sizeof(uint16_t)))
        return "its code lies outside the code";
    if (!inside(f->map_offset, f->map_length, length_of(c, SBX_IMAGE_MAP)))
        return "its map lies outside the maps";
    if (f->frame_slots > SBX_MAX_FRAME_SLOTS || f->frame_slots < sbx_image_functype(c->image, f->type_index).params)
        return "impossible frame";
    return NULL;
}

static sbx_status check_functions(checker *c)
{
    uint32_t largest = 0;
    for (uint32_t i = 0; i < c->h->function_count; i++) {
        const char *fault = function_fault(c, i);
        if (fault)
            return bad_record(c, "function", i, fault);
        if (c->functions[i].frame_slots > largest)
            largest = c->functions[i].frame_slots;
    }
    if (largest != c->h->largest_frame)
        return bad(c, "largest frame differs");
    if (!c->h->has_start)
        return c->h->start ? bad(c, "start without the flag") : SBX_OK;
    if (c->h->start >= c->h->function_count)
        return bad(c, "unknown start function");
    sbx_functype type = sbx_image_functype(c->image, c->functions[c->h->start].type_index);
    return type.params || type.results ? bad(c, "start function with parameters or results") : SBX_OK;
}

static sbx_status check_spaces(checker *c)
{
    for (uint32_t i = 0; i < c->h->table_count; i++)
        if (!table_ok(&c->tables[i]))
            return bad_record(c, "table", i, "impossible type");
    for (uint32_t i = 0; i < c->h->memory_count; i++)
        if (!memory_ok(&c->memories[i]))
            return bad_record(c, "memory", i, "impossible type");
    for (uint32_t i = 0; i < c->h->global_count; i++) {
        const sbx_image_global *global = &c->globals[i];
        if (!global_ok(&global->type) || global->imported != (i < c->h->imported_globals))
            return bad_record(c, "global", i, "impossible type");
    }
    for (uint32_t i = c->h->imported_globals; i < c->h->global_count; i++)
        if (!const_ok(c, &c->globals[i].init, c->globals[i].type.type))
            return bad_record(c, "global", i, "impossible initialiser");
    return SBX_OK;
}

static bool init_ok(const checker *c, uint32_t init, sbx_valtype type)
{
    if (init == SBX_INIT_NULL)
        return true;
    if (init & SBX_INIT_GLOBAL)
        return readable_global(c, init & ~SBX_INIT_GLOBAL, type);
    return type == SBX_FUNCREF && init < c->h->function_count;
}

static sbx_status check_elements(checker *c)
{
    const sbx_image_elements *elements = SBX_IMAGE_AT(c->image, ELEMENTS, sbx_image_elements);
    const uint32_t *inits = SBX_IMAGE_AT(c->image, ELEMENT_INITS, uint32_t);
    uint64_t used = 0, init_count = length_of(c, SBX_IMAGE_ELEMENT_INITS) / sizeof *inits;
    for (uint32_t i = 0; i < c->h->element_count; i++) {
        const sbx_image_elements *e = &elements[i];
        /* In order and without overlap, so that looking at them all is linear in the image. */
        if (e->mode > SBX_SEGMENT_DECLARATIVE || !sbx_is_reference(e->type) || e->first != used
            || !inside(used, e->count, init_count))
            return bad_record(c, "element segment", i, "impossible mode, type or range");
        if (e->mode == SBX_SEGMENT_ACTIVE
            && (e->table >= c->h->table_count || c->tables[e->table].element != e->type || !const_ok(c, &e->offset, SBX_I32)))
            return bad_record(c, "element segment", i, "impossible table or offset");
        for (uint32_t k = 0; k < e->count; k++)
            if (!init_ok(c, inits[used + k], e->type))
                return bad_record(c, "element segment", i, "impossible initialiser");
        used += e->count;
    }
    return used == init_count ? SBX_OK : bad(c, "initialisers without a segment");
}

static sbx_status check_data(checker *c)
{
    const sbx_image_data *data = SBX_IMAGE_AT(c->image, DATA, sbx_image_data);
    for (uint32_t i = 0; i < c->h->data_count; i++) {
        const sbx_image_data *d = &data[i];
        bool active = d->mode == SBX_SEGMENT_ACTIVE;
        if (d->mode > SBX_SEGMENT_PASSIVE || d->length > UINT32_MAX)
            return bad_record(c, "data segment", i, "impossible mode or length");
        if (active && (d->memory >= c->h->memory_count || !const_ok(c, &d->offset, SBX_I32)))
            return bad_record(c, "data segment", i, "impossible memory or offset");
        bool replaced = active && c->h->preinitialised == SBX_PREINITIALISED && d->bytes_offset == SBX_IMAGE_NO_BYTES;
        if (!replaced && !inside(d->bytes_offset, d->length, length_of(c, SBX_IMAGE_DATA_BYTES)))
            return bad_record(c, "data segment", i, "its bytes lie outside the data");
    }
    return SBX_OK;
}

static sbx_status check_runs(checker *c)
{
    const sbx_image_run *runs = SBX_IMAGE_AT(c->image, RUNS, sbx_image_run);
    uint64_t used = 0, end = 0, pages = length_of(c, SBX_IMAGE_DATA_PAGES);
    if (c->h->run_count && (!c->h->preinitialised || c->h->memory_count == 0 || c->h->imported_memories > 0))
        return bad(c, "runs without a memory of its own");
    for (uint32_t i = 0; i < c->h->run_count; i++) {
        const sbx_image_run *run = &runs[i];
        if (run->length == 0 || run->length % SBX_IMAGE_PAGE || run->memory_offset % SBX_IMAGE_PAGE || run->memory_offset < end)
            return bad_record(c, "run", i, "not whole pages in order");
        if (run->pages_offset != used || !inside(used, run->length, pages)
            || !inside(run->memory_offset, run->length, c->memories[0].limits.min * SBX_PAGE_SIZE))
            return bad_record(c, "run", i, "outside the pages or the memory");
        end = run->memory_offset + run->length;
        used += run->length;
    }
    return used == pages ? SBX_OK : bad(c, "pages without a run");
}

static sbx_status check_customs(checker *c)
{
    const sbx_image_custom *customs = SBX_IMAGE_AT(c->image, CUSTOMS, sbx_image_custom);
    for (uint32_t i = 0; i < c->h->custom_count; i++)
        if (!name_ok(c, customs[i].name))
            return bad_record(c, "custom section", i, "its name lies outside the names");
    return SBX_OK;
}

sbx_status sbx_image_check(const sbx_image *image, sbx_error *err)
{
    /* Header first: nothing else may be followed before it; types before what names them. */
    static sbx_status (*const checks[])(checker *) = {
        check_types, check_functions, check_spaces, check_imports, check_exports,
        check_elements, check_data, check_runs, check_customs,
    };
    checker c = {.image = image, .h = image->header, .err = err};
    sbx_status status = check_header(&c);
    if (status != SBX_OK)
        return status;
    c.tables = SBX_IMAGE_AT(image, TABLES, sbx_tabletype);
    c.memories = SBX_IMAGE_AT(image, MEMORIES, sbx_memorytype);
    c.globals = SBX_IMAGE_AT(image, GLOBALS, sbx_image_global);
    c.functions = SBX_IMAGE_AT(image, FUNCTIONS, sbx_image_function);
    for (size_t i = 0; i < sizeof checks / sizeof *checks && status == SBX_OK; i++)
        status = checks[i](&c);
    return status;
}
