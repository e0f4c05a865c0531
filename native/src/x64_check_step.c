/* The checker's rules: what one instruction may do, and what is known after it. */
#include <stddef.h>
#include "engine_state.h"
#include "x64_check.h"

#define FIELD(type, name) ((int32_t)offsetof(type, name))

static sbx_functype own_type(const x64_check *c) { return sbx_image_functype(c->image, c->record->type_index); }

/* Facts. */

static void set(x64_check *c, uint8_t reg, uint8_t level, uint8_t holds, uint64_t value)
{
    c->now.regs[reg] = (x64_fact){level, holds, value};
    c->extent[reg] = 0;
    for (int r = 0; r < 16; r++)
        if (c->now.regs[r].holds == HOLDS_END && c->now.regs[r].value >> 32 == reg)
            c->now.regs[r].holds = HOLDS_NUMBER;
}

static bool slot_is_small(const x64_check *c, uint32_t slot) { return c->now_slots[slot / 64] >> slot % 64 & 1; }

static void set_slot(x64_check *c, uint32_t slot, bool small)
{
    uint64_t bit = 1ull << slot % 64;
    c->now_slots[slot / 64] = small ? c->now_slots[slot / 64] | bit : c->now_slots[slot / 64] & ~bit;
}

static bool slot_of(const x64_check *c, const x64_rm *m, uint32_t *slot)
{
    int64_t place = (int64_t)c->now.frame + m->disp;
    if (m->index != NO_REG || place < 0 || place % 8 || place / 8 >= c->record->frame_slots)
        return false;
    *slot = (uint32_t)(place / 8);
    return true;
}

static uint8_t level_of_number(int64_t value) { return value >= 0 && value <= UINT32_MAX ? UP_TO_U32 : ANY_VALUE; }
static uint8_t level_of_type(sbx_valtype type) { return type == SBX_I32 ? UP_TO_U32 : ANY_VALUE; }
static uint8_t larger(uint8_t a, uint8_t b) { return a > b ? a : b; }

/* Memory operands. */

static sbx_status guest_access(x64_check *c, const x64_instruction *i)
{
    uint64_t end = (uint64_t)(int64_t)i->rm.disp + x64_memory_width(i);
    uint8_t index = i->rm.index, level = index == NO_REG ? UP_TO_U32 : c->now.regs[index].level;
    if (i->rm.disp < 0 || (index != NO_REG && i->rm.scale))
        return x64_reject(c, "an access to guest memory of a shape that the compiler does not make");
    if (level == ANY_VALUE)
        return x64_reject(c, "an access to guest memory by an index that may be anything");
    if (level == UP_TO_TWICE_U32 && end > 4096)
        return x64_reject(c, "an access to guest memory beyond the reservation");
    if (c->image->header->explicit_bounds && end > (index == NO_REG ? c->fixed_extent : c->extent[index]))
        return x64_reject(c, "an access to guest memory that was not compared with its size");
    return SBX_OK;
}

static x64_fact pointer(uint8_t holds) { return (x64_fact){ANY_VALUE, holds, 0}; }

static bool instance_field(const x64_check *c, int32_t disp, uint8_t width, x64_fact *out)
{
    const sbx_image_header *h = c->image->header;
    const sbx_image_global *globals = SBX_IMAGE_AT(c->image, GLOBALS, sbx_image_global);
    static const struct { int32_t at; uint8_t holds; } fields[] = {
        {FIELD(sbx_instance, engine), HOLDS_ENGINE}, {FIELD(sbx_instance, memory0), HOLDS_MEMORY},
        {FIELD(sbx_instance, tables), HOLDS_TABLES},
        {FIELD(sbx_instance, type_ids), HOLDS_TYPE_IDS}, {FIELD(sbx_instance, imported_globals), HOLDS_CELLS},
        {FIELD(sbx_instance, imported_functions), HOLDS_FUNCTIONS},
    };
    for (size_t k = 0; k < sizeof fields / sizeof *fields; k++)
        if (fields[k].at == disp && width == 8) {
            *out = pointer(fields[k].holds);
            return true;
        }
    int64_t past = (int64_t)disp - FIELD(sbx_instance, own_globals), own = past / (int64_t)sizeof(sbx_value);
    if (past < 0 || past % (int64_t)sizeof(sbx_value) || width > 8 || own >= (int64_t)h->global_count - h->imported_globals)
        return false;
    *out = (x64_fact){level_of_type(globals[h->imported_globals + own].type.type), HOLDS_NUMBER, 0};
    return true;
}

