/* The checker over emitted machine code: it trusts the decoder's table and the stubs, and nothing that the compiler believed.
 *
 * Proves of every function, by a data-flow analysis over its own decoding: accesses to guest memory use an index that cannot
 * leave
 * the reservation (or was compared with the memory's size); stores go to guest memory, the frame and globals only; indirect calls
 * go to a function of a table or an import whose type was compared, indirect jumps through a table of the function's own; direct
 * jumps and calls land on instructions, functions and stubs; rbx, r15, rsp and the pins of the caller are kept; integers that
 * others rely on to be zero-extended are. One walk in order of addresses after the other until nothing changes. */
#include "x64_check.h"
#include <inttypes.h>
#include <stdio.h>

enum { MOST_PASSES = 1000, TABLE_SHAPE = 24 /* bytes from the index's bound to the jump */ };
#define TEMPORARIES (1u << RAX | 1u << RCX | 1u << RDX | 1u << RSI | 1u << RDI | 1u << R8)
#define PINS (1u << R9 | 1u << R10 | 1u << R11 | 1u << R12 | 1u << R13 | 1u << R14)

sbx_status x64_reject(x64_check *c, const char *why)
{
    x64_instruction i;
    char text[128] = "?";
    if (c->at < c->size && x64_decode(c->code + c->at, c->size - c->at, &i))
        x64_print(&i, c->at, text, sizeof text);
    return sbx_fail(c->err, SBX_BAD_IMAGE, SBX_NO_OFFSET, "machine code of function %u at +%#x, %s: %s", c->function, c->at,
        text, why);
}

/* The one shape of a table jump (lower_br_table): an index bounded by a constant, and as many distances as it has values. */
bool sbx_x64_table(const uint8_t *code, uint32_t size, uint32_t at, uint32_t *entries)
{
    static const uint8_t shape[] = {0xB9, 0, 0, 0, 0, 0x3B, 0xC1, 0x0F, 0x47, 0xC1, 0x48, 0x8D, 0x0D, 9, 0, 0, 0, 0x48, 0x63,
        0x04, 0x81, 0x48, 0x03, 0xC1, 0xFF, 0xE0};
    uint32_t count, before = sizeof shape - 2;
    if (at < before || size - at < 2)
        return false;
    const uint8_t *p = code + at - before;
    memcpy(&count, p + 1, 4);
    if (p[0] != shape[0] || memcmp(p + 5, shape + 5, sizeof shape - 5) || count >= (size - at - 2) / 4)
        return false;
    *entries = count + 1;
    return true;
}

static uint32_t entry_of(const x64_check *c, uint32_t table, uint32_t k)
{
    uint32_t distance;
    memcpy(&distance, c->code + table + 4 * (size_t)k, 4);
    return distance;
}

/* First walk: where instructions start, and which of them are jumped to. */

static sbx_status mark_starts(x64_check *c)
{
    x64_instruction i;
    for (c->at = 0; c->at < c->size; c->at += i.length) {
        if (!x64_decode(c->code + c->at, c->size - c->at, &i))
            return x64_reject(c, "no instruction that the compiler makes");
        c->marks[c->at] = STARTS;
        if (i.form->effect == X64_JUMPS_INDIRECT) {
            uint32_t entries;
            if (!sbx_x64_table(c->code, c->size, c->at, &entries))
                return x64_reject(c, "an indirect jump that is not through a table of its function");
            c->at += 4 * entries;
        }
    }
    return SBX_OK;
}

static sbx_status mark_leader(x64_check *c, int64_t place)
{
    if (place < (int64_t)c->body || place >= (int64_t)c->size || !c->marks[place])
        return x64_reject(c, "a jump to a place that is no instruction of its function");
    if (c->marks[place] == STARTS)
        c->marks[place] = LEADS + c->leader_count++;
    return SBX_OK;
}

