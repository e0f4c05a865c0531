/* Floating-point arithmetic and conversions of the compiled tier. */
#include "x64.h"

/* Scalar instructions by width: f32 with prefix F3, f64 with F2; packed logic without and with 66. */
#define SCALAR(wide, opcode) OP((wide) ? 0xF2 : 0xF3, 0x0F, opcode)
#define PACKED(wide, opcode) OP((wide) ? 0x66 : 0, 0x0F, opcode)

static bool in_pin(const sbx_x64 *c, const x64_entry *e, uint8_t pin)
{
    return e->place == IN_LOCAL && c->local_pin[e->local] == pin;
}

static void binary(sbx_x64 *c, const x64_row *row)
{
    x64_entry b = x64_take(c), a = x64_take(c);
    uint8_t pin = x64_hint(c, CLASS_FLOAT), to = pin;
    if (pin != NO_REG && in_pin(c, &b, pin) && !in_pin(c, &a, pin))
        pin = NO_REG;
    if (pin == NO_REG) {
        to = x64_in_temp(c, &a);
    } else {
        x64_into(c, pin, &a);
    }
    x64_op(&c->b, row->op, 0, to, x64_as_rm(c, &b));
    x64_finish(c, to);
}

/* min and max (specification 4.3.3): the instruction answers its second operand for NaN and for zeros of either sign. */
static void minimum(sbx_x64 *c, const x64_row *row)
{
    bool maximum = row->extra, wide = row->flags & W;
    x64_entry b = x64_take(c), a = x64_take(c);
    uint8_t to = x64_in_temp(c, &a), other = x64_in_reg(c, &b);
    x64_op(&c->b, PACKED(wide, 0x2E), 0, to, x64_reg(other));
    size_t nan = x64_jcc(&c->b, CC_P, 0), equal = x64_jcc(&c->b, CC_E, 0);
    x64_op(&c->b, SCALAR(wide, maximum ? 0x5F : 0x5D), 0, to, x64_reg(other));
    size_t done = x64_jmp(&c->b, 0);
    x64_patch(&c->b, equal, c->b.size);
    x64_op(&c->b, PACKED(wide, maximum ? 0x54 : 0x56), 0, to, x64_reg(other)); /* and: +0 wins; or: -0 wins */
    size_t equal_done = x64_jmp(&c->b, 0);
    x64_patch(&c->b, nan, c->b.size);
    x64_op(&c->b, SCALAR(wide, 0x58), 0, to, x64_reg(other));
    x64_patch(&c->b, done, c->b.size);
    x64_patch(&c->b, equal_done, c->b.size);
    x64_push_reg(c, to);
}

static void load_mask(sbx_x64 *c, uint8_t xmm, uint64_t mask)
{
    x64_move_constant(&c->b, SCRATCH, mask);
    x64_op(&c->b, OP(0x66, 0x0F, 0x6E), W, xmm, x64_reg(SCRATCH));
}

/* abs: and with all but the sign; neg: exclusive or with the sign. */
static void sign_operation(sbx_x64 *c, const x64_row *row)
{
    uint64_t sign = row->flags & W ? 1ull << 63 : 1ull << 31, mask = row->extra == 0x54 ? sign - 1 : sign;
    x64_entry a = x64_take(c);
    uint8_t to = x64_in_temp(c, &a);
    load_mask(c, XSCRATCH, mask);
    x64_op(&c->b, OP(0, 0x0F, row->extra), 0, to, x64_reg(XSCRATCH)); /* andps, xorps */
    x64_push_reg(c, to);
}

static void copy_sign(sbx_x64 *c, const x64_row *row)
{
    bool wide = row->flags & W;
    x64_entry b = x64_take(c), a = x64_take(c);
    uint8_t to = x64_in_temp(c, &a), sign = x64_in_reg(c, &b);
    load_mask(c, XSCRATCH, wide ? INT64_MAX : INT32_MAX);
    x64_op(&c->b, OP(0, 0x0F, 0x54), 0, to, x64_reg(XSCRATCH));
    x64_op(&c->b, OP(0, 0x0F, 0x55), 0, XSCRATCH, x64_reg(sign)); /* andnps: not mask, and sign */
    x64_op(&c->b, OP(0, 0x0F, 0x56), 0, to, x64_reg(XSCRATCH));
    x64_push_reg(c, to);
}