/* What lies behind a pointer that the run time gave. */
static bool behind_pointer(const x64_check *c, const x64_rm *m, uint8_t width, x64_fact *out)
{
    const sbx_image_header *h = c->image->header;
    const x64_fact *base = &c->now.regs[m->base];
    uint64_t element = (uint64_t)(uint32_t)m->disp / 8;
    bool whole = m->disp >= 0 && m->disp % 8 == 0 && width == 8, indexed = m->index != NO_REG;
    *out = pointer(HOLDS_NUMBER);
    if (base->holds == HOLDS_ELEMENTS) {
        const x64_fact *index = indexed ? &c->now.regs[m->index] : NULL;
        *out = (x64_fact){ANY_VALUE, HOLDS_REFERENCE, base->value};
        return index && m->scale == 3 && !m->disp && width == 8 && index->holds == HOLDS_INDEX && index->value == base->value;
    }
    if (base->holds == HOLDS_JUMP_TABLE)
        return indexed && m->index == RAX && m->scale == 2 && !m->disp && width == 4;
    if (indexed)
        return false;
    switch (base->holds) {
    case HOLDS_ENGINE: return width == 8 && (m->disp == FIELD(sbx_call_engine, machine_limit) ||
        m->disp == FIELD(sbx_call_engine, vs_limit));
    case HOLDS_MEMORY: return width == 8 && m->disp == FIELD(sbx_memory, size);
    case HOLDS_TABLES: *out = (x64_fact){ANY_VALUE, HOLDS_TABLE, element}; return whole && element < h->table_count;
    case HOLDS_TABLE:
        *out = (x64_fact){ANY_VALUE, m->disp == FIELD(sbx_table, elements) ? HOLDS_ELEMENTS : HOLDS_NUMBER, base->value};
        return width == 8 && (m->disp == FIELD(sbx_table, elements) || m->disp == FIELD(sbx_table, size));
    case HOLDS_FUNCTIONS:
        if (!whole || element >= h->imported_functions)
            return false;
        *out = (x64_fact){ANY_VALUE, HOLDS_FUNCTION, SBX_IMAGE_AT(c->image, FUNCTIONS, sbx_image_function)[element].type_index};
        return true;
    case HOLDS_FUNCTION_OR_OTHER: case HOLDS_FUNCTION:
        return (width == 4 && m->disp == FIELD(sbx_function, type_id)) || (width == 8 &&
            m->disp == FIELD(sbx_function, instance));
    case HOLDS_TYPE_IDS:
        *out = (x64_fact){UP_TO_U32, HOLDS_TYPE_ID, (uint32_t)m->disp / 4};
        return width == 4 && m->disp >= 0 && m->disp % 4 == 0 && (uint32_t)m->disp / 4 < h->type_count;
    case HOLDS_CELLS: *out = (x64_fact){ANY_VALUE, HOLDS_CELL, element}; return whole && element < h->imported_globals;
    case HOLDS_CELL:
        *out = (x64_fact){level_of_type(SBX_IMAGE_AT(c->image, GLOBALS, sbx_image_global)[base->value].type.type),
                          HOLDS_NUMBER, 0};
        return !m->disp;
    default: return false;
    }
}

/* A memory operand that is read: allowed, and what is known of the value. */
sbx_status x64_check_operand(x64_check *c, const x64_instruction *i, x64_fact *loaded)
{
    const x64_rm *m = &i->rm;
    uint8_t width = x64_memory_width(i);
    uint32_t slot;
    *loaded = pointer(HOLDS_NUMBER);
    if (i->relative) { /* a constant in the function's own code */
        int64_t place = (int64_t)c->at + i->length + m->disp;
        return place >= 0 && place + width <= (int64_t)c->size ? SBX_OK : x64_reject(c, "a constant outside the function");
    }
    if (m->base == R15)
        return guest_access(c, i);
    if (m->base == RBP) {
        if (!slot_of(c, m, &slot))
            return x64_reject(c, "a slot outside the frame");
        loaded->level = slot_is_small(c, slot) ? UP_TO_U32 : ANY_VALUE;
        return SBX_OK;
    }
    if (m->base == RSP) {
        bool vector = i->reg != NO_REG && i->reg >= XMM0;
        return vector && m->index == NO_REG && m->disp >= 0 &&
            (uint32_t)m->disp + width <= c->area ? SBX_OK : x64_reject(c, "a read of the control stack");
    }
    if (m->base == RBX ? m->index == NO_REG && instance_field(c, m->disp, width, loaded) : behind_pointer(c, m, width, loaded))
        return SBX_OK;
    return x64_reject(c, "a read through a register that holds no pointer to there");
}