static sbx_status mark_leaders(x64_check *c)
{
    x64_instruction i;
    sbx_status status = mark_leader(c, c->body);
    for (c->at = 0; c->at < c->size && !status; c->at += i.length) {
        x64_decode(c->code + c->at, c->size - c->at, &i);
        if (i.form->effect == X64_JUMPS || i.form->effect == X64_JUMPS_IF)
            status = mark_leader(c, (int64_t)c->at + i.length + i.immediate);
        if (i.form->effect == X64_JUMPS_INDIRECT) {
            uint32_t entries = 0, table = c->at + i.length;
            sbx_x64_table(c->code, c->size, c->at, &entries);
            for (uint32_t k = 0; k < entries && !status; k++)
                status = mark_leader(c, (int64_t)table + (int32_t)entry_of(c, table, k));
            c->at += 4 * entries;
        }
    }
    return status;
}

/* The prologue: pushes of pins, then room for vector registers. Nothing jumps into it. */
static void read_prologue(x64_check *c)
{
    x64_instruction i;
    c->saved_count = c->area = c->body = 0;
    c->writable = TEMPORARIES;
    while (c->saved_count < 6 && x64_decode(c->code + c->body, c->size - c->body, &i) && i.form->effect == X64_PUSHES &&
        PINS >> i.reg & 1) {
        c->saved[c->saved_count++] = i.reg;
        c->writable |= 1u << i.reg;
        c->body += i.length;
    }
    if (x64_decode(c->code + c->body, c->size - c->body, &i) && i.form->effect == X64_SUBTRACTS && x64_written(&i) == RSP &&
        i.form->digit == 5 && i.width == 8 &&
        i.immediate > 0 && i.immediate <= 7 * 8 && i.immediate % 8 == 0) {
        c->area = (uint32_t)i.immediate;
        c->body += i.length;
    }
}

/* States. */

static sbx_status join(x64_check *c, uint32_t leader)
{
    x64_state *to = &c->states[leader];
    uint64_t *slots = c->slots + (size_t)leader * c->words;
    if (!to->reached) {
        *to = c->now;
        to->reached = c->changed = true;
        memcpy(slots, c->now_slots, c->words * sizeof *slots);
        return SBX_OK;
    }
    if (to->frame != c->now.frame)
        return x64_reject(c, "the frame pointer differs from that of another way to the same place");
    for (int r = 0; r < 16; r++) {
        x64_fact *a = &to->regs[r], *b = &c->now.regs[r];
        if (b->level > a->level) {
            a->level = b->level;
            c->changed = true;
        }
        if (a->holds != HOLDS_NUMBER && (a->holds != b->holds || a->value != b->value)) {
            a->holds = HOLDS_NUMBER;
            a->value = 0;
            c->changed = true;
        }
    }
    for (uint32_t w = 0; w < c->words; w++) {
        c->changed |= (slots[w] & ~c->now_slots[w]) != 0;
        slots[w] &= c->now_slots[w];
    }
    return SBX_OK;
}

sbx_status x64_flow_to(x64_check *c, int64_t place) { return join(c, c->marks[place] - LEADS); }

static void forget_comparisons(x64_check *c)
{
    c->compared.kind = COMPARED_NOTHING;
    memset(c->extent, 0, sizeof c->extent);
    c->fixed_extent = 0;
}

static sbx_status arrive(x64_check *c, uint32_t leader)
{
    sbx_status status = c->live ? join(c, leader) : SBX_OK;
    c->live = c->states[leader].reached;
    if (c->live) {
        c->now = c->states[leader];
        memcpy(c->now_slots, c->slots + (size_t)leader * c->words, c->words * sizeof *c->slots);
        forget_comparisons(c);
    }
    return status;
}

static void enter(x64_check *c)
{
    sbx_functype type = sbx_image_functype(c->image, c->record->type_index);
    memset(&c->now, 0, sizeof c->now);
    memset(c->now_slots, 0, c->words * sizeof *c->now_slots);
    for (int r = 0; r < 16; r++)
        c->now.regs[r].level = ANY_VALUE;
    for (uint32_t p = 0; p < type.params; p++)
        if (type.types[p] == SBX_I32)
            c->now_slots[p / 64] |= 1ull << p % 64;
    c->live = true;
    forget_comparisons(c);
}

