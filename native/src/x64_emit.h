/* x86-64 encoding: registers, operands, one emitter for every instruction form that the compiled tier uses. */
#ifndef SBX_X64_EMIT_H
#define SBX_X64_EMIT_H
#include <string.h>
#include "arena.h"
#include "types.h"

/* General registers 0-15, vector registers 16-31. */
enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15, XMM0 };
#define XMM(n) (XMM0 + (n))
#define NO_REG 0xFF

/* Condition codes as in jcc; the two that floats need beyond them. */
enum { CC_O, CC_NO, CC_B, CC_AE, CC_E, CC_NE, CC_BE, CC_A, CC_S, CC_NS, CC_P, CC_NP, CC_L, CC_GE, CC_LE, CC_G, CC_FLOAT_EQ, CC_FLOAT_NE };

/* Opcodes: mandatory prefix << 24 | escape << 8 | opcode. */
#define OP(prefix, escape, opcode) ((uint32_t)(prefix) << 24 | (uint32_t)(escape) << 8 | (opcode))
enum { W = 1, BYTE_REG = 2 }; /* flags: 64-bit operands; the register operand is a byte register */

/* Machine code, behind `lead` bytes of its block that the image writer fills. */
typedef struct x64_buffer { uint8_t *bytes; size_t size, capacity, lead; bool failed; } x64_buffer;

/* A register or memory operand; index NO_REG = none. */
typedef struct x64_rm { bool memory; uint8_t base, index, scale; int32_t disp; } x64_rm;

static inline x64_rm x64_reg(uint8_t reg) { return (x64_rm){.base = reg}; }
static inline x64_rm x64_mem(uint8_t base, int32_t disp) { return (x64_rm){.memory = true, .base = base, .index = NO_REG, .disp = disp}; }
static inline x64_rm x64_indexed(uint8_t base, uint8_t index, uint8_t scale, int32_t disp)
{
    return (x64_rm){true, base, index, scale, disp};
}

bool x64_more_room(x64_buffer *b, size_t bytes);
static inline bool x64_room(x64_buffer *b, size_t bytes)
{
    return SBX_LIKELY(b->capacity - b->size >= bytes) || x64_more_room(b, bytes);
}

static inline void x64_bytes(x64_buffer *b, const void *bytes, size_t n)
{
    if (!x64_room(b, n))
        return;
    memcpy(b->bytes + b->size, bytes, n);
    b->size += n;
}
static inline void x64_byte(x64_buffer *b, uint32_t value)
{
    if (x64_room(b, 1))
        b->bytes[b->size++] = (uint8_t)value;
}
static inline void x64_u32(x64_buffer *b, uint32_t value) { x64_bytes(b, &value, 4); }
static inline void x64_u64(x64_buffer *b, uint64_t value) { x64_bytes(b, &value, 8); }

/* Addressing bytes; the displacement is written whole, and counts as far as it is needed. */
static inline uint8_t *x64_modrm(uint8_t *out, uint8_t reg, x64_rm m)
{
    uint8_t r = (uint8_t)((reg & 7) << 3), base = m.base & 7;
    if (!m.memory) {
        *out = 0xC0 | r | base;
        return out + 1;
    }
    bool small = m.disp == (int8_t)m.disp, none = !m.disp && base != RBP;
    uint8_t mode = none ? 0 : small ? 0x40 : 0x80;
    if (m.index != NO_REG || base == RSP) {
        *out++ = mode | r | 4;
        *out++ = (uint8_t)(m.scale << 6 | (m.index == NO_REG ? 4 : m.index & 7) << 3 | base);
    } else {
        *out++ = mode | r | base;
    }
    memcpy(out, &m.disp, 4);
    return out + (none ? 0 : small ? 1 : 4);
}

