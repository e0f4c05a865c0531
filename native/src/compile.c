/* Bytes in, image out: decode, validate, lower, write. */
#include "image.h"
#include "lower.h"

/* A compilation may ask for so many bytes of memory per byte of the module, at least the floor. */
enum { ARENA_FACTOR = 64 };
#define ARENA_FLOOR ((size_t)64 << 20)

static sbx_status lower_all(const sbx_module *module, sbx_arena *arena, sbx_lowerer *lowerer, sbx_lowered *lowered, sbx_error *err)
{
    lowered->functions = sbx_arena_alloc(arena, module->code_count ? module->code_count : 1, sizeof *lowered->functions);
    sbx_validator *validator = sbx_validator_new(module);
    sbx_status status = SBX_OK;
    if (!lowered->functions || !validator)
        status = sbx_fail(err, SBX_NO_MEMORY, SBX_NO_OFFSET, "out of memory while compiling");
    for (uint32_t i = 0; i < module->code_count && !status; i++) {
        status = sbx_validate_body(validator, i, arena, err);
        if (!status)
            status = sbx_lower_body(lowerer, i, &lowered->functions[i]);
    }
    if (!status)
        status = sbx_lowerer_finish(lowerer, lowered->functions);
    sbx_validator_free(validator);
    lowered->code = lowerer->code;
    lowered->code_units = lowerer->count;
    lowered->map = lowerer->map;
    lowered->map_bytes = lowerer->map_bytes;
    return status;
}

sbx_status sbx_compile(const uint8_t *bytes, size_t size, const sbx_compile_options *options,
                       uint8_t **image, uint64_t *image_size, sbx_error *err)
{
    sbx_compile_options chosen = options ? *options : (sbx_compile_options){.keep_debug_names = 1};
    if (!chosen.features)
        chosen.features = SBX_FEATURES_SUPPORTED;
    sbx_arena arena;
    sbx_arena_init(&arena, size > (SIZE_MAX - ARENA_FLOOR) / ARENA_FACTOR ? 0 : size * ARENA_FACTOR + ARENA_FLOOR);
    sbx_module *module = NULL;
    sbx_lowerer *lowerer = NULL;
    sbx_lowered lowered = {0};
    sbx_status status = sbx_decode_module(bytes, size, &chosen, &arena, &module, err);
    if (!status)
        status = sbx_validate_module(module, err);
    if (!status) {
        lowerer = sbx_lowerer_new(module, &chosen, err);
        status = lowerer ? lower_all(module, &arena, lowerer, &lowered, err) : SBX_NO_MEMORY;
    }
    if (!status)
        status = sbx_image_write(module, &lowered, &chosen, image, image_size, err);
    sbx_lowerer_free(lowerer);
    sbx_arena_release(&arena);
    return status;
}