static sbx_status walk(x64_check *c)
{
    x64_instruction i;
    sbx_status status = SBX_OK;
    enter(c);
    for (c->at = c->body; c->at < c->size && !status; c->at += i.length) {
        if (c->marks[c->at] >= LEADS)
            status = arrive(c, c->marks[c->at] - LEADS);
        x64_decode(c->code + c->at, c->size - c->at, &i);
        if (c->live && !status)
            status = x64_step(c, &i);
        if (i.form->effect == X64_JUMPS_INDIRECT) {
            uint32_t entries = 0, table = c->at + i.length;
            sbx_x64_table(c->code, c->size, c->at, &entries);
            for (uint32_t k = 0; k < TABLE_SHAPE && !status; k++)
                status = c->marks[c->at - k] >= LEADS ? x64_reject(c, "a jump into the middle of a table jump") : SBX_OK;
            for (uint32_t k = 0; k < entries && c->live && !status; k++)
                status = x64_flow_to(c, (int64_t)table + (int32_t)entry_of(c, table, k));
            c->live = false;
            c->at += 4 * entries;
        }
    }
    return !status && c->live ? x64_reject(c, "the code runs over the end of its function") : status;
}

/* Functions. */

static sbx_status analyse(x64_check *c)
{
    sbx_status status = SBX_OK;
    c->states = sbx_calloc(c->leader_count, sizeof *c->states);
    c->slots = sbx_calloc((size_t)c->leader_count * c->words, sizeof *c->slots);
    c->now_slots = sbx_calloc(c->words, sizeof *c->now_slots);
    if (!c->states || !c->slots || !c->now_slots)
        status = sbx_fail(c->err, SBX_NO_MEMORY, SBX_NO_OFFSET, "out of memory while checking machine code");
    c->changed = true;
    for (int pass = 0; !status && c->changed; pass++) {
        c->changed = false;
        status = pass < MOST_PASSES ? walk(c) : x64_reject(c, "the analysis finds no end");
    }
    sbx_free(c->states);
    sbx_free(c->slots);
    sbx_free(c->now_slots);
    return status;
}

static sbx_status check_function(x64_check *c)
{
    c->words = (c->record->frame_slots + 64) / 64;
    c->leader_count = 0;
    c->at = 0;
    c->marks = sbx_calloc(c->size, sizeof *c->marks);
    if (!c->marks)
        return sbx_fail(c->err, SBX_NO_MEMORY, SBX_NO_OFFSET, "out of memory while checking machine code");
    read_prologue(c);
    if (c->image->header->metered)
        c->writable |= 1u << FUEL_REGISTER;
    sbx_status status = mark_starts(c);
    if (!status)
        status = mark_leaders(c);
    if (!status)
        status = analyse(c);
    sbx_free(c->marks);
    return status;
}

sbx_status sbx_x64_check(const sbx_image *image, sbx_error *err)
{
    const sbx_image_header *header = image->header;
    uint64_t bytes = header->sections[SBX_IMAGE_MACHINE].bytes, behind = sizeof(sbx_machine_header);
    if (!bytes)
        return SBX_OK;
    x64_check c = {.image = image, .section = SBX_IMAGE_AT(image, MACHINE, uint8_t), .err = err};
    c.header = (const sbx_machine_header *)(const void *)c.section;
    sbx_status status = SBX_OK;
    for (uint32_t f = header->imported_functions; f < header->function_count && !status; f++) {
        c.function = f;
        c.record = SBX_IMAGE_AT(image, FUNCTIONS, sbx_image_function) + f;
        c.code = c.section + c.record->machine_offset;
        c.size = c.record->machine_bytes;
        c.at = 0;
        if (c.record->machine_offset < behind || c.record->machine_offset > bytes || c.size > bytes - c.record->machine_offset ||
            (f == header->imported_functions && c.record->machine_offset < c.header->stubs_end))
            return x64_reject(&c, "the function lies over another, or outside the section");
        behind = (uint64_t)c.record->machine_offset + c.size;
        status = check_function(&c);
    }
    return status;
}
