/* Integer arithmetic of the compiled tier. */
#include "x64.h"

static bool fits(const x64_entry *e, bool wide)
{
    return e->place == IN_CONST && (!wide || (int64_t)e->bits == (int32_t)e->bits);
}

static void exchange(x64_entry *a, x64_entry *b)
{
    x64_entry swap = *a;
    *a = *b;
    *b = swap;
}

static bool is_pin(const sbx_x64 *c, const x64_entry *e, uint8_t reg)
{
    return e->place == IN_LOCAL && c->local_pin[e->local] == reg;
}

/* Destination of a two-address operation a op b: the hinted pin, unless b lives there; else a writable copy of a. */
static uint8_t destination(sbx_x64 *c, x64_entry *a, x64_entry *b, bool commutative)
{
    if (commutative && (a->place == IN_CONST || (b->place == IN_REG && a->place != IN_REG)))
        exchange(a, b);
    uint8_t pin = x64_hint(c, CLASS_INT);
    if (pin != NO_REG && is_pin(c, b, pin) && !is_pin(c, a, pin)) {
        if (commutative)
            exchange(a, b);
        else
            pin = NO_REG;
    }
    if (pin == NO_REG) {
        return x64_in_temp(c, a);
    }
    x64_into(c, pin, a);
    return pin;
}

/* a + b in the three-address form: nothing to copy. */
static bool add_by_lea(sbx_x64 *c, x64_entry *a, x64_entry *b, bool wide)
{
    uint8_t left, right = NO_REG;
    if (a->place == IN_CONST)
        exchange(a, b);
    if (!x64_is_in_reg(c, a, &left))
        return false;
    if (!fits(b, wide) && !x64_is_in_reg(c, b, &right))
        return false;
    uint8_t pin = x64_hint(c, CLASS_INT);
    uint8_t to = pin != NO_REG ? pin : a->place == IN_REG ? left : b->place == IN_REG ? right : x64_alloc(c, CLASS_INT);
    if (to == left && right == NO_REG)
        x64_alu_constant(&c->b, 0, wide, x64_reg(to), (int32_t)b->bits);
    else if (to == left || to == right)
        x64_op(&c->b, 0x03, wide, to, x64_reg(to == left ? right : left));
    else if (right == NO_REG)
        x64_op(&c->b, 0x8D, wide, to, x64_mem(left, (int32_t)b->bits));
    else
        x64_op(&c->b, 0x8D, wide, to, x64_indexed(left, right, 0, 0));
    x64_finish(c, to);
    return true;
}

/* Of the operations with an immediate form: add 0, or 1, and 4, sub 5, xor 6. Their opcode with a register is 8 * digit + 3. */
static void arithmetic(sbx_x64 *c, const x64_row *row)
{
    uint8_t digit = row->extra;
    bool wide = row->flags & W;
    x64_entry b = x64_take(c), a = x64_take(c);
    if (digit == 0 && add_by_lea(c, &a, &b, wide))
        return;
    uint8_t to = destination(c, &a, &b, digit != 5);
    if (fits(&b, wide))
        x64_alu_constant(&c->b, digit, wide, x64_reg(to), (int32_t)b.bits);
    else
        x64_op(&c->b, 8u * digit + 3, wide, to, x64_as_rm(c, &b));
    x64_finish(c, to);
}

static void multiply(sbx_x64 *c, const x64_row *row)
{
    bool wide = row->flags & W;
    x64_entry b = x64_take(c), a = x64_take(c);
    if (a.place == IN_CONST)
        exchange(&a, &b);
    if (fits(&b, wide)) {
        x64_rm from = x64_as_rm(c, &a);
        uint8_t pin = x64_hint(c, CLASS_INT), to = pin != NO_REG ? pin : a.place == IN_REG ? a.reg : x64_alloc(c, CLASS_INT);
        x64_op(&c->b, 0x69, wide, to, from);
        x64_u32(&c->b, (uint32_t)b.bits);
        x64_finish(c, to);
        return;
    }
    uint8_t to = destination(c, &a, &b, true);
    x64_op(&c->b, OP(0, 0x0F, 0xAF), wide, to, x64_as_rm(c, &b));
    x64_finish(c, to);
}

