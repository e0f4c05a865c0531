/* Decoder of the binary format: header, the order and sizes of sections, limits (specification 5.5, 5.5.16). */
#include <string.h>

#include "decode.h"

static const sbx_module_limits default_limits = {
    .module_bytes = 256ull << 20,
    .types = 1000000,
    .functions = 1000000,
    .imports = 100000,
    .exports = 1000000,
    .globals = 1000000,
    .tables = 100000,
    .segments = 1000000,
    .params = 1000,
    .results = 1000,
    .locals = 50000,
    .body_bytes = 7654321,
    .nesting = 65536,
};

bool sbx_refuse(sbx_error *err, uint64_t offset, uint32_t feature, const char *what)
{
    bool known = feature < SBX_FEATURE_COUNT && SBX_FEATURES_SUPPORTED >> feature & 1;
    sbx_fail(err, SBX_UNSUPPORTED, offset, "%s is %s: %s", sbx_feature_name(feature), known ? "disabled" : "not supported", what);
    return false;
}

bool sbx_require_feature(const sbx_module *m, sbx_error *err, uint64_t offset, uint32_t feature, const char *what)
{
    return (m->features >> feature & 1) || sbx_refuse(err, offset, feature, what);
}

bool sbx_check_limit(sbx_error *err, uint64_t offset, const char *name, uint64_t value, uint64_t allowed)
{
    if (value <= allowed)
        return true;
    sbx_fail(err, SBX_MODULE_LIMIT, offset, "%s: %llu exceeds the limit of %llu", name, (unsigned long long)value,
             (unsigned long long)allowed);
    return false;
}

void *sbx_decoder_alloc(sbx_decoder *d, size_t count, size_t size)
{
    void *memory = sbx_arena_alloc(d->arena, count, size);
    if (!memory)
        sbx_fail(&d->error, SBX_NO_MEMORY, sbx_reader_offset(&d->r), "out of memory while decoding");
    return memory;
}

bool sbx_decoder_count(sbx_decoder *d, const char *name, uint32_t already, uint32_t allowed, uint32_t *out)
{
    uint64_t offset = sbx_reader_offset(&d->r);
    return sbx_read_length(&d->r, out)
        && sbx_check_limit(&d->error, offset, name, (uint64_t)already + *out, allowed);
}

/* Section ids, in the order in which they must come (5.5.16): rank 0 is "any place". */
static const struct { uint8_t rank; bool (*decode)(sbx_decoder *d); } sections[] = {
    [0] = {0, sbx_decode_custom_section},
    [1] = {1, sbx_decode_type_section},
    [2] = {2, sbx_decode_import_section},
    [3] = {3, sbx_decode_function_section},
    [4] = {4, sbx_decode_table_section},
    [5] = {5, sbx_decode_memory_section},
    [6] = {7, sbx_decode_global_section},
    [7] = {8, sbx_decode_export_section},
    [8] = {9, sbx_decode_start_section},
    [9] = {10, sbx_decode_element_section},
    [10] = {12, sbx_decode_code_section},
    [11] = {13, sbx_decode_data_section},
    [12] = {11, sbx_decode_data_count_section},
    [13] = {6, sbx_decode_tag_section},
};
enum { SECTION_COUNT = sizeof sections / sizeof *sections };

static bool decode_header(sbx_decoder *d)
{
    sbx_reader *r = &d->r;
    if (sbx_reader_left(r) < 4)
        return SBX_REJECT(r, SBX_MALFORMED, r->end, "unexpected end");
    if (memcmp(r->base, "\0asm", 4) != 0)
        return SBX_REJECT(r, SBX_MALFORMED, r->base, "magic header not detected");
    if (sbx_reader_left(r) < 8)
        return SBX_REJECT(r, SBX_MALFORMED, r->end, "unexpected end");
    if (memcmp(r->base + 4, "\1\0\0\0", 4) != 0)
        return SBX_REJECT(r, SBX_MALFORMED, r->base + 4, "unknown binary version");
    r->pos += 8;
    return true;
}

/* section: id, size, contents. */
static bool decode_section(sbx_decoder *d, uint8_t *last_rank)
{
    sbx_reader *r = &d->r;
    const uint8_t *at = r->pos;
    uint8_t id;
    uint32_t size;
    if (!sbx_read_byte(r, &id))
        return false;
    if (id >= SECTION_COUNT)
        return SBX_REJECT(r, SBX_MALFORMED, at, "malformed section id %u", id);
    const uint8_t *size_at = r->pos;
    if (!sbx_read_u32(r, &size))
        return false;
    if (size > sbx_reader_left(r))
        return SBX_REJECT(r, SBX_MALFORMED, size_at, "length out of bounds");
    if (id != 0) {
        if (sections[id].rank <= *last_rank)
            return SBX_REJECT(r, SBX_MALFORMED, at, "unexpected content after last section");
        *last_rank = sections[id].rank;
    }
    d->limit = r->pos + size;
    d->m->section_offsets[id] = (uint32_t)sbx_reader_offset(r);
    if (!sections[id].decode(d))
        return false;
    if (r->pos != d->limit)
        return SBX_REJECT(r, SBX_MALFORMED, d->limit, "section size mismatch");
    return true;
}

