/* Custom sections, and the name section among them (specification 5.5.3, 7.4.1). */
#include <string.h>

#include "decode.h"

enum { FIRST_CUSTOMS = 8 };

/* The table doubles; what it grew out of stays in the arena, which costs no more than the table itself. */
static bool append_custom(sbx_decoder *d, sbx_custom_section section)
{
    sbx_module *m = d->m;
    bool full = m->custom_count >= FIRST_CUSTOMS ? !(m->custom_count & (m->custom_count - 1)) : m->custom_count == 0;
    sbx_custom_section *customs = (sbx_custom_section *)m->customs;
    if (full) {
        size_t capacity = m->custom_count ? (size_t)m->custom_count * 2 : FIRST_CUSTOMS;
        customs = sbx_decoder_alloc(d, capacity, sizeof *customs);
        if (!customs)
            return false;
        if (m->custom_count)
            memcpy(customs, m->customs, m->custom_count * sizeof *customs);
        m->customs = customs;
    }
    customs[m->custom_count++] = section;
    return true;
}

bool sbx_decode_custom_section(sbx_decoder *d)
{
    sbx_custom_section section = {0};
    if (!sbx_read_name(&d->r, &section.name))
        return false;
    if (d->r.pos > d->limit)
        return SBX_REJECT(&d->r, SBX_MALFORMED, d->limit, "unexpected end of section or function");
    section.offset = (uint32_t)sbx_reader_offset(&d->r);
    section.length = (uint32_t)(d->limit - d->r.pos);
    d->r.pos = d->limit;
    return append_custom(d, section);
}

/* Subsection 1: vector of (function index, name). Indices beyond the module are dropped, the first name of an index counts. */
static bool read_function_names(sbx_decoder *d, sbx_reader *r)
{
    sbx_module *m = d->m;
    uint32_t count;
    if (!sbx_read_length(r, &count))
        return false;
    if (!m->function_names && m->function_count) {
        m->function_names = sbx_decoder_alloc(d, m->function_count, sizeof *m->function_names);
        if (!m->function_names)
            return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t index;
        sbx_name name;
        if (!sbx_read_u32(r, &index) || !sbx_read_name(r, &name))
            return false;
        if (index < m->function_count && !m->function_names[index].bytes)
            m->function_names[index] = name;
    }
    return true;
}

static bool read_name_section(sbx_decoder *d, sbx_reader *r)
{
    const uint8_t *end = r->end;
    while (r->pos < end) {
        uint8_t id;
        uint32_t size;
        if (!sbx_read_byte(r, &id) || !sbx_read_u32(r, &size) || size > (size_t)(end - r->pos))
            return false;
        r->end = r->pos + size;
        if (id == 0 && !sbx_read_name(r, &d->m->module_name))
            return false;
        if (id == 1 && !read_function_names(d, r))
            return false;
        r->pos = r->end;
        r->end = end;
    }
    return true;
}

/* A name section that cannot be read is as good as none: names are for people, nothing may depend on them. */
bool sbx_decode_name_sections(sbx_decoder *d)
{
    sbx_module *m = d->m;
    if (!d->keep_debug_names)
        return true;
    for (uint32_t i = 0; i < m->custom_count; i++) {
        const sbx_custom_section *section = &m->customs[i];
        if (section->name.length != 4 || memcmp(section->name.bytes, "name", 4) != 0)
            continue;
        sbx_error ignored;
        sbx_error_clear(&ignored);
        const uint8_t *start = m->bytes + section->offset;
        sbx_reader r = {m->bytes, start, start + section->length, &ignored};
        if (read_name_section(d, &r))
            return true;
        if (d->error.status != SBX_OK) /* out of memory */
            return false;
        m->function_names = NULL;
        m->module_name = (sbx_name){0};
    }
    return true;
}
