/* The lowering's ground floor: the code buffer, and where the operands of the abstract stack live. */
#include <string.h>
#include "lower.h"

void sbx_emit(sbx_lowerer *l, uint32_t unit)
{
    if (sbx_room(l, &l->code, &l->capacity, l->count + 1, sizeof *l->code))
        l->code[l->count++] = (uint16_t)unit;
}

void sbx_emit32(sbx_lowerer *l, uint32_t value)
{
    if (!sbx_room(l, &l->code, &l->capacity, l->count + 2, sizeof *l->code))
        return;
    memcpy(l->code + l->count, &value, 4);
    l->count += 2;
}

void sbx_emit64(sbx_lowerer *l, uint64_t value)
{
    sbx_emit32(l, (uint32_t)value);
    sbx_emit32(l, (uint32_t)(value >> 32));
}

/* Notes that the operation emitted next may trap or call, and which instruction it comes from. */
void sbx_mark(sbx_lowerer *l, const uint8_t *instruction)
{
    if (!sbx_map_add(&l->map, l->count, (size_t)(instruction - l->module->bytes)))
        l->failed = true;
}

uint8_t sbx_class_of(sbx_valtype type)
{
    return type == SBX_F32 ? CLASS_F : type == SBX_F64 ? CLASS_D : CLASS_X;
}

static operand *push(sbx_lowerer *l, uint8_t place, uint8_t cls)
{
    operand *o = &l->stack[l->height];
    *o = (operand){.place = place, .cls = cls, .slot = l->temps + l->height, .home = l->temps + l->height, .below = NO_ENTRY};
    l->height++;
    return o;
}

void sbx_push_slot(sbx_lowerer *l, uint8_t cls) { push(l, AT_SLOT, cls); }
void sbx_push_const(sbx_lowerer *l, uint8_t cls, uint64_t bits) { push(l, AT_CONST, cls)->bits = bits; }

void sbx_push_local(sbx_lowerer *l, uint32_t local)
{
    operand *o = push(l, AT_LOCAL, l->local_class[local]);
    o->slot = local;
    o->below = l->local_head[local];
    l->local_head[local] = (int32_t)l->height - 1;
}

operand sbx_pop(sbx_lowerer *l)
{
    operand o = l->stack[--l->height];
    if (o.place == AT_LOCAL)
        l->local_head[o.slot] = o.below;
    else if (o.place == AT_ACC)
        l->acc_owner[o.cls] = NO_ENTRY;
    if (l->flushed > l->height)
        l->flushed = l->height;
    return o;
}

void sbx_pop_to(sbx_lowerer *l, uint32_t height)
{
    while (l->height > height)
        sbx_pop(l);
}

void sbx_slot_written(sbx_lowerer *l, uint32_t slot)
{
    for (int c = 0; c < CLASS_COUNT; c++)
        if (l->acc_slot[c] == slot)
            l->acc_slot[c] = NO_SLOT;
}

void sbx_forget_accumulators(sbx_lowerer *l)
{
    for (int c = 0; c < CLASS_COUNT; c++)
        l->acc_slot[c] = NO_SLOT;
}

static const uint16_t spill_op[CLASS_COUNT] = {SBX_IR_spill_x, SBX_IR_spill_f, SBX_IR_spill_F};
static const uint16_t copy_op[CLASS_COUNT] = {SBX_IR_copy_x, SBX_IR_copy_f, SBX_IR_copy_F};

/* Writes a value to a slot; what the stack and the accumulators are known to hold does not change. */
void sbx_move(sbx_lowerer *l, const operand *o, uint32_t slot)
{
    switch (o->place) {
    case AT_CONST:
        if (o->bits <= UINT32_MAX) {
            sbx_emit(l, SBX_IR_const_u32);
            sbx_emit32(l, (uint32_t)o->bits);
        } else {
            sbx_emit(l, SBX_IR_const_u64);
            sbx_emit64(l, o->bits);
        }
        break;
    case AT_ACC:
        sbx_emit(l, spill_op[o->cls]);
        break;
    default:
        if (l->acc_slot[o->cls] == o->slot) {
            sbx_emit(l, spill_op[o->cls]);
        } else {
            sbx_emit(l, copy_op[o->cls]);
            sbx_emit(l, o->slot);
        }
    }
    sbx_emit(l, slot);
}

/* Writes a popped operand to a slot, by giving the operation that made it a destination where it still stands last. */
void sbx_store_operand(sbx_lowerer *l, const operand *o, uint32_t slot)
{
    if (o->place == AT_ACC) {
        if (l->last.end == l->count && l->last.cls == o->cls && !l->failed) {
            l->code[l->last.start]++; /* the twin that also writes a slot */
            sbx_emit(l, slot);
            l->last.end = NOTHING_OPEN;
        } else {
            sbx_move(l, o, slot);
        }
        sbx_slot_written(l, slot);
        l->acc_slot[o->cls] = slot;
        return;
    }
    bool cached = o->place != AT_CONST && l->acc_slot[o->cls] == o->slot;
    sbx_move(l, o, slot);
    sbx_slot_written(l, slot);
    if (cached)
        l->acc_slot[o->cls] = slot;
}