/* One operand to a float destination. With CLEAR the destination's old value must not be waited for. */
enum { CLEAR = 1 };
static void to_float(sbx_x64 *c, const x64_row *row)
{
    x64_entry a = x64_take(c);
    x64_rm from = x64_as_rm(c, &a);
    uint8_t pin = x64_hint(c, CLASS_FLOAT), to = pin;
    if (pin == NO_REG)
        to = a.place == IN_REG && a.cls == CLASS_FLOAT ? a.reg : x64_alloc(c, CLASS_FLOAT);
    bool same = !from.memory && from.base == to;
    if (row->extra == CLEAR && !same)
        x64_op(&c->b, OP(0, 0x0F, 0x57), 0, to, x64_reg(to));
    x64_op(&c->b, row->op, row->flags, to, from);
    x64_finish(c, to);
}

static void round_to(sbx_x64 *c, const x64_row *row)
{
    if (!(c->cpu & CPU_SSE41)) {
        x64_by_runtime(c, row);
        return;
    }
    x64_entry a = x64_take(c);
    x64_rm from = x64_as_rm(c, &a);
    uint8_t to = a.place == IN_REG ? a.reg : x64_alloc(c, CLASS_FLOAT);
    x64_op(&c->b, OP(0x66, 0x0F3A, row->flags & W ? 0x0B : 0x0A), 0, to, from);
    x64_byte(&c->b, row->extra | 8); /* no precision exception */
    x64_push_reg(c, to);
}

static void to_int(sbx_x64 *c, const x64_row *row)
{
    uint8_t flags = row->flags;
    x64_entry a = x64_take(c);
    if (a.place != IN_REG && a.place != IN_LOCAL) { /* bits at home or constant: an integer load does it */
        uint8_t reg = x64_alloc(c, CLASS_INT);
        a.cls = CLASS_INT;
        if (a.place == IN_CONST || flags & W)
            x64_into(c, reg, &a);
        else
            x64_op(&c->b, 0x8B, 0, reg, x64_slot(a.home));
        x64_push_reg(c, reg);
        return;
    }
    uint8_t from = x64_in_reg(c, &a), to = x64_alloc(c, CLASS_INT);
    x64_op(&c->b, OP(0x66, 0x0F, 0x7E), flags, from, x64_reg(to)); /* movd, movq */
    x64_push_reg(c, to);
}

/* Truncation that traps: through a 64-bit integer, which the instruction makes INT64_MIN of when the value does not fit. */
enum { SIGNED = 1, LONG = 2 };
static void truncate(sbx_x64 *c, const x64_row *row)
{
    bool wide = row->flags & W, is_signed = row->extra & SIGNED, to_long = row->extra & LONG;
    x64_entry a = x64_take(c);
    uint8_t from = x64_in_reg(c, &a), to = x64_alloc(c, CLASS_INT);
    x64_op(&c->b, SCALAR(wide, 0x2C), W, to, x64_reg(from));
    if (to_long) {
        x64_move_constant(&c->b, SCRATCH, (uint64_t)INT64_MIN);
        x64_op(&c->b, 0x3B, W, to, x64_reg(SCRATCH));
    } else {
        x64_op(&c->b, is_signed ? 0x63 : 0x8B, is_signed ? W : 0, SCRATCH, x64_reg(to)); /* what an i32 can hold of it */
        x64_op(&c->b, 0x3B, W, to, x64_reg(SCRATCH));
    }
    size_t jump = x64_jcc(&c->b, to_long ? CC_E : CC_NE, 0);
    x64_cold_path(c, COLD_TRUNCATE, (from - XMM0) | (wide ? 32u : 0) | (to_long ? 64u : 0), jump, c->b.size);
    if (is_signed && !to_long)
        x64_op(&c->b, 0x8B, 0, to, x64_reg(to)); /* zero-extended, as all i32 are */
    x64_push_reg(c, to);
}

