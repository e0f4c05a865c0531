/* Passing over parts of validated bodies. */
#include "body_reader.h"

void sbx_pass_immediates(const uint8_t **at, uint8_t kind)
{
    switch (kind) {
    case SBX_IMM_BLOCK: case SBX_IMM_I32: case SBX_IMM_I64: case SBX_IMM_REFTYPE: sbx_leb_s64(at); break;
    case SBX_IMM_F32: *at += 4; break;
    case SBX_IMM_F64: *at += 8; break;
    case SBX_IMM_LABEL_TABLE: case SBX_IMM_TYPES:
        for (uint32_t n = sbx_leb_u32(at) + (kind == SBX_IMM_LABEL_TABLE); n; n--)
            sbx_leb_s64(at);
        break;
    case SBX_IMM_MEMARG: sbx_leb_u32(at); sbx_leb_u64(at); break;
    case SBX_IMM_TYPE_TABLE: case SBX_IMM_MEMORY_MEMORY: case SBX_IMM_DATA_MEMORY: case SBX_IMM_ELEM_TABLE: case SBX_IMM_TABLE_TABLE:
        sbx_leb_u32(at);
        sbx_leb_u32(at);
        break;
    case SBX_IMM_NONE: break;
    default: sbx_leb_u32(at);
    }
}

void sbx_pass_dead_code(const uint8_t **at)
{
    for (uint32_t nested = 0;;) {
        const uint8_t *instruction = *at;
        uint32_t opcode = sbx_read_opcode(at);
        if ((opcode == SBX_WASM_end || opcode == SBX_WASM_else) && !nested) {
            *at = instruction;
            return;
        }
        nested += opcode == SBX_WASM_block || opcode == SBX_WASM_loop || opcode == SBX_WASM_if;
        nested -= opcode == SBX_WASM_end;
        sbx_pass_immediates(at, sbx_op_info_of(opcode)->imm);
    }
}