/* What a moving instruction brings to its first operand. */
static uint8_t source_level(x64_check *c, const x64_instruction *i)
{
    const char *from = i->form->operands + 2;
    if (from[0] == 'G' || from[0] == 'Z')
        return i->width == 8 ? c->now.regs[i->reg].level : UP_TO_U32;
    return from[0] == 'I' ? level_of_number(i->immediate) : ANY_VALUE;
}

static sbx_status store_global(x64_check *c, const x64_instruction *i, uint32_t global)
{
    sbx_valtype type = SBX_IMAGE_AT(c->image, GLOBALS, sbx_image_global)[global].type.type;
    if (type == SBX_I32 && x64_memory_width(i) == 8 && (i->form->effect != X64_MOVES || source_level(c, i) != UP_TO_U32))
        return x64_reject(c, "an i32 global gets what may be larger");
    return SBX_OK;
}

sbx_status x64_check_store(x64_check *c, const x64_instruction *i)
{
    const x64_rm *m = &i->rm;
    uint8_t width = x64_memory_width(i);
    uint32_t slot;
    x64_fact ignored;
    if (i->relative)
        return x64_reject(c, "a store into code");
    if (m->base == R15)
        return guest_access(c, i);
    if (m->base == RBP) {
        if (!slot_of(c, m, &slot))
            return x64_reject(c, "a slot outside the frame");
        if (width == 8)
            set_slot(c, slot, i->form->effect == X64_MOVES && source_level(c, i) == UP_TO_U32);
        return SBX_OK;
    }
    if (m->base == RSP) /* the prologue saves vector registers */
        return x64_check_operand(c, i, &ignored);
    int32_t own = m->disp - FIELD(sbx_instance, own_globals);
    if (m->base == RBX && m->index == NO_REG && own >= 0 && instance_field(c, m->disp, 4, &ignored))
        return store_global(c, i, c->image->header->imported_globals + (uint32_t)own / (uint32_t)sizeof(sbx_value));
    if (m->base != RBX && c->now.regs[m->base].holds == HOLDS_CELL && m->index == NO_REG && !m->disp)
        return store_global(c, i, (uint32_t)c->now.regs[m->base].value);
    return x64_reject(c, "a store to neither guest memory, the frame, nor a global");
}

/* Results in registers. */

static x64_fact address_result(x64_check *c, const x64_instruction *i)
{
    const x64_rm *m = &i->rm;
    uint32_t slot;
    if (m->base == RBP && i->width == 8 && slot_of(c, m, &slot))
        return (x64_fact){ANY_VALUE, HOLDS_SLOT_ADDRESS, slot};
    uint32_t entries;
    if (i->relative && sbx_x64_table(c->code, c->size, c->at + i->length + 7, &entries)) /* movsxd and add stand between */
        return (x64_fact){ANY_VALUE, HOLDS_JUMP_TABLE, entries};
    if (i->width != 8 || i->relative)
        return (x64_fact){i->width == 4 && !i->relative ? UP_TO_U32 : ANY_VALUE, HOLDS_NUMBER, 0};
    uint8_t base = c->now.regs[m->base].level, index = m->index == NO_REG ? UP_TO_U32 : c->now.regs[m->index].level;
    bool sum = base == UP_TO_U32 && index == UP_TO_U32 && (m->index == NO_REG ? m->disp >= 0 : !m->disp && !m->scale);
    bool end = m->index == NO_REG && m->disp >= 0 && base != ANY_VALUE && c->image->header->explicit_bounds;
    return (x64_fact){sum ? UP_TO_TWICE_U32 : ANY_VALUE, end ? HOLDS_END : HOLDS_NUMBER, end
        ? (uint64_t)m->base << 32 | (uint32_t)m->disp : 0};
}