/* Why a truncation failed: NaN, or out of range; or it did not, for the least i64 is a number too. */
void x64_cold_truncate(sbx_x64 *c, const x64_cold *cold)
{
    uint8_t from = XMM(cold->value & 31);
    bool wide = cold->value & 32;
    load_mask(c, XSCRATCH, wide ? 0xC3E0000000000000u : 0xDF000000u);
    x64_op(&c->b, PACKED(wide, 0x2E), 0, from, x64_reg(XSCRATCH));
    size_t nan = x64_jcc(&c->b, CC_P, 0);
    if (cold->value & 64)
        x64_patch(&c->b, x64_jcc(&c->b, CC_E, 0), cold->back);
    x64_move_constant(&c->b, RAX, SBX_TRAP_INTEGER_OVERFLOW);
    x64_mark(c, cold->instruction);
    x64_call(&c->b, c->stubs.trap);
    x64_patch(&c->b, nan, c->b.size);
    x64_move_constant(&c->b, RAX, SBX_TRAP_INVALID_CONVERSION);
    x64_mark(c, cold->instruction);
    x64_call(&c->b, c->stubs.trap);
}

#define BOTH(name, emitter, opcode_byte, more)                                                         \
    {.opcode = SBX_WASM_f32_##name, .emit = emitter, .op = SCALAR(false, opcode_byte), .extra = more}, \
    {.opcode = SBX_WASM_f64_##name, .emit = emitter, .op = SCALAR(true, opcode_byte), .extra = more, .flags = W}
#define CONVERT(name, wide_float, opcode_byte, wide_int) \
    {.opcode = SBX_WASM_##name, .emit = to_float, .op = SCALAR(wide_float, opcode_byte), .flags = wide_int, .extra = CLEAR}
const x64_row x64_float_rows[] = {
    BOTH(add, binary, 0x58, 0), BOTH(sub, binary, 0x5C, 0), BOTH(mul, binary, 0x59, 0), BOTH(div, binary, 0x5E, 0),
    BOTH(min, minimum, 0, false), BOTH(max, minimum, 0, true), BOTH(copysign, copy_sign, 0, 0),
    BOTH(abs, sign_operation, 0, 0x54), BOTH(neg, sign_operation, 0, 0x57),
    BOTH(nearest, round_to, 0, 0), BOTH(floor, round_to, 0, 1), BOTH(ceil, round_to, 0, 2), BOTH(trunc, round_to, 0, 3),
    CONVERT(f32_sqrt, false, 0x51, 0), CONVERT(f64_sqrt, true, 0x51, 0),
    CONVERT(f64_promote_f32, false, 0x5A, 0), CONVERT(f32_demote_f64, true, 0x5A, 0),
    CONVERT(f32_convert_i32_s, false, 0x2A, 0), CONVERT(f64_convert_i32_s, true, 0x2A, 0),
    CONVERT(f32_convert_i64_s, false, 0x2A, W), CONVERT(f64_convert_i64_s, true, 0x2A, W),
    /* An i32 is zero-extended: as a 64-bit integer it is the unsigned number. */
    CONVERT(f32_convert_i32_u, false, 0x2A, W), CONVERT(f64_convert_i32_u, true, 0x2A, W),
    {.opcode = SBX_WASM_f32_reinterpret_i32, .emit = to_float, .op = OP(0x66, 0x0F, 0x6E)},
    {.opcode = SBX_WASM_f64_reinterpret_i64, .emit = to_float, .op = OP(0x66, 0x0F, 0x6E), .flags = W},
    {.opcode = SBX_WASM_i32_reinterpret_f32, .emit = to_int}, {.opcode = SBX_WASM_i64_reinterpret_f64, .emit = to_int, .flags = W},
    {.opcode = SBX_WASM_i32_trunc_f32_s, .emit = truncate, .extra = SIGNED},
    {.opcode = SBX_WASM_i32_trunc_f64_s, .emit = truncate, .extra = SIGNED, .flags = W},
    {.opcode = SBX_WASM_i32_trunc_f32_u, .emit = truncate}, {.opcode = SBX_WASM_i32_trunc_f64_u, .emit = truncate, .flags = W},
    {.opcode = SBX_WASM_i64_trunc_f32_s, .emit = truncate, .extra = SIGNED | LONG},
    {.opcode = SBX_WASM_i64_trunc_f64_s, .emit = truncate, .extra = SIGNED | LONG, .flags = W},
    {.emit = NULL},
};
