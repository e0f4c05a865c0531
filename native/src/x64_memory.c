/* Memory accesses, globals and the operations that the run time does for the compiled tier. */
#include "engine_state.h"
#include "x64.h"

/* The operand of an access. The index is zero-extended, so that index + offset stays inside the reservation; explicit checks compare first. */
static x64_rm address(sbx_x64 *c, const x64_entry *e, uint64_t offset, uint32_t width)
{
    if (e->place == IN_CONST && e->bits + offset + width <= INT32_MAX) {
        int32_t at = (int32_t)(e->bits + offset);
        if (c->options->explicit_bounds) {
            x64_load64(&c->b, SCRATCH, x64_mem(INSTANCE, offsetof(sbx_instance, memory0)));
            x64_alu_constant(&c->b, 7, W, x64_mem(SCRATCH, offsetof(sbx_memory, size)), at + (int32_t)width);
            x64_trap_if(c, CC_B, SBX_TRAP_MEMORY_BOUNDS);
        }
        return x64_mem(MEMORY, at);
    }
    uint8_t index = x64_in_reg(c, e);
    if (offset + width > INT32_MAX) { /* beyond a displacement: the sum goes into a register */
        x64_move_constant(&c->b, SCRATCH, offset);
        uint8_t sum = x64_alloc(c, CLASS_INT);
        x64_op(&c->b, 0x8D, W, sum, x64_indexed(SCRATCH, index, 0, 0));
        index = sum;
        offset = 0;
    }
    if (c->options->explicit_bounds) {
        uint8_t end = x64_alloc(c, CLASS_INT);
        x64_op(&c->b, 0x8D, W, end, x64_mem(index, (int32_t)(offset + width)));
        x64_load64(&c->b, SCRATCH, x64_mem(INSTANCE, offsetof(sbx_instance, memory0)));
        x64_op(&c->b, 0x3B, W, end, x64_mem(SCRATCH, offsetof(sbx_memory, size)));
        x64_trap_if(c, CC_A, SBX_TRAP_MEMORY_BOUNDS);
    }
    return x64_indexed(MEMORY, index, 0, (int32_t)offset);
}

/* memarg: the alignment does not matter. */
static uint64_t read_offset(sbx_x64 *c)
{
    sbx_leb_u32(&c->at);
    return sbx_leb_u64(&c->at);
}

static inline void load(sbx_x64 *c, const x64_row *row, uint8_t cls)
{
    uint64_t offset = read_offset(c);
    x64_entry e = x64_take(c);
    x64_rm from = address(c, &e, offset, row->extra);
    uint8_t pin = x64_hint(c, cls);
    uint8_t to = pin != NO_REG ? pin : cls == CLASS_INT && e.place == IN_REG ? e.reg : x64_alloc(c, cls);
    x64_mark(c, c->instruction);
    x64_op(&c->b, row->op, row->flags, to, from);
    x64_finish(c, to);
}

static void load_int(sbx_x64 *c, const x64_row *row) { load(c, row, CLASS_INT); }
static void load_float(sbx_x64 *c, const x64_row *row) { load(c, row, CLASS_FLOAT); }

static void store_constant(sbx_x64 *c, x64_rm to, uint64_t bits, uint8_t width)
{
    x64_mark(c, c->instruction);
    if (width == 2)
        x64_byte(&c->b, 0x66);
    x64_op(&c->b, width == 1 ? 0xC6 : 0xC7, width == 8, 0, to);
    if (width == 1)
        x64_byte(&c->b, (uint32_t)bits);
    else if (width == 2)
        x64_bytes(&c->b, &bits, 2);
    else
        x64_u32(&c->b, (uint32_t)bits);
}

static void store(sbx_x64 *c, const x64_row *row)
{
    uint8_t width = row->extra;
    uint64_t offset = read_offset(c);
    x64_entry value = x64_take(c), e = x64_take(c);
    x64_rm to = address(c, &e, offset, width);
    if (value.place == IN_CONST && (width < 8 || (int64_t)value.bits == (int32_t)value.bits)) {
        store_constant(c, to, value.bits, width);
        return;
    }
    uint8_t from = x64_in_reg(c, &value);
    x64_mark(c, c->instruction);
    if (width == 2)
        x64_byte(&c->b, 0x66);
    x64_op(&c->b, row->op, row->flags, from, to);
}

static x64_rm global(sbx_x64 *c, uint32_t index)
{
    uint32_t imported = c->module->imported_globals;
    if (index >= imported)
        return x64_mem(INSTANCE, (int32_t)(offsetof(sbx_instance, own_globals) + (index - imported) * sizeof(sbx_value)));
    x64_load64(&c->b, SCRATCH, x64_mem(INSTANCE, offsetof(sbx_instance, imported_globals)));
    x64_load64(&c->b, SCRATCH, x64_mem(SCRATCH, (int32_t)(index * sizeof(void *))));
    return x64_mem(SCRATCH, 0);
}