/* shl 4, shr 5, sar 7, rol 0, ror 1. */
static void shift(sbx_x64 *c, const x64_row *row)
{
    uint8_t digit = row->extra;
    bool wide = row->flags & W;
    x64_entry b = x64_take(c), a = x64_take(c);
    if (b.place != IN_CONST)
        x64_into(c, SCRATCH, &b); /* before a pin that it may live in is written */
    uint8_t pin = x64_hint(c, CLASS_INT), to = pin;
    if (pin == NO_REG)
        to = x64_in_temp(c, &a);
    else
        x64_into(c, pin, &a);
    x64_op(&c->b, b.place == IN_CONST ? 0xC1 : 0xD3, wide, digit, x64_reg(to));
    if (b.place == IN_CONST)
        x64_byte(&c->b, (uint32_t)b.bits & (wide ? 63 : 31));
    x64_finish(c, to);
}

/* Divisor in rcx, dividend in rax, rdx free: what the instruction wants. */
enum { SIGNED = 1, REMAINDER = 2 };
static void divide(sbx_x64 *c, const x64_row *row)
{
    bool is_signed = row->extra & SIGNED, remainder = row->extra & REMAINDER, wide = row->flags & W;
    x64_entry b = x64_take(c), a = x64_take(c);
    bool constant = b.place == IN_CONST;
    int64_t value = wide ? (int64_t)b.bits : (int32_t)b.bits;
    x64_into(c, SCRATCH, &b);
    x64_claim(c, RDX);
    if (c->owned >> RAX & 1)
        x64_claim(c, RAX);
    x64_into(c, RAX, &a);
    c->locked |= 1u << RAX;
    if (!constant || !value) {
        x64_op(&c->b, 0x85, wide, SCRATCH, x64_reg(SCRATCH));
        x64_trap_if(c, CC_E, SBX_TRAP_DIVIDE_BY_ZERO);
    }
    size_t skip = 0;
    if (!is_signed) {
        x64_op(&c->b, 0x33, 0, RDX, x64_reg(RDX));
    } else {
        if (!constant || value == -1) {
            x64_alu_constant(&c->b, 7, wide, x64_reg(SCRATCH), -1);
            size_t ordinary = x64_jcc(&c->b, CC_NE, 0);
            if (remainder) {
                x64_op(&c->b, 0x33, 0, RDX, x64_reg(RDX));
                skip = x64_jmp(&c->b, 0);
            } else { /* negation overflows for the smallest integer alone */
                x64_op(&c->b, 0xF7, wide, 3, x64_reg(RAX));
                x64_trap_if(c, CC_O, SBX_TRAP_INTEGER_OVERFLOW);
                skip = x64_jmp(&c->b, 0);
            }
            x64_patch(&c->b, ordinary, c->b.size);
        }
        if (wide)
            x64_byte(&c->b, 0x48);
        x64_byte(&c->b, 0x99); /* cdq, cqo */
    }
    x64_op(&c->b, 0xF7, wide, is_signed ? 7 : 6, x64_reg(SCRATCH));
    if (skip)
        x64_patch(&c->b, skip, c->b.size);
    x64_push_reg(c, remainder ? RDX : RAX);
}

/* One-operand instructions with a destination of their own. */
static void unary(sbx_x64 *c, const x64_row *row)
{
    uint8_t flags = row->flags;
    x64_entry a = x64_take(c);
    x64_rm from = flags & BYTE_REG ? x64_reg(x64_in_reg(c, &a)) : x64_as_rm(c, &a);
    uint8_t pin = x64_hint(c, CLASS_INT), to = pin != NO_REG ? pin : a.place == IN_REG ? a.reg : x64_alloc(c, CLASS_INT);
    x64_op(&c->b, row->op, flags, to, from);
    x64_finish(c, to);
}