static x64_fact number(uint8_t level) { return (x64_fact){level, HOLDS_NUMBER, 0}; }

/* The second operand as it is read. */
static x64_fact second(x64_check *c, const x64_instruction *i, const x64_fact *loaded)
{
    const char *from = i->form->operands + 2;
    switch (from[0]) {
    case 'G': case 'Z': return c->now.regs[i->reg];
    case 'E': return i->rm.memory ? *loaded : i->rm.base < XMM0 ? c->now.regs[i->rm.base] : number(ANY_VALUE);
    case 'I': return (x64_fact){level_of_number(i->immediate), level_of_number(i->immediate) == UP_TO_U32 ? HOLDS_CONSTANT
        : HOLDS_NUMBER, (uint64_t)i->immediate};
    default: return number(ANY_VALUE);
    }
}

static x64_fact result(x64_check *c, const x64_instruction *i, uint8_t to, const x64_fact *loaded)
{
    const x64_fact old = c->now.regs[to], from = second(c, i, loaded);
    bool same = i->form->effect == X64_ORS && i->form->name[0] == 'x' && !i->rm.memory && i->reg == i->rm.base &&
        i->form->digit == NO_REG;
    if (same) /* xor of a register with itself */
        return (x64_fact){UP_TO_U32, HOLDS_CONSTANT, 0};
    if (i->width <= 2 || i->form->effect == X64_SETS_BYTE) /* the rest of the register stays */
        if (i->form->effect != X64_ZERO_EXTENDS && i->form->operands[1] != 'y')
            return number(old.level == UP_TO_U32 ? UP_TO_U32 : ANY_VALUE);
    if (i->form->effect == X64_MOVES) {
        if (i->width == 8)
            return from;
        bool id = from.holds == HOLDS_CONSTANT || from.holds == HOLDS_TYPE_ID;
        return id ? (x64_fact){UP_TO_U32, from.holds, (uint32_t)from.value} : i->form->operands[2] == 'I'
            ? (x64_fact){UP_TO_U32, HOLDS_CONSTANT, (uint32_t)i->immediate} : number(UP_TO_U32);
    }
    if (i->form->effect == X64_LOADS_ADDRESS)
        return address_result(c, i);
    if (i->width == 4)
        return number(UP_TO_U32);
    switch (i->form->effect) {
    case X64_ZERO_EXTENDS: case X64_COUNTS: return number(UP_TO_U32);
    case X64_ANDS: return number(old.level < from.level ? old.level : from.level);
    case X64_ORS: return number(old.level == UP_TO_U32 && from.level == UP_TO_U32 ? UP_TO_U32 : ANY_VALUE);
    case X64_ADDS: return number(old.level == UP_TO_U32 && from.level == UP_TO_U32 ? UP_TO_TWICE_U32 : ANY_VALUE);
    case X64_CHOOSES: return number(larger(old.level, from.level));
    case X64_SHIFTS_RIGHT:
        if (i->third != NO_REG)
            return number(from.level);
        return number(i->form->operands[2] == 'I' && i->immediate >= 32 ? UP_TO_U32 : old.level);
    default: return number(ANY_VALUE);
    }
}

/* Comparisons, and what a jump that is not taken says. */

static void compare(x64_check *c, const x64_instruction *i)
{
    const x64_fact *base = i->rm.memory && !i->relative ? &c->now.regs[i->rm.base] : NULL;
    const x64_fact *reg = i->reg < XMM0 ? &c->now.regs[i->reg] : NULL;
    bool immediate = i->form->digit != NO_REG, turned = i->opcode == 0x3B;
    if (!i->rm.memory && turned && i->width == 8)
        c->compared = (x64_comparison){COMPARED_REGISTERS, i->reg, i->rm.base};
    else if (base && base->holds == HOLDS_TABLE && i->rm.disp == FIELD(sbx_table, size) && !immediate && i->width == 8)
        c->compared = (x64_comparison){turned ? COMPARED_INDEX_TURNED : COMPARED_INDEX, i->reg, base->value};
    else if (base && base->holds == HOLDS_MEMORY && i->width == 8 && immediate && i->immediate >= 0)
        c->compared = (x64_comparison){COMPARED_SIZE, NO_REG, (uint64_t)i->immediate};
    else if (base && base->holds == HOLDS_MEMORY && i->width == 8 && turned && reg && reg->holds == HOLDS_END)
        c->compared = (x64_comparison){COMPARED_END, i->reg, reg->value};
    else if (base && base->holds == HOLDS_FUNCTION_OR_OTHER && i->rm.disp == FIELD(sbx_function, type_id) && i->width == 4 &&
        reg && !immediate && reg->holds == HOLDS_TYPE_ID)
        c->compared = (x64_comparison){COMPARED_TYPE, i->rm.base, reg->value};
}

