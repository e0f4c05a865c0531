/* Image writer: serialises a validated module and its lowered code into one position-independent block of bytes. */
#include "image_internal.h"
#include <string.h>

struct sbx_image_writer {
    const sbx_module *module;
    const sbx_compile_options *options;
    const sbx_lowered *lowered;      /* of sbx_image_write */
    sbx_image_header header;
    sbx_page_plan plan;
    uint64_t bytes[SBX_IMAGE_SECTION_COUNT], offsets[SBX_IMAGE_SECTION_COUNT];
    uint8_t *out;
    uint32_t names_used;
    sbx_error *err;
};

static sbx_status too_large(sbx_image_writer *w, const char *what)
{
    return sbx_fail(w->err, SBX_MODULE_LIMIT, SBX_NO_OFFSET, "module too large: %s of the image exceed 4 GiB", what);
}

static bool keeps_bytes(const sbx_image_writer *w, const sbx_data_segment *segment)
{
    return segment->mode != SBX_SEGMENT_ACTIVE || !w->plan.usable || w->plan.keep_bytes;
}

static sbx_name function_name(const sbx_image_writer *w, uint32_t index)
{
    if (!w->options->keep_debug_names || !w->module->function_names)
        return (sbx_name){0};
    return w->module->function_names[index];
}

static uint64_t names_length(const sbx_image_writer *w)
{
    const sbx_module *m = w->module;
    uint64_t total = 0;
    for (uint32_t i = 0; i < m->import_count; i++)
        total += (uint64_t)m->imports[i].module.length + m->imports[i].name.length;
    for (uint32_t i = 0; i < m->export_count; i++)
        total += m->exports[i].name.length;
    for (uint32_t i = 0; i < m->custom_count; i++)
        total += m->customs[i].name.length;
    for (uint32_t i = 0; i < m->function_count; i++)
        total += function_name(w, i).length;
    return total;
}

/* Lengths of all sections but those of code; those whose offsets are 32-bit checked. */
static sbx_status measure(sbx_image_writer *w)
{
    const sbx_module *m = w->module;
    uint64_t value_types = 0, inits = 0, data = 0;
    for (uint32_t i = 0; i < m->type_count; i++)
        value_types += (uint64_t)m->types[i].params + m->types[i].results;
    for (uint32_t i = 0; i < m->element_count; i++)
        inits += m->elements[i].count;
    for (uint32_t i = 0; i < m->data_count; i++)
        data += keeps_bytes(w, &m->data[i]) ? m->data[i].length : 0;
    if (value_types > UINT32_MAX || inits > UINT32_MAX)
        return too_large(w, value_types > UINT32_MAX ? "parameter types" : "element initialisers");
    for (int i = 0; i < SBX_IMAGE_SECTION_COUNT; i++) {
        uint64_t length = sbx_image_record_bytes(&w->header, i);
        w->bytes[i] = length == UINT64_MAX ? 0 : length;
    }
    w->bytes[SBX_IMAGE_VALTYPES] = value_types * sizeof(sbx_valtype);
    w->bytes[SBX_IMAGE_ELEMENT_INITS] = inits * sizeof(uint32_t);
    w->bytes[SBX_IMAGE_DATA_BYTES] = data;
    w->bytes[SBX_IMAGE_NAMES] = names_length(w);
    w->bytes[SBX_IMAGE_DATA_PAGES] = w->plan.bytes;
    return w->bytes[SBX_IMAGE_NAMES] > UINT32_MAX ? too_large(w, "names") : SBX_OK;
}

/* The lengths of code, and with them the places of all sections. */
static sbx_status measure_code(sbx_image_writer *w)
{
    const sbx_lowered *lowered = w->lowered;
    if (lowered->map_bytes > UINT32_MAX || lowered->code_units > UINT32_MAX)
        return too_large(w, "code");
    w->bytes[SBX_IMAGE_MAP] = lowered->map_bytes;
    w->bytes[SBX_IMAGE_CODE] = lowered->code_units * sizeof(uint16_t);
    w->bytes[SBX_IMAGE_MACHINE] = lowered->machine_bytes;
    if (!sbx_image_place(w->bytes, w->offsets, &w->header.size))
        return too_large(w, "sections");
    for (int i = 0; i < SBX_IMAGE_SECTION_COUNT; i++) {
        w->header.sections[i].offset = w->offsets[i];
        w->header.sections[i].bytes = w->bytes[i];
    }
    return SBX_OK;
}

