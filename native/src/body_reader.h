/* Reading validated bodies: LEB128 and immediates without any check, for the executors' compilers. */
#ifndef SBX_BODY_READER_H
#define SBX_BODY_READER_H
#include "wasm_ops.h"

static inline uint64_t sbx_leb_u64(const uint8_t **at)
{
    if (!(**at & 0x80)) /* nearly always */
        return *(*at)++;
    uint64_t value = 0;
    for (uint32_t shift = 0;; shift += 7) {
        uint8_t byte = *(*at)++;
        value |= (uint64_t)(byte & 0x7F) << shift;
        if (!(byte & 0x80) || shift > 56)
            return value;
    }
}

static inline uint32_t sbx_leb_u32(const uint8_t **at) { return (uint32_t)sbx_leb_u64(at); }

static inline int64_t sbx_leb_s64(const uint8_t **at)
{
    if (!(**at & 0x80))
        return (int64_t)((uint64_t)*(*at)++ << 57) >> 57;
    uint64_t value = 0;
    for (uint32_t shift = 0;; shift += 7) {
        uint8_t byte = *(*at)++;
        value |= (uint64_t)(byte & 0x7F) << shift;
        if (!(byte & 0x80) || shift > 56)
            return (int64_t)(shift < 57 && (byte & 0x40) ? value | ~0ull << (shift + 7) : value);
    }
}

enum { SBX_PREFIX_FC = 0xFC };

/* The opcode, prefixes folded in as in wasm_ops.h. */
static inline uint32_t sbx_read_opcode(const uint8_t **at)
{
    uint32_t opcode = *(*at)++;
    return opcode == SBX_PREFIX_FC ? SBX_PREFIX_FC << 8 | sbx_leb_u32(at) : opcode;
}

/* Passes the immediates of a kind (sbx_op_immediate). */
void sbx_pass_immediates(const uint8_t **at, uint8_t kind);
/* Passes what is never reached, up to the `else` or `end` of the current block. */
void sbx_pass_dead_code(const uint8_t **at);
/* Fuel counts every instruction but block, loop, else, end and nop. */
static inline bool sbx_costs_nothing(uint32_t opcode)
{
    return opcode == SBX_WASM_nop || opcode == SBX_WASM_block || opcode == SBX_WASM_loop || opcode == SBX_WASM_else || opcode == SBX_WASM_end;
}
#endif
