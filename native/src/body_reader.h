/* Reading validated bodies: LEB128 and immediates without any check, for the executors' compilers. */
#ifndef SBX_BODY_READER_H
#define SBX_BODY_READER_H
#include "module.h"
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

enum { LABEL_FUNCTION, LABEL_BLOCK, LABEL_LOOP, LABEL_IF, LABEL_ELSE }; /* the executors' labels */

/* The type of a block. */
typedef struct sbx_block_type {
    uint32_t param_count, result_count;
    const sbx_valtype *params, *results; /* NULL where `single` says it all */
    sbx_valtype single;
} sbx_block_type;

sbx_block_type sbx_pass_block_type(const uint8_t **at, const sbx_module *module);
static inline sbx_valtype sbx_block_result(const sbx_block_type *type, uint32_t i) { return type->results ? type->results[i] : type->single; }

/* Slots of a function's frame in either executor: parameters, locals, spares, a home for each height of the operand stack. */
sbx_status sbx_frame_slots(const sbx_module *module, uint32_t code_index, uint32_t *slots, sbx_error *err);
/* What all code up to the end of a function may measure; what hostile modules do with many values is bounded, also by many small functions. */
size_t sbx_code_bound(const sbx_module *module, uint32_t code_index);
/* Records that it measures more. */
sbx_status sbx_code_unbounded(const sbx_module *module, uint32_t code_index, sbx_error *err);

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