static void fill_header(sbx_image_writer *w)
{
    const sbx_module *m = w->module;
    sbx_image_header *h = &w->header;
    memcpy(h->magic, "SBXIMAGE", 8);
    memcpy(h->build_id, sbx_build_id(), sizeof h->build_id);
    h->features = m->features;
    h->metered = w->options->metered != 0;
    h->explicit_bounds = w->options->explicit_bounds != 0;
    h->has_start = m->has_start;
    h->start = m->has_start ? m->start : 0;
    h->preinitialised = !w->plan.usable ? 0 : w->plan.keep_bytes ? SBX_PREINITIALISED_KEPT : SBX_PREINITIALISED;
    h->imported_functions = m->imported_functions;
    h->imported_tables = m->imported_tables;
    h->imported_memories = m->imported_memories;
    h->imported_globals = m->imported_globals;
    h->type_count = m->type_count;
    h->import_count = m->import_count;
    h->export_count = m->export_count;
    h->function_count = m->function_count;
    h->table_count = m->table_count;
    h->memory_count = m->memory_count;
    h->global_count = m->global_count;
    h->element_count = m->element_count;
    h->data_count = m->data_count;
    h->run_count = w->plan.run_count;
    h->custom_count = m->custom_count;
    h->code_section_bytes = m->code_bytes;
}

static sbx_status check_functions(sbx_image_writer *w)
{
    const sbx_module *m = w->module;
    for (uint32_t i = 0; i < m->function_count - m->imported_functions; i++) {
        const sbx_lowered_function *f = &w->lowered->functions[i];
        if (f->frame_slots > SBX_MAX_FRAME_SLOTS)
            return sbx_fail(w->err, SBX_MODULE_LIMIT, m->code[i].offset, "function %u: its frame of %u slots exceeds %u",
                            m->imported_functions + i, f->frame_slots, SBX_MAX_FRAME_SLOTS);
        if ((uint64_t)f->code_offset + f->code_units > w->lowered->code_units
            || (uint64_t)f->map_offset + f->map_length > w->lowered->map_bytes)
            return sbx_fail(w->err, SBX_USAGE, SBX_NO_OFFSET, "lowered function %u lies outside the code", i);
        if (f->frame_slots > w->header.largest_frame)
            w->header.largest_frame = f->frame_slots;
    }
    return SBX_OK;
}

static void *at(const sbx_image_writer *w, sbx_image_section section) { return w->out + w->offsets[section]; }

static sbx_image_name add_name(sbx_image_writer *w, sbx_name name)
{
    sbx_image_name added = {w->names_used, name.length};
    if (name.length)
        memcpy((uint8_t *)at(w, SBX_IMAGE_NAMES) + w->names_used, name.bytes, name.length);
    w->names_used += name.length;
    return added;
}

/* Field by field, so that the padding stays zero: the same module gives the same bytes. */
static void put_limits(sbx_limits *to, const sbx_limits *from)
{
    to->min = from->min;
    to->max = from->has_max ? from->max : 0;
    to->has_max = from->has_max != 0;
    to->shared = from->shared != 0;
    to->is64 = from->is64 != 0;
}

static void put_table(sbx_tabletype *to, const sbx_tabletype *from)
{
    to->element = from->element;
    put_limits(&to->limits, &from->limits);
}

static void put_global_type(sbx_globaltype *to, const sbx_globaltype *from)
{
    to->type = from->type;
    to->is_mutable = from->is_mutable != 0;
}

static void put_const(sbx_image_const *to, const sbx_const_expr *from)
{
    to->opcode = from->opcode;
    to->bits = from->bits;
}

static void write_types(sbx_image_writer *w)
{
    const sbx_module *m = w->module;
    sbx_image_type *types = at(w, SBX_IMAGE_TYPES);
    sbx_valtype *pool = at(w, SBX_IMAGE_VALTYPES);
    uint32_t used = 0;
    for (uint32_t i = 0; i < m->type_count; i++) {
        uint32_t count = m->types[i].params + m->types[i].results;
        types[i] = (sbx_image_type){m->types[i].params, m->types[i].results, used, 0};
        if (count)
            memcpy(pool + used, m->types[i].types, count * sizeof *pool);
        used += count;
    }
}