/* Bits counted by an instruction that not every processor has. */
static void count(sbx_x64 *c, const x64_row *row)
{
    if (!(c->cpu & row->extra)) {
        x64_by_runtime(c, row);
        return;
    }
    x64_entry a = x64_take(c);
    x64_rm from = x64_as_rm(c, &a);
    uint8_t to = x64_alloc(c, CLASS_INT); /* another register: these have a false dependence on it, and bits that stay */
    x64_op(&c->b, row->op, row->flags, to, from);
    x64_push_reg(c, to);
}

static void wrap(sbx_x64 *c, const x64_row *row)
{
    (void)row;
    x64_entry a = x64_take(c);
    if (a.place == IN_CONST) {
        x64_push_const(c, CLASS_INT, (uint32_t)a.bits);
        return;
    }
    x64_rm from = x64_as_rm(c, &a);
    uint8_t pin = x64_hint(c, CLASS_INT), to = pin != NO_REG ? pin : a.place == IN_REG ? a.reg : x64_alloc(c, CLASS_INT);
    x64_op(&c->b, 0x8B, 0, to, from);
    x64_finish(c, to);
}

#define BOTH(name, emitter, operation, more)                                                        \
    {.opcode = SBX_WASM_i32_##name, .emit = emitter, .op = operation, .extra = more},               \
    {.opcode = SBX_WASM_i64_##name, .emit = emitter, .op = operation, .extra = more, .flags = W}
const x64_row x64_integer_rows[] = {
    BOTH(add, arithmetic, 0, 0), BOTH(sub, arithmetic, 0, 5), BOTH(and, arithmetic, 0, 4),
    BOTH(or, arithmetic, 0, 1), BOTH(xor, arithmetic, 0, 6), BOTH(mul, multiply, 0, 0),
    BOTH(shl, shift, 0, 4), BOTH(shr_u, shift, 0, 5), BOTH(shr_s, shift, 0, 7), BOTH(rotl, shift, 0, 0), BOTH(rotr, shift, 0, 1),
    BOTH(div_s, divide, 0, SIGNED), BOTH(div_u, divide, 0, 0), BOTH(rem_s, divide, 0, SIGNED | REMAINDER), BOTH(rem_u, divide, 0, REMAINDER),
    BOTH(clz, count, OP(0xF3, 0x0F, 0xBD), CPU_LZCNT), BOTH(ctz, count, OP(0xF3, 0x0F, 0xBC), CPU_BMI1),
    BOTH(popcnt, count, OP(0xF3, 0x0F, 0xB8), CPU_POPCNT),
    {.opcode = SBX_WASM_i32_extend8_s, .emit = unary, .op = OP(0, 0x0F, 0xBE), .flags = BYTE_REG},
    {.opcode = SBX_WASM_i64_extend8_s, .emit = unary, .op = OP(0, 0x0F, 0xBE), .flags = W | BYTE_REG},
    BOTH(extend16_s, unary, OP(0, 0x0F, 0xBF), 0),
    {.opcode = SBX_WASM_i32_wrap_i64, .emit = wrap}, {.opcode = SBX_WASM_i64_extend_i32_u, .emit = wrap},
    {.opcode = SBX_WASM_i64_extend_i32_s, .emit = unary, .op = 0x63, .flags = W},
    {.opcode = SBX_WASM_i64_extend32_s, .emit = unary, .op = 0x63, .flags = W},
    {.emit = NULL},
};
#undef BOTH

/* Comparisons: flags, and the condition code to read them with. */

void x64_test_nonzero(sbx_x64 *c, const x64_entry *e)
{
    uint8_t reg;
    if (x64_is_in_reg(c, e, &reg) || e->place == IN_CONST) {
        reg = x64_in_reg(c, e);
        x64_op(&c->b, 0x85, W, reg, x64_reg(reg));
    } else {
        x64_alu_constant(&c->b, 7, W, x64_as_rm(c, e), 0);
    }
}

/* Of the integer rows eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u, and with the operands exchanged. */
static const uint8_t codes[10] = {CC_E, CC_NE, CC_L, CC_B, CC_G, CC_A, CC_LE, CC_BE, CC_GE, CC_AE};
static const uint8_t swapped[10] = {CC_E, CC_NE, CC_G, CC_A, CC_L, CC_B, CC_GE, CC_AE, CC_LE, CC_BE};

static uint8_t compare_floats(sbx_x64 *c, uint32_t opcode, const x64_entry *left, const x64_entry *right)
{
    bool wide = opcode >= SBX_WASM_f64_eq;
    uint32_t row = opcode - (wide ? SBX_WASM_f64_eq : SBX_WASM_f32_eq); /* eq ne lt gt le ge */
    bool reverse = row == 2 || row == 4;
    uint8_t a = x64_in_reg(c, reverse ? right : left);
    x64_rm b = x64_as_rm(c, reverse ? left : right);
    x64_op(&c->b, OP(wide ? 0x66 : 0, 0x0F, 0x2E), 0, a, b); /* ucomis: unordered sets carry, zero and parity */
    return row == 0 ? CC_FLOAT_EQ : row == 1 ? CC_FLOAT_NE : row < 4 ? CC_A : CC_AE;
}

uint8_t x64_compare(sbx_x64 *c, uint32_t opcode, const x64_entry *left, const x64_entry *right)
{
    if (opcode >= SBX_WASM_f32_eq)
        return compare_floats(c, opcode, left, right);
    bool wide = opcode >= SBX_WASM_i64_eq, turned = false;
    uint32_t row = opcode - (wide ? SBX_WASM_i64_eq : SBX_WASM_i32_eq);
    if (left->place == IN_CONST && right->place != IN_CONST) {
        const x64_entry *swap = left;
        left = right;
        right = swap;
        turned = true;
    }
    uint8_t a, b;
    if (fits(right, wide)) {
        if (!right->bits && x64_is_in_reg(c, left, &a))
            x64_op(&c->b, 0x85, wide, a, x64_reg(a));
        else
            x64_alu_constant(&c->b, 7, wide, x64_as_rm(c, left), (int32_t)right->bits);
    } else if (!x64_is_in_reg(c, left, &a) && x64_is_in_reg(c, right, &b) && left->place != IN_CONST) {
        x64_op(&c->b, 0x39, wide, b, x64_as_rm(c, left));
    } else {
        a = x64_in_reg(c, left);
        x64_op(&c->b, 0x3B, wide, a, x64_as_rm(c, right));
    }
    return turned ? swapped[row] : codes[row];
}

/* A condition as a number. */
uint8_t x64_setcc(sbx_x64 *c, uint8_t cc)
{
    uint8_t to = x64_alloc(c, CLASS_INT);
    bool two = cc >= CC_FLOAT_EQ, equal = cc == CC_FLOAT_EQ;
    x64_op(&c->b, OP(0, 0x0F, 0x90 | (two ? (equal ? CC_E : CC_NE) : cc)), BYTE_REG, 0, x64_reg(to));
    if (two) {
        x64_op(&c->b, OP(0, 0x0F, 0x90 | (equal ? CC_NP : CC_P)), BYTE_REG, 0, x64_reg(SCRATCH));
        x64_op(&c->b, equal ? 0x22 : 0x0A, BYTE_REG, to, x64_reg(SCRATCH));
    }
    x64_op(&c->b, OP(0, 0x0F, 0xB6), BYTE_REG, to, x64_reg(to));
    return to;
}