static bool decode_sections(sbx_decoder *d)
{
    uint8_t last_rank = 0;
    while (d->r.pos < d->r.end)
        if (!decode_section(d, &last_rank))
            return false;
    const sbx_module *m = d->m;
    if (d->heap_types > m->type_count)
        sbx_fail(&d->deferred, SBX_INVALID, d->heap_type_at, "unknown type %llu", (unsigned long long)d->heap_types - 1);
    if (d->own_functions != m->code_count)
        return SBX_REJECT(&d->r, SBX_MALFORMED, d->r.end, "function and code section have inconsistent lengths");
    if (m->has_data_count && m->declared_data_count != m->data_count)
        return SBX_REJECT(&d->r, SBX_MALFORMED, d->r.end, "data count and data section have inconsistent lengths");
    return true;
}

/* Bodies are read later, one by one. When the sections are malformed, the true cause may lie in a body whose size is
 * wrong: the error that comes first in the module is the one to tell. */
static void blame_bodies(sbx_decoder *d)
{
    const sbx_module *m = d->m;
    for (uint32_t i = 0; i < m->code_count && m->code[i].offset < d->error.offset; i++) {
        sbx_error earlier;
        sbx_error_clear(&earlier);
        if (sbx_skim_body(m, i, &earlier))
            continue;
        if (earlier.status == SBX_MALFORMED && earlier.offset < d->error.offset)
            d->error = earlier;
        return;
    }
}

static bool fill_limits(sbx_decoder *d, const sbx_compile_options *options)
{
    sbx_module_limits *limits = sbx_decoder_alloc(d, 1, sizeof *limits);
    if (!limits)
        return false;
    *limits = default_limits;
    if (options) {
        const sbx_module_limits *asked = &options->limits;
        if (asked->module_bytes)
            limits->module_bytes = asked->module_bytes;
#define TAKE(field) if (asked->field) limits->field = asked->field
        TAKE(types); TAKE(functions); TAKE(imports); TAKE(exports); TAKE(globals); TAKE(tables);
        TAKE(segments); TAKE(params); TAKE(results); TAKE(locals); TAKE(body_bytes); TAKE(nesting);
#undef TAKE
    }
    d->m->limits = d->limits = limits;
    /* Offsets are 32 bits wide throughout. */
    uint64_t allowed = limits->module_bytes < UINT32_MAX ? limits->module_bytes : UINT32_MAX;
    return sbx_check_limit(&d->error, 0, "module_bytes", d->m->size, allowed);
}

static bool keep_error(sbx_decoder *d, const sbx_error *error, const sbx_error **out)
{
    if (error->status == SBX_OK)
        return true;
    sbx_error *kept = sbx_decoder_alloc(d, 1, sizeof *kept);
    if (kept)
        *kept = *error;
    *out = kept;
    return kept;
}

static bool decode(sbx_decoder *d, const uint8_t *bytes, size_t size, const sbx_compile_options *options)
{
    sbx_module *m = sbx_decoder_alloc(d, 1, sizeof *m);
    if (!m)
        return false;
    d->m = m;
    m->bytes = bytes;
    m->size = size;
    m->arena = d->arena;
    m->features = options && options->features ? options->features & SBX_FEATURES_SUPPORTED : SBX_FEATURES_SUPPORTED;
    d->keep_debug_names = options && options->keep_debug_names;
    if (!fill_limits(d, options) || !decode_header(d))
        return false;
    if (!decode_sections(d)) {
        if (d->error.status == SBX_MALFORMED)
            blame_bodies(d);
        return false;
    }
    return keep_error(d, &d->deferred, &m->deferred) && keep_error(d, &d->refused, &m->refused) && sbx_decode_name_sections(d);
}

sbx_status sbx_decode_module(const uint8_t *bytes, size_t size, const sbx_compile_options *options,
                             sbx_arena *arena, sbx_module **out, sbx_error *err)
{
    static const uint8_t nothing[1];
    sbx_decoder d = {.arena = arena};
    *out = NULL;
    sbx_error_clear(&d.error);
    sbx_error_clear(&d.deferred);
    sbx_error_clear(&d.refused);
    if (!bytes)
        bytes = nothing, size = 0;
    d.r = (sbx_reader){bytes, bytes, bytes + size, &d.error};
    if (decode(&d, bytes, size, options)) {
        *out = d.m;
        return SBX_OK;
    }
    if (err && err->status == SBX_OK)
        *err = d.error;
    return (sbx_status)d.error.status;
}