static void global_get(sbx_x64 *c, const x64_row *row)
{
    (void)row;
    uint32_t index = sbx_leb_u32(&c->at);
    uint8_t cls = x64_class(c->module->globals[index].type), pin = x64_hint(c, cls);
    uint8_t to = pin != NO_REG ? pin : x64_alloc(c, cls);
    x64_load64(&c->b, to, global(c, index));
    x64_finish(c, to);
}

static void global_set(sbx_x64 *c, const x64_row *row)
{
    (void)row;
    uint32_t index = sbx_leb_u32(&c->at);
    x64_entry e = x64_take(c);
    uint8_t from = x64_in_reg(c, &e);
    if (c->module->globals[index].type == SBX_F32) /* the upper half of a register may hold anything, a global's is zero */
        x64_op(&c->b, OP(0x66, 0x0F, 0x7E), 0, from, global(c, index));
    else
        x64_store64(&c->b, global(c, index), from);
}

/* Lets the run time do an instruction: `params` operands at home, the result (class, or -1 for none) in the first one's place. */
void x64_runtime(sbx_x64 *c, uint32_t opcode, uint32_t params, uint32_t one, uint32_t two, int result)
{
    x64_spill_all(c);
    x64_materialise_top(c, params);
    x64_pop_to(c, c->height - params);
    uint32_t base = c->temps + c->height;
    x64_op(&c->b, 0x8D, W, RDI, x64_slot(base));
    x64_move_constant(&c->b, RAX, opcode);
    x64_move_constant(&c->b, RDX, one);
    x64_move_constant(&c->b, RSI, two);
    x64_mark(c, c->instruction);
    x64_call(&c->b, c->stubs.runtime);
    if (result >= 0)
        x64_push_home(c, (uint8_t)result);
}

void x64_by_runtime(sbx_x64 *c, const x64_row *row)
{
    const sbx_op_info *info = sbx_op_info_of(row->opcode);
    x64_runtime(c, row->opcode, info->param_count, 0, 0, x64_class(info->result));
}

#define ACCESS(name, emitter, operation, rex, bytes) {.opcode = SBX_WASM_##name, .emit = emitter, .op = operation, .flags = rex, .extra = bytes}
const x64_row x64_memory_rows[] = {
    ACCESS(i32_load, load_int, 0x8B, 0, 4), ACCESS(i64_load, load_int, 0x8B, W, 8),
    ACCESS(f32_load, load_float, OP(0xF3, 0x0F, 0x10), 0, 4), ACCESS(f64_load, load_float, OP(0xF2, 0x0F, 0x10), 0, 8),
    ACCESS(i32_load8_s, load_int, OP(0, 0x0F, 0xBE), 0, 1), ACCESS(i32_load8_u, load_int, OP(0, 0x0F, 0xB6), 0, 1),
    ACCESS(i32_load16_s, load_int, OP(0, 0x0F, 0xBF), 0, 2), ACCESS(i32_load16_u, load_int, OP(0, 0x0F, 0xB7), 0, 2),
    ACCESS(i64_load8_s, load_int, OP(0, 0x0F, 0xBE), W, 1), ACCESS(i64_load8_u, load_int, OP(0, 0x0F, 0xB6), 0, 1),
    ACCESS(i64_load16_s, load_int, OP(0, 0x0F, 0xBF), W, 2), ACCESS(i64_load16_u, load_int, OP(0, 0x0F, 0xB7), 0, 2),
    ACCESS(i64_load32_s, load_int, 0x63, W, 4), ACCESS(i64_load32_u, load_int, 0x8B, 0, 4),
    ACCESS(i32_store, store, 0x89, 0, 4), ACCESS(i64_store, store, 0x89, W, 8),
    ACCESS(f32_store, store, OP(0xF3, 0x0F, 0x11), 0, 4), ACCESS(f64_store, store, OP(0xF2, 0x0F, 0x11), 0, 8),
    ACCESS(i32_store8, store, 0x88, BYTE_REG, 1), ACCESS(i32_store16, store, 0x89, 0, 2), ACCESS(i64_store8, store, 0x88, BYTE_REG, 1),
    ACCESS(i64_store16, store, 0x89, 0, 2), ACCESS(i64_store32, store, 0x89, 0, 4),
    {.opcode = SBX_WASM_global_get, .emit = global_get}, {.opcode = SBX_WASM_global_set, .emit = global_set},
    {.emit = NULL},
};
