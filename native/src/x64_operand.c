/* Operands of the compiled tier: the abstract stack, the registers, where a value is and how it gets elsewhere. */
#include "x64.h"

static const uint8_t int_pool[] = {RAX, RDX, R8, RSI, RDI};
static const uint8_t float_pool[] = {XMM(0), XMM(1), XMM(2), XMM(3), XMM(4), XMM(5), XMM(6)};

bool x64_more_room(x64_buffer *b, size_t bytes)
{
    uint8_t *block = b->bytes ? b->bytes - b->lead : NULL;
    size_t capacity = b->bytes ? b->lead + b->capacity : 0;
    if (b->failed || !sbx_grow(&block, &capacity, b->lead + b->size + bytes, 1)) {
        b->failed = true;
        b->size = 0; /* emission goes on into the old block; the caller sees `failed` */
        return b->capacity >= bytes;
    }
    b->bytes = block + b->lead;
    b->capacity = capacity - b->lead;
    return true;
}

/* Notes that the code emitted next belongs to an instruction. */
void x64_mark(sbx_x64 *c, const uint8_t *instruction)
{
    if (!sbx_map_add(&c->map, c->b.size, (size_t)(instruction - c->module->bytes)))
        c->b.failed = true;
}

void x64_cold_path(sbx_x64 *c, uint8_t kind, uint32_t value, size_t jump, size_t back)
{
    if (x64_grow(c, &c->colds, &c->cold_capacity, c->cold_count + 1, sizeof *c->colds))
        c->colds[c->cold_count++] = (x64_cold){kind, value, jump, back, c->instruction};
}

void x64_trap_if(sbx_x64 *c, uint8_t cc, uint32_t cause)
{
    x64_cold_path(c, COLD_TRAP, cause, x64_jcc(&c->b, cc, 0), 0);
}

/* Registers. */

static void spill(sbx_x64 *c, int32_t index)
{
    x64_entry *e = &c->stack[index];
    x64_store64(&c->b, x64_slot(e->home), e->reg);
    c->owned &= ~(1u << e->reg);
    e->place = IN_HOME;
}

/* A temporary that no operand of this instruction uses; the lowest entry of the stack makes room. */
uint8_t x64_alloc(sbx_x64 *c, uint8_t cls)
{
    const uint8_t *pool = cls ? float_pool : int_pool;
    size_t n = cls ? sizeof float_pool : sizeof int_pool;
    int32_t lowest = INT32_MAX;
    uint8_t reg = pool[0];
    for (size_t i = 0; i < n; i++) {
        if (c->locked >> pool[i] & 1)
            continue;
        if (!(c->owned >> pool[i] & 1)) {
            c->locked |= 1u << pool[i];
            return pool[i];
        }
        if (c->owner[pool[i]] < lowest) {
            lowest = c->owner[pool[i]];
            reg = pool[i];
        }
    }
    if (lowest == INT32_MAX) { /* cannot be: no instruction has so many operands */
        c->b.failed = true;
        return reg;
    }
    spill(c, lowest);
    c->locked |= 1u << reg;
    return reg;
}

/* Takes one register: its entry goes elsewhere. */
void x64_claim(sbx_x64 *c, uint8_t reg)
{
    if (c->owned >> reg & 1)
        spill(c, c->owner[reg]);
    c->locked |= 1u << reg;
}

void x64_pop_to(sbx_x64 *c, uint32_t height)
{
    uint32_t locked = c->locked;
    while (c->height > height)
        x64_take(c);
    c->locked = locked;
}

static x64_rm memory_of(const x64_entry *e) { return x64_slot(e->place == IN_LOCAL ? e->local : e->home); }

/* Loads the value into a register of its class. Flags survive. */
void x64_into(sbx_x64 *c, uint8_t reg, const x64_entry *e)
{
    uint8_t from;
    if (x64_is_in_reg(c, e, &from)) {
        x64_move(&c->b, reg, from);
    } else if (e->place != IN_CONST) {
        x64_load64(&c->b, reg, memory_of(e));
    } else if (reg < XMM0) {
        x64_move_constant(&c->b, reg, e->bits);
    } else {
        x64_move_constant(&c->b, SCRATCH, e->bits);
        x64_op(&c->b, OP(0x66, 0x0F, 0x6E), W, reg, x64_reg(SCRATCH)); /* movq */
    }
}

