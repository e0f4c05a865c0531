/* Passing over parts of validated bodies, and what bounds the code that is made of them. */
#include "body_reader.h"
#include "image.h"

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

sbx_block_type sbx_pass_block_type(const uint8_t **at, const sbx_module *module)
{
    uint8_t first = **at;
    if (first == 0x40) {
        ++*at;
        return (sbx_block_type){0};
    }
    if (first & 0x40 && !(first & 0x80)) { /* a negative one-byte s33: a value type */
        ++*at;
        return (sbx_block_type){.result_count = 1, .single = first};
    }
    const sbx_functype *type = &module->types[(uint32_t)sbx_leb_s64(at)];
    return (sbx_block_type){.param_count = type->params, .result_count = type->results, .params = type->types, .results = type->types + type->params};
}

enum { EXPANSION = 64, EXPANSION_FLOOR = 1 << 20, SPARE_SLOTS = 2 };

sbx_status sbx_frame_slots(const sbx_module *module, uint32_t code_index, uint32_t *slots, sbx_error *err)
{
    uint32_t function = module->imported_functions + code_index;
    const sbx_functype *type = &module->types[module->functions[function]];
    const sbx_code *code = &module->code[code_index];
    uint64_t frame = (uint64_t)type->params + code->local_count + code->max_height + SPARE_SLOTS;
    if (frame < type->results)
        frame = type->results;
    *slots = (uint32_t)frame;
    if (frame <= SBX_MAX_FRAME_SLOTS)
        return SBX_OK;
    return sbx_fail(err, SBX_MODULE_LIMIT, code->offset, "function %u needs a frame of %llu slots, at most %u are possible",
                    function, (unsigned long long)frame, SBX_MAX_FRAME_SLOTS);
}

size_t sbx_code_bound(const sbx_module *module, uint32_t code_index)
{
    return EXPANSION_FLOOR + (size_t)(module->code[code_index].end - module->code[0].offset) * EXPANSION;
}

sbx_status sbx_code_unbounded(const sbx_module *module, uint32_t code_index, sbx_error *err)
{
    return sbx_fail(err, SBX_MODULE_LIMIT, module->code[code_index].offset, "the code up to function %u grows more than %d times when compiled",
                    module->imported_functions + code_index, EXPANSION);
}
