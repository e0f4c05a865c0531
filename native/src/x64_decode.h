/* Decoding x86-64: exactly the instruction forms that the compiled tier emits. For the checker (x64_check.c) and the listing. */
#ifndef SBX_X64_DECODE_H
#define SBX_X64_DECODE_H
#include "x64_emit.h"

/* What an instruction does to its first operand, or else. */
typedef enum x64_effect {
    X64_READS,                                   /* nothing is written but flags */
    X64_WRITES,                                  /* the first operand, with a value that nothing is known of beyond its width */
    X64_MOVES, X64_LOADS_ADDRESS, X64_ZERO_EXTENDS, X64_ANDS, X64_ORS, X64_ADDS, X64_SUBTRACTS, X64_SHIFTS_RIGHT, X64_COUNTS,
        X64_CHOOSES,
    X64_SETS_BYTE, X64_COMPARES, X64_MULTIPLIES_WIDE, X64_EXTENDS_SIGN, /* rdx:rax */
    X64_PUSHES, X64_POPS, X64_CALLS, X64_JUMPS, X64_JUMPS_IF, X64_RETURNS, X64_CALLS_INDIRECT, X64_JUMPS_INDIRECT, X64_FILLS,
        X64_BREAKS,
} x64_effect;

typedef struct x64_form {
    uint8_t prefix, map, opcode, span; /* map: 0 one byte, 1 0F, 2 0F38, 3 0F3A,
        4 and 5 the same two with VEX; span: opcodes that differ in a register or condition */
    uint8_t digit;                     /* NO_REG: the field is a register */
    uint8_t effect;
    const char *name, *operands;
} x64_form;

typedef struct x64_instruction {
    const x64_form *form;
    uint8_t length, opcode, prefix, width; /* width: bytes of the general operand: 1, 2, 4, 8 */
    uint8_t reg, third;                    /* the register operand; VEX's */
    x64_rm rm;
    int64_t immediate;                     /* or the distance of a jump */
    bool relative;                         /* rm is [rip + disp] */
} x64_instruction;

/* False for bytes that are no such instruction, or not whole. */
bool x64_decode(const uint8_t *bytes, size_t size, x64_instruction *out);
/* The general register or memory operand that is written first, as a register number; NO_REG when it is memory, a vector
 * register or nothing. */
uint8_t x64_written(const x64_instruction *i);
/* The memory operand is written. */
bool x64_stores(const x64_instruction *i);
/* Bytes that the memory operand covers. */
uint8_t x64_memory_width(const x64_instruction *i);
/* Whether the indirect jump at a place is one through a table, which then begins behind it with so many distances from itself
 * (x64_check.c). */
bool sbx_x64_table(const uint8_t *code, uint32_t size, uint32_t at, uint32_t *entries);
/* Text; `at` is the place of the instruction, for jumps. Returns the length, as snprintf. */
int x64_print(const x64_instruction *i, uint64_t at, char *text, size_t size);
#endif