static void jump_not_taken(x64_check *c, uint8_t cc)
{
    const x64_comparison *k = &c->compared;
    if ((k->kind == COMPARED_INDEX && cc == CC_BE) || (k->kind == COMPARED_INDEX_TURNED && cc == CC_AE))
        set(c, k->reg, c->now.regs[k->reg].level, HOLDS_INDEX, k->value);
    else if (k->kind == COMPARED_NULL && cc == CC_E)
        set(c, k->reg, ANY_VALUE, HOLDS_FUNCTION_OR_OTHER, 0);
    else if (k->kind == COMPARED_REGISTERS && cc == CC_NE &&
        c->now.regs[k->value].level < c->now.regs[k->reg].level) /* equal to a smaller one */
        c->now.regs[k->reg].level = c->now.regs[k->value].level;
    else if (k->kind == COMPARED_TYPE && cc == CC_NE)
        set(c, k->reg, ANY_VALUE, HOLDS_FUNCTION, k->value);
    else if (k->kind == COMPARED_END && cc == CC_A && (uint32_t)k->value > c->extent[k->value >> 32])
        c->extent[k->value >> 32] = (uint32_t)k->value;
    else if (k->kind == COMPARED_SIZE && cc == CC_B && k->value > c->fixed_extent)
        c->fixed_extent = (uint32_t)k->value;
}

/* The frame's registers. */

static sbx_status leave(x64_check *c)
{
    uint32_t at = c->at, k = c->saved_count;
    x64_instruction i;
    if (c->area && !(x64_decode(c->code + at, c->size - at, &i) && i.form->effect == X64_ADDS && x64_written(&i) == RSP &&
        i.form->digit == 0 && i.width == 8 && i.immediate == c->area))
        return x64_reject(c, "an epilogue that does not give back what the prologue took");
    at += c->area ? i.length : 0;
    for (; k; k--, at += i.length)
        if (!x64_decode(c->code + at, c->size - at, &i) || i.form->effect != X64_POPS || i.reg != c->saved[k - 1] ||
            (at > c->at && c->marks[at] >= LEADS))
            return x64_reject(c, "an epilogue that does not restore what the prologue saved");
    if (at >= c->size || c->code[at] != 0xC3 || (at > c->at && c->marks[at] >= LEADS))
        return x64_reject(c, "an epilogue that does not end in a return");
    sbx_functype type = own_type(c);
    if (c->now.frame)
        return x64_reject(c, "a return with the frame pointer moved");
    if (type.results == 1 && type.types[type.params] == SBX_I32 && c->now.regs[RAX].level != UP_TO_U32)
        return x64_reject(c, "an i32 result that may be larger");
    for (uint32_t r = 0; r < type.results && type.results > 1; r++)
        if (type.types[type.params + r] == SBX_I32 && !slot_is_small(c, r))
            return x64_reject(c, "an i32 result that may be larger");
    c->live = false;
    return SBX_OK;
}

static sbx_status move_frame(x64_check *c, const x64_instruction *i)
{
    int64_t moved = c->now.frame + (i->form->effect == X64_ADDS ? i->immediate : -i->immediate);
    bool fits = i->form->digit != NO_REG && i->width == 8 && moved >= 0 && moved % 8 == 0 &&
        moved <= (int64_t)c->record->frame_slots * 8;
    if (!fits || (i->form->effect != X64_ADDS && i->form->effect != X64_SUBTRACTS))
        return x64_reject(c, "the frame pointer moves out of the frame");
    c->now.frame = (int32_t)moved;
    return SBX_OK;
}