static void write_imports(sbx_image_writer *w)
{
    const sbx_module *m = w->module;
    sbx_image_import *imports = at(w, SBX_IMAGE_IMPORTS);
    for (uint32_t i = 0; i < m->import_count; i++) {
        const sbx_import *from = &m->imports[i];
        sbx_image_import *to = &imports[i];
        to->module = add_name(w, from->module);
        to->name = add_name(w, from->name);
        to->kind = from->kind;
        switch (from->kind) {
        case SBX_EXTERN_FUNC: to->type_index = from->u.type_index; break;
        case SBX_EXTERN_TABLE: put_table(&to->table, &from->u.table); break;
        case SBX_EXTERN_MEMORY: put_limits(&to->memory.limits, &from->u.memory.limits); break;
        default: put_global_type(&to->global, &from->u.global); break;
        }
    }
}

static bool export_less(const void *a, const void *b, const void *context)
{
    const uint8_t *names = context;
    const sbx_image_name *x = &((const sbx_image_export *)a)->name, *y = &((const sbx_image_export *)b)->name;
    return sbx_name_compare((sbx_name){names + x->offset, x->length}, (sbx_name){names + y->offset, y->length}) < 0;
}

static void write_exports(sbx_image_writer *w)
{
    const sbx_module *m = w->module;
    sbx_image_export *exports = at(w, SBX_IMAGE_EXPORTS);
    for (uint32_t i = 0; i < m->export_count; i++)
        exports[i] = (sbx_image_export){add_name(w, m->exports[i].name), m->exports[i].kind, m->exports[i].index};
    sbx_heap_sort(exports, m->export_count, sizeof *exports, export_less, at(w, SBX_IMAGE_NAMES));
}

static void write_functions(sbx_image_writer *w)
{
    const sbx_module *m = w->module;
    sbx_image_function *functions = at(w, SBX_IMAGE_FUNCTIONS);
    for (uint32_t i = 0; i < m->function_count; i++) {
        functions[i].type_index = m->functions[i];
        functions[i].name = add_name(w, function_name(w, i));
        if (i < m->imported_functions)
            continue;
        uint32_t own = i - m->imported_functions;
        const sbx_lowered_function *from = &w->lowered->functions[own];
        functions[i].code_offset = from->code_offset;
        functions[i].code_units = from->code_units;
        functions[i].machine_offset = from->machine_offset;
        functions[i].machine_bytes = from->machine_bytes;
        functions[i].machine_saved = from->machine_saved;
        functions[i].frame_slots = from->frame_slots;
        functions[i].map_offset = from->map_offset;
        functions[i].map_length = from->map_length;
        functions[i].wasm_offset = m->code[own].offset;
    }
}

static void write_spaces(sbx_image_writer *w)
{
    const sbx_module *m = w->module;
    sbx_tabletype *tables = at(w, SBX_IMAGE_TABLES);
    sbx_memorytype *memories = at(w, SBX_IMAGE_MEMORIES);
    sbx_image_global *globals = at(w, SBX_IMAGE_GLOBALS);
    for (uint32_t i = 0; i < m->table_count; i++)
        put_table(&tables[i], &m->tables[i]);
    for (uint32_t i = 0; i < m->memory_count; i++)
        put_limits(&memories[i].limits, &m->memories[i].limits);
    for (uint32_t i = 0; i < m->global_count; i++) {
        put_global_type(&globals[i].type, &m->globals[i]);
        globals[i].imported = i < m->imported_globals;
        if (!globals[i].imported)
            put_const(&globals[i].init, &m->global_defs[i - m->imported_globals].init);
    }
}

static void write_elements(sbx_image_writer *w)
{
    const sbx_module *m = w->module;
    sbx_image_elements *elements = at(w, SBX_IMAGE_ELEMENTS);
    uint32_t *inits = at(w, SBX_IMAGE_ELEMENT_INITS);
    uint32_t used = 0;
    for (uint32_t i = 0; i < m->element_count; i++) {
        const sbx_element_segment *from = &m->elements[i];
        elements[i].mode = from->mode;
        elements[i].type = from->type;
        elements[i].count = from->count;
        elements[i].first = used;
        if (from->mode == SBX_SEGMENT_ACTIVE) {
            elements[i].table = from->table;
            put_const(&elements[i].offset, &from->offset);
        }
        if (from->count)
            memcpy(inits + used, from->inits, (size_t)from->count * sizeof *inits);
        used += from->count;
    }
}

