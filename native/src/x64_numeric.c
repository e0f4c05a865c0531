/* Integer arithmetic of the compiled tier. */
#include "x64.h"

typedef struct alu { uint8_t opcode, digit; bool commutative; } alu;

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
        c->hint_local = -1;
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

static void binary(sbx_x64 *c, alu op, bool wide)
{
    x64_entry b = x64_take(c), a = x64_take(c);
    if (op.opcode == 0x03 && add_by_lea(c, &a, &b, wide))
        return;
    uint8_t to = destination(c, &a, &b, op.commutative);
    if (fits(&b, wide))
        x64_alu_constant(&c->b, op.digit, wide, x64_reg(to), (int32_t)b.bits);
    else
        x64_op(&c->b, op.opcode, wide, to, x64_as_rm(c, &b));
    x64_finish(c, to);
}

static void multiply(sbx_x64 *c, bool wide)
{
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
static void shift(sbx_x64 *c, uint8_t digit, bool wide)
{
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
static void divide(sbx_x64 *c, bool is_signed, bool remainder, bool wide)
{
    x64_entry b = x64_take(c), a = x64_take(c);
    bool constant = b.place == IN_CONST;
    int64_t value = wide ? (int64_t)b.bits : (int32_t)b.bits;
    x64_into(c, SCRATCH, &b);
    x64_claim(c, RDX);
    if (c->owner[RAX] != X64_NO_ENTRY)
        x64_claim(c, RAX);
    x64_into(c, RAX, &a);
    c->locked |= 1u << RAX;
    c->hint_local = -1;
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
static void unary(sbx_x64 *c, uint32_t op, uint8_t flags)
{
    x64_entry a = x64_take(c);
    x64_rm from = flags & BYTE_REG ? x64_reg(x64_in_reg(c, &a)) : x64_as_rm(c, &a);
    uint8_t pin = x64_hint(c, CLASS_INT), to = pin != NO_REG ? pin : a.place == IN_REG ? a.reg : x64_alloc(c, CLASS_INT);
    x64_op(&c->b, op, flags, to, from);
    x64_finish(c, to);
}

static bool counted(sbx_x64 *c, uint32_t cpu, uint8_t opcode, bool wide)
{
    if (!(c->cpu & cpu))
        return false;
    x64_entry a = x64_take(c);
    x64_rm from = x64_as_rm(c, &a);
    uint8_t to = x64_alloc(c, CLASS_INT); /* another register: these have a false dependence on it, and bits that stay */
    x64_op(&c->b, OP(0xF3, 0x0F, opcode), wide, to, from);
    c->hint_local = -1;
    x64_finish(c, to);
    return true;
}

static void wrap(sbx_x64 *c)
{
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

bool x64_numeric(sbx_x64 *c, uint32_t opcode, const sbx_op_info *info)
{
    static const alu add = {0x03, 0, true}, sub = {0x2B, 5, false}, and = {0x23, 4, true}, or = {0x0B, 1, true}, xor = {0x33, 6, true};
    bool wide = info->params[0] == SBX_I64;
    switch (opcode) {
    case SBX_WASM_i32_add: case SBX_WASM_i64_add: binary(c, add, wide); return true;
    case SBX_WASM_i32_sub: case SBX_WASM_i64_sub: binary(c, sub, wide); return true;
    case SBX_WASM_i32_and: case SBX_WASM_i64_and: binary(c, and, wide); return true;
    case SBX_WASM_i32_or: case SBX_WASM_i64_or: binary(c, or, wide); return true;
    case SBX_WASM_i32_xor: case SBX_WASM_i64_xor: binary(c, xor, wide); return true;
    case SBX_WASM_i32_mul: case SBX_WASM_i64_mul: multiply(c, wide); return true;
    case SBX_WASM_i32_shl: case SBX_WASM_i64_shl: shift(c, 4, wide); return true;
    case SBX_WASM_i32_shr_u: case SBX_WASM_i64_shr_u: shift(c, 5, wide); return true;
    case SBX_WASM_i32_shr_s: case SBX_WASM_i64_shr_s: shift(c, 7, wide); return true;
    case SBX_WASM_i32_rotl: case SBX_WASM_i64_rotl: shift(c, 0, wide); return true;
    case SBX_WASM_i32_rotr: case SBX_WASM_i64_rotr: shift(c, 1, wide); return true;
    case SBX_WASM_i32_div_s: case SBX_WASM_i64_div_s: divide(c, true, false, wide); return true;
    case SBX_WASM_i32_div_u: case SBX_WASM_i64_div_u: divide(c, false, false, wide); return true;
    case SBX_WASM_i32_rem_s: case SBX_WASM_i64_rem_s: divide(c, true, true, wide); return true;
    case SBX_WASM_i32_rem_u: case SBX_WASM_i64_rem_u: divide(c, false, true, wide); return true;
    case SBX_WASM_i32_clz: case SBX_WASM_i64_clz: return counted(c, CPU_LZCNT, 0xBD, wide);
    case SBX_WASM_i32_ctz: case SBX_WASM_i64_ctz: return counted(c, CPU_BMI1, 0xBC, wide);
    case SBX_WASM_i32_popcnt: case SBX_WASM_i64_popcnt: return counted(c, CPU_POPCNT, 0xB8, wide);
    case SBX_WASM_i32_wrap_i64: case SBX_WASM_i64_extend_i32_u: wrap(c); return true;
    case SBX_WASM_i64_extend_i32_s: case SBX_WASM_i64_extend32_s: unary(c, 0x63, W); return true;
    case SBX_WASM_i32_extend8_s: unary(c, OP(0, 0x0F, 0xBE), BYTE_REG); return true;
    case SBX_WASM_i32_extend16_s: unary(c, OP(0, 0x0F, 0xBF), 0); return true;
    case SBX_WASM_i64_extend8_s: unary(c, OP(0, 0x0F, 0xBE), W | BYTE_REG); return true;
    case SBX_WASM_i64_extend16_s: unary(c, OP(0, 0x0F, 0xBF), W); return true;
    default: return false;
    }
}

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