/* One instruction: `reg` is a register or an opcode extension (/digit). Inlined, for most of it is known where it is called. */
static inline __attribute__((always_inline)) void x64_op(x64_buffer *b, uint32_t op, uint8_t flags, uint8_t reg, x64_rm m)
{
    if (!x64_room(b, 24))
        return;
    uint8_t *start = b->bytes + b->size, *out = start;
    if (op >> 24)
        *out++ = (uint8_t)(op >> 24);
    uint8_t rex = (flags & W ? 8 : 0) | (reg & 8) >> 1 | (m.memory && m.index != NO_REG ? (m.index & 8) >> 2 : 0) | (m.base & 8) >> 3;
    bool forced = flags & BYTE_REG && ((reg >= RSP && reg <= RDI) || (!m.memory && m.base >= RSP && m.base <= RDI));
    *out = 0x40 | rex;
    out += rex || forced;
    if (op & 0xFF0000)
        *out++ = (uint8_t)(op >> 16);
    if (op & 0xFF00)
        *out++ = (uint8_t)(op >> 8);
    *out++ = (uint8_t)op;
    b->size += (size_t)(x64_modrm(out, reg, m) - start);
}

/* Register to register and constant moves. */
static inline void x64_move(x64_buffer *b, uint8_t to, uint8_t from)
{
    if (to == from)
        return;
    if (to < XMM0 && from < XMM0)
        x64_op(b, 0x8B, W, to, x64_reg(from));
    else
        x64_op(b, OP(0, 0x0F, 0x28), 0, to, x64_reg(from)); /* movaps */
}

static inline void x64_move_constant(x64_buffer *b, uint8_t to, uint64_t value)
{
    if (value <= UINT32_MAX) {
        if (to & 8)
            x64_byte(b, 0x41);
        x64_byte(b, 0xB8 | (to & 7));
        x64_u32(b, (uint32_t)value);
    } else if ((int64_t)value == (int32_t)value) {
        x64_op(b, 0xC7, W, 0, x64_reg(to));
        x64_u32(b, (uint32_t)value);
    } else {
        x64_byte(b, 0x48 | (to & 8 ? 1 : 0));
        x64_byte(b, 0xB8 | (to & 7));
        x64_u64(b, value);
    }
}

static inline void x64_load64(x64_buffer *b, uint8_t to, x64_rm m)
{
    if (to < XMM0)
        x64_op(b, 0x8B, W, to, m);
    else
        x64_op(b, OP(0xF3, 0x0F, 0x7E), 0, to, m); /* movq */
}

static inline void x64_store64(x64_buffer *b, x64_rm m, uint8_t from)
{
    if (from < XMM0)
        x64_op(b, 0x89, W, from, m);
    else
        x64_op(b, OP(0x66, 0x0F, 0xD6), 0, from, m);
}

/* add 0, or 1, and 4, sub 5, xor 6, cmp 7 with an immediate. */
static inline void x64_alu_constant(x64_buffer *b, uint8_t digit, uint8_t flags, x64_rm m, int32_t value)
{
    bool small = value >= -128 && value <= 127;
    x64_op(b, small ? 0x83 : 0x81, flags, digit, m);
    if (small)
        x64_byte(b, (uint32_t)value);
    else
        x64_u32(b, (uint32_t)value);
}

/* Jumps and calls with a 32-bit distance; return the field's place. */
static inline size_t x64_jcc(x64_buffer *b, uint8_t cc, uint32_t field)
{
    x64_byte(b, 0x0F);
    x64_byte(b, 0x80 | cc);
    x64_u32(b, field);
    return b->size - 4;
}
static inline size_t x64_jmp(x64_buffer *b, uint32_t field)
{
    x64_byte(b, 0xE9);
    x64_u32(b, field);
    return b->size - 4;
}
static inline size_t x64_call(x64_buffer *b, size_t target)
{
    x64_byte(b, 0xE8);
    x64_u32(b, (uint32_t)(target - (b->size + 4)));
    return b->size - 4;
}
static inline void x64_patch(x64_buffer *b, size_t field, size_t target)
{
    uint32_t distance = (uint32_t)(target - (field + 4));
    if (!b->failed)
        memcpy(b->bytes + field, &distance, 4);
}
static inline void x64_push(x64_buffer *b, uint8_t reg)
{
    if (reg & 8)
        x64_byte(b, 0x41);
    x64_byte(b, 0x50 | (reg & 7));
}
static inline void x64_pop(x64_buffer *b, uint8_t reg)
{
    if (reg & 8)
        x64_byte(b, 0x41);
    x64_byte(b, 0x58 | (reg & 7));
}
#endif