uint8_t x64_in_reg(sbx_x64 *c, const x64_entry *e)
{
    uint8_t reg;
    if (!x64_is_in_reg(c, e, &reg)) {
        reg = x64_alloc(c, e->cls);
        x64_into(c, reg, e);
    }
    return reg;
}

/* A register that may be written. */
uint8_t x64_in_temp(sbx_x64 *c, const x64_entry *e)
{
    if (e->place == IN_REG)
        return e->reg;
    uint8_t reg = x64_alloc(c, e->cls);
    x64_into(c, reg, e);
    return reg;
}

x64_rm x64_as_rm(sbx_x64 *c, const x64_entry *e)
{
    uint8_t reg;
    if (x64_is_in_reg(c, e, &reg))
        return x64_reg(reg);
    return e->place == IN_CONST ? x64_reg(x64_in_reg(c, e)) : memory_of(e);
}

/* Writes a value to a slot; uses only scratch registers, and flags survive. */
void x64_write(sbx_x64 *c, const x64_entry *e, uint32_t slot)
{
    uint8_t reg;
    if (e->place == IN_CONST && (int64_t)e->bits == (int32_t)e->bits) {
        x64_op(&c->b, 0xC7, W, 0, x64_slot(slot));
        x64_u32(&c->b, (uint32_t)e->bits);
        return;
    }
    if (!x64_is_in_reg(c, e, &reg)) {
        if (e->place != IN_CONST && memory_of(e).disp == (int32_t)slot * 8)
            return;
        reg = SCRATCH;
        if (e->place == IN_CONST)
            x64_move_constant(&c->b, reg, e->bits);
        else
            x64_load64(&c->b, reg, memory_of(e));
    }
    x64_store64(&c->b, x64_slot(slot), reg);
}

static void materialise(sbx_x64 *c, uint32_t index)
{
    x64_entry *e = &c->stack[index];
    if (e->place == IN_HOME)
        return;
    if (e->place == IN_LOCAL)
        c->local_head[e->local] = e->below; /* called from the top down: it is the head of its chain */
    x64_write(c, e, e->home);
    if (e->place == IN_REG)
        c->owned &= ~(1u << e->reg);
    e->place = IN_HOME;
}

void x64_materialise_top(sbx_x64 *c, uint32_t n)
{
    for (uint32_t i = c->height; i-- > c->height - n;)
        materialise(c, i);
}

/* Before a label: nothing below depends on a register; constants stay constants. */
void x64_flush(sbx_x64 *c)
{
    for (uint32_t i = c->height; i-- > c->flushed;)
        if (c->stack[i].place != IN_CONST)
            materialise(c, i);
    c->flushed = c->height;
}

/* Before a call: the callee saves pins only. */
void x64_spill_all(sbx_x64 *c)
{
    for (size_t i = 0; c->owned && i < sizeof int_pool; i++)
        if (c->owned >> int_pool[i] & 1)
            spill(c, c->owner[int_pool[i]]);
    for (size_t i = 0; c->owned && i < sizeof float_pool; i++)
        if (c->owned >> float_pool[i] & 1)
            spill(c, c->owner[float_pool[i]]);
}

/* A local is about to be written: its uses on the stack take the value with them. */
void x64_detach_local(sbx_x64 *c, uint32_t local)
{
    while (c->local_head[local] != X64_NO_ENTRY) {
        int32_t index = c->local_head[local];
        x64_entry *e = &c->stack[index];
        c->local_head[local] = e->below;
        uint32_t locked = c->locked;
        uint8_t reg = x64_alloc(c, e->cls);
        c->locked = locked;
        x64_into(c, reg, e);
        e->place = IN_REG;
        e->reg = reg;
        c->owner[reg] = index;
        c->owned |= 1u << reg;
        if (c->flushed > (uint32_t)index)
            c->flushed = (uint32_t)index;
    }
}

/* x64_hint when a local is set next. */
uint8_t x64_hinted(sbx_x64 *c, uint8_t cls)
{
    const uint8_t *at = c->at;
    bool tee = *at++ == SBX_WASM_local_tee;
    uint32_t local = sbx_leb_u32(&at);
    if (c->local_pin[local] == NO_REG || c->local_class[local] != cls)
        return NO_REG;
    x64_detach_local(c, local);
    c->hint_local = local;
    c->hint_tee = tee;
    c->hint_end = at;
    return c->hint = c->local_pin[local];
}

void x64_set_hinted(sbx_x64 *c)
{
    c->at = c->hint_end;
    c->cost++;
    if (c->hint_tee)
        x64_push_local(c, c->hint_local);
}