/* Brings an entry to its home. */
void sbx_materialise(sbx_lowerer *l, uint32_t index)
{
    operand *o = &l->stack[index];
    if (o->place == AT_SLOT)
        return;
    operand was = *o;
    if (was.place == AT_ACC) {
        l->acc_owner[was.cls] = NO_ENTRY;
    } else if (was.place == AT_LOCAL) {
        /* Only called for the topmost use of a local, or while everything above is brought home too. */
        int32_t *link = &l->local_head[was.slot];
        while (*link != (int32_t)index)
            link = &l->stack[*link].below;
        *link = was.below;
    }
    o->place = AT_SLOT;
    o->slot = o->home;
    sbx_store_operand(l, &was, o->home);
}

/* The entry whose operation still stands last goes home first, while its destination is open. */
static void close_open_entry(sbx_lowerer *l, uint32_t from)
{
    int32_t owner = l->last.end == l->count ? l->acc_owner[l->last.cls] : NO_ENTRY;
    if (owner != NO_ENTRY && owner >= (int32_t)from)
        sbx_materialise(l, (uint32_t)owner);
}

void sbx_materialise_top(sbx_lowerer *l, uint32_t n)
{
    close_open_entry(l, l->height - n);
    for (uint32_t i = l->height; i-- > l->height - n;) /* from the top down: each local is then the head of its chain */
        sbx_materialise(l, i);
}

/* Before a label: nothing below may depend on a local or an accumulator; constants may stay constants. */
void sbx_flush(sbx_lowerer *l)
{
    close_open_entry(l, l->flushed);
    for (uint32_t i = l->height; i-- > l->flushed;)
        if (l->stack[i].place != AT_CONST)
            sbx_materialise(l, i);
    l->flushed = l->height;
}

void sbx_spill_accumulators(sbx_lowerer *l)
{
    for (int c = 0; c < CLASS_COUNT; c++)
        if (l->acc_owner[c] != NO_ENTRY)
            sbx_materialise(l, (uint32_t)l->acc_owner[c]);
}

/* A popped operand that must be in a slot: its home, unless it has one. */
void sbx_to_slot(sbx_lowerer *l, operand *o)
{
    if (o->place == AT_SLOT || o->place == AT_LOCAL)
        return;
    sbx_store_operand(l, o, o->home);
    o->place = AT_SLOT;
    o->slot = o->home;
}

/* The form in which an operation can take a popped operand. */
uint8_t sbx_form(const sbx_lowerer *l, const operand *o)
{
    if (o->place == AT_CONST)
        return FORM_IMM;
    return o->place == AT_ACC || l->acc_slot[o->cls] == o->slot ? FORM_ACC : FORM_SLOT;
}

/* The letter names the operand's type: i, I, f, F. */
void sbx_emit_operand(sbx_lowerer *l, const operand *o, uint8_t form, char letter)
{
    if (form == FORM_SLOT)
        sbx_emit(l, o->slot);
    else if (form == FORM_IMM && (letter == 'F' || letter == 'I'))
        sbx_emit64(l, o->bits);
    else if (form == FORM_IMM)
        sbx_emit32(l, (uint32_t)o->bits);
}

/* Before an operation that does not take the last one's result: while its destination is open, that result goes home as well.
 * A store more is cheaper than an operation more, should the accumulator be needed before the value is. */
void sbx_begin(sbx_lowerer *l)
{
    close_open_entry(l, 0);
}

/* The accumulator is about to be overwritten: an entry that lives there goes home. */
void sbx_prepare_result(sbx_lowerer *l, uint8_t cls)
{
    sbx_begin(l);
    if (l->acc_owner[cls] != NO_ENTRY)
        sbx_materialise(l, (uint32_t)l->acc_owner[cls]);
}

/* The operation that began at `start` left its result in the accumulator: the new top of the stack. */
void sbx_finish_result(sbx_lowerer *l, uint8_t cls, size_t start)
{
    l->last = (pending){.start = start, .end = l->count, .cls = cls, .acc_slot_before = l->acc_slot[CLASS_X]};
    l->acc_slot[cls] = NO_SLOT;
    push(l, AT_ACC, cls);
    l->acc_owner[cls] = (int32_t)l->height - 1;
}

/* True when a popped operand is the result of the last operation, and that one can be taken back. */
bool sbx_made_last(const sbx_lowerer *l, const operand *popped)
{
    return popped->place == AT_ACC && popped->cls == CLASS_X && l->last.end == l->count && l->last.cls == CLASS_X && l->last.opcode;
}

/* As if the last operation had not been: its operands, in l->last, are where they were. */
void sbx_take_back(sbx_lowerer *l)
{
    l->count = l->last.start;
    l->acc_slot[CLASS_X] = l->last.acc_slot_before;
    l->last.end = NOTHING_OPEN;
}