static void write_data(sbx_image_writer *w)
{
    const sbx_module *m = w->module;
    sbx_image_data *data = at(w, SBX_IMAGE_DATA);
    uint8_t *bytes = at(w, SBX_IMAGE_DATA_BYTES);
    uint64_t used = 0;
    for (uint32_t i = 0; i < m->data_count; i++) {
        const sbx_data_segment *from = &m->data[i];
        data[i].mode = from->mode;
        data[i].length = from->length;
        data[i].bytes_offset = SBX_IMAGE_NO_BYTES;
        if (from->mode == SBX_SEGMENT_ACTIVE) {
            data[i].memory = from->memory;
            put_const(&data[i].offset, &from->offset);
        }
        if (!keeps_bytes(w, from))
            continue;
        data[i].bytes_offset = used;
        if (from->length)
            memcpy(bytes + used, from->bytes, from->length);
        used += from->length;
    }
    if (w->plan.run_count)
        memcpy(at(w, SBX_IMAGE_RUNS), w->plan.runs, w->plan.run_count * sizeof *w->plan.runs);
    sbx_page_plan_fill(&w->plan, m, at(w, SBX_IMAGE_DATA_PAGES));
}

static void write_rest(sbx_image_writer *w)
{
    const sbx_module *m = w->module;
    sbx_image_custom *customs = at(w, SBX_IMAGE_CUSTOMS);
    for (uint32_t i = 0; i < m->custom_count; i++)
        customs[i] = (sbx_image_custom){add_name(w, m->customs[i].name), m->customs[i].length};
    if (w->lowered->map_bytes)
        memcpy(at(w, SBX_IMAGE_MAP), w->lowered->map, w->lowered->map_bytes);
    if (w->lowered->code_units)
        memcpy(at(w, SBX_IMAGE_CODE), w->lowered->code, w->lowered->code_units * sizeof(uint16_t));
}

/* The image's block: the machine code's own, or a new one. What the writer does not fill is zero: the same module gives the same bytes. */
static sbx_status open_block(sbx_image_writer *w)
{
    const sbx_lowered *lowered = w->lowered;
    uint8_t *block = sbx_realloc(lowered->machine, w->header.size);
    if (!block) {
        sbx_free(lowered->machine);
        return sbx_fail(w->err, SBX_NO_MEMORY, SBX_NO_OFFSET, "no memory for an image of %llu bytes", (unsigned long long)w->header.size);
    }
    w->out = block;
    if (!lowered->machine)
        sbx_populate(block, w->header.size, w->header.size);
    memset(block, 0, w->offsets[SBX_IMAGE_DATA_PAGES]);
    for (int i = SBX_IMAGE_DATA_PAGES; i + 1 < SBX_IMAGE_SECTION_COUNT; i++) {
        uint64_t end = w->offsets[i] + w->bytes[i];
        memset(block + end, 0, w->offsets[i + 1] - end);
    }
    return SBX_OK;
}

sbx_status sbx_image_write(sbx_image_writer *w, const sbx_lowered *lowered, uint8_t **out, uint64_t *size)
{
    w->lowered = lowered;
    sbx_status status = check_functions(w);
    if (!status)
        status = measure_code(w);
    if (status) {
        sbx_free(lowered->machine);
        return status;
    }
    status = open_block(w);
    if (status)
        return status;
    memcpy(w->out, &w->header, sizeof w->header);
    write_types(w);
    write_imports(w);
    write_exports(w);
    write_functions(w);
    write_spaces(w);
    write_elements(w);
    write_data(w);
    write_rest(w);
    *out = w->out;
    *size = w->header.size;
    return SBX_OK;
}

sbx_status sbx_image_writer_new(const sbx_module *module, const sbx_compile_options *options, sbx_image_writer **out, sbx_error *err)
{
    sbx_image_writer *w = *out = sbx_calloc(1, sizeof *w);
    if (!w)
        return sbx_fail(err, SBX_NO_MEMORY, SBX_NO_OFFSET, "out of memory");
    w->module = module;
    w->options = options;
    w->err = err;
    sbx_status status = sbx_page_plan_make(module, &w->plan, err);
    fill_header(w);
    if (!status)
        status = measure(w);
    if (!status && !sbx_image_place(w->bytes, w->offsets, &w->header.size))
        status = too_large(w, "sections");
    return status; /* whoever asked frees it in any case */
}

void sbx_image_writer_free(sbx_image_writer *w)
{
    if (!w)
        return;
    sbx_page_plan_release(&w->plan);
    sbx_free(w);
}

/* Pages of their own: see sbx_image_place. */
size_t sbx_image_writer_room(const sbx_image_writer *w)
{
    return (w->offsets[SBX_IMAGE_MACHINE] + SBX_IMAGE_PAGE - 1) / SBX_IMAGE_PAGE * SBX_IMAGE_PAGE;
}