static sbx_status write_register(x64_check *c, const x64_instruction *i, uint8_t to, const x64_fact *loaded)
{
    if (to == RBP)
        return move_frame(c, i);
    if (to == RSP && i->form->effect == X64_ADDS)
        return leave(c);
    if (!(c->writable >> to & 1))
        return x64_reject(c, "a write to a register that belongs to the run time or to the caller");
    bool counts = (i->form->effect == X64_ADDS || i->form->effect == X64_SUBTRACTS) && i->form->digit != NO_REG;
    if (to == FUEL_REGISTER && c->image->header->metered && !counts)
        return x64_reject(c, "a write to the fuel counter");
    x64_fact made = result(c, i, to, loaded);
    set(c, to, made.level, made.holds, made.value);
    return SBX_OK;
}

static sbx_status fill(x64_check *c)
{
    const x64_fact *at = &c->now.regs[RDI], *count = &c->now.regs[RCX], *value = &c->now.regs[RAX];
    bool known = at->holds == HOLDS_SLOT_ADDRESS && count->holds == HOLDS_CONSTANT && value->holds == HOLDS_CONSTANT &&
        !value->value;
    if (!known || at->value + count->value > c->record->frame_slots)
        return x64_reject(c, "zeroes beyond the frame");
    for (uint64_t s = at->value, end = at->value + count->value; s < end; s++)
        set_slot(c, (uint32_t)s, true);
    set(c, RDI, ANY_VALUE, HOLDS_NUMBER, 0);
    set(c, RCX, UP_TO_U32, HOLDS_NUMBER, 0);
    return SBX_OK;
}

sbx_status x64_step(x64_check *c, const x64_instruction *i)
{
    x64_fact loaded = number(ANY_VALUE);
    sbx_status status = SBX_OK;
    uint8_t effect = i->form->effect, to = x64_written(i);
    int64_t target = (int64_t)c->at + i->length + i->immediate;
    switch (effect) {
    case X64_CALLS: case X64_CALLS_INDIRECT: return x64_check_call(c, i);
    case X64_JUMPS: status = x64_flow_to(c, target); c->live = false; return status;
    case X64_JUMPS_IF:
        status = x64_flow_to(c, target);
        jump_not_taken(c, i->opcode & 15);
        c->compared.kind = COMPARED_NOTHING;
        return status;
    case X64_JUMPS_INDIRECT: return SBX_OK; /* its shape was checked; the walk follows its table */
    case X64_RETURNS: case X64_POPS: return c->area || (effect == X64_RETURNS &&
        c->saved_count) ? x64_reject(c, "a return that restores nothing") : leave(c);
    case X64_PUSHES: case X64_BREAKS: return x64_reject(c, "an instruction that has no place behind the prologue");
    case X64_FILLS: return fill(c);
    default: break;
    }
    c->compared.kind = COMPARED_NOTHING;
    bool stores = x64_stores(i);
    if (i->rm.memory && effect != X64_LOADS_ADDRESS && !(stores && effect == X64_MOVES) && !(stores &&
        i->form->operands[0] == 'W'))
        status = x64_check_operand(c, i, &loaded);
    if (!status && stores)
        status = x64_check_store(c, i);
    if (status)
        return status;
    if (effect == X64_COMPARES)
        compare(c, i);
    else if (effect == X64_READS && i->opcode == 0x85 && i->width == 8 && !i->rm.memory && i->reg == i->rm.base &&
        c->now.regs[i->reg].holds == HOLDS_REFERENCE)
        c->compared = (x64_comparison){COMPARED_NULL, i->reg, 0};
    if (effect == X64_MULTIPLIES_WIDE || effect == X64_EXTENDS_SIGN) {
        set(c, RDX, i->width == 4 ? UP_TO_U32 : ANY_VALUE, HOLDS_NUMBER, 0);
        if (effect == X64_MULTIPLIES_WIDE)
            set(c, RAX, i->width == 4 ? UP_TO_U32 : ANY_VALUE, HOLDS_NUMBER, 0);
    }
    return to == NO_REG || to >= XMM0 ? SBX_OK : write_register(c, i, to, &loaded);
}
