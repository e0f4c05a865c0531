/* Bytes in, image out: decode, validate, lower, write. */
#include "disasm.h"
#include "image.h"
#include "lower.h"
#include "x64.h"

#if defined(__x86_64__) && defined(__linux__)
enum { HAS_COMPILED_TIER = 1 };
#else
enum { HAS_COMPILED_TIER = 0 };
#endif

bool sbx_compiled_tier(void) { return HAS_COMPILED_TIER; }

/* A compilation may ask for so many bytes of memory per byte of the module, at least the floor. */
enum { ARENA_FACTOR = 64 };
#define ARENA_FLOOR ((size_t)64 << 20)

/* The executor that the image is made for: one of the two; and its image. */
typedef struct executor { sbx_lowerer *lowerer; sbx_x64 *machine; sbx_image_writer *writer; } executor;

static sbx_status start(executor *x, const sbx_module *module, const sbx_compile_options *options, sbx_error *err)
{
    if (options->compiled && !HAS_COMPILED_TIER)
        return sbx_fail(err, SBX_UNSUPPORTED, SBX_NO_OFFSET, "the compiled tier is not supported on this machine");
    sbx_status status = sbx_image_writer_new(module, options, &x->writer, err);
    if (status)
        return status;
    if (options->compiled)
        x->machine = sbx_x64_new(module, options, sbx_image_writer_room(x->writer), err);
    else
        x->lowerer = sbx_lowerer_new(module, options, err);
    return x->machine || x->lowerer ? SBX_OK : SBX_NO_MEMORY;
}

static sbx_status finish(executor *x, sbx_lowered *lowered)
{
    if (x->machine) {
        sbx_status status = sbx_x64_finish(x->machine);
        lowered->machine_bytes = x->machine->b.size;
        lowered->machine = status ? NULL : sbx_x64_take(x->machine);
        lowered->map = x->machine->map.bytes;
        lowered->map_bytes = x->machine->map.size;
        return status;
    }
    lowered->code = x->lowerer->code;
    lowered->code_units = x->lowerer->count;
    lowered->map = x->lowerer->map.bytes;
    lowered->map_bytes = x->lowerer->map.size;
    return sbx_lowerer_finish(x->lowerer, lowered->functions);
}

static sbx_status lower_all(const sbx_module *module, sbx_arena *arena, executor *x, sbx_lowered *lowered, sbx_error *err)
{
    lowered->functions = sbx_arena_alloc(arena, module->code_count ? module->code_count : 1, sizeof *lowered->functions);
    sbx_validator *validator = sbx_validator_new(module);
    sbx_status status = SBX_OK;
    if (!lowered->functions || !validator)
        status = sbx_fail(err, SBX_NO_MEMORY, SBX_NO_OFFSET, "out of memory while compiling");
    for (uint32_t i = 0; i < module->code_count && !status; i++) {
        status = sbx_validate_body(validator, i, err);
        if (!status)
            status = x->machine ? sbx_x64_body(x->machine, i, &lowered->functions[i]) : sbx_lower_body(x->lowerer, i, &lowered->functions[i]);
    }
    sbx_validator_free(validator);
    if (!status)
        status = finish(x, lowered);
    return status;
}

/* Every compilation of a hostile build is checked; others leave it to tests and continuous integration. */
static sbx_status check_machine_code(const uint8_t *image, uint64_t size, sbx_error *err)
{
#ifdef SBX_HOSTILE
    sbx_image view = {.header = (const sbx_image_header *)(const void *)image, .base = image, .size = size, .fd = -1};
    return sbx_x64_check(&view, err);
#else
    (void)image, (void)size, (void)err;
    return SBX_OK;
#endif
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
    executor x = {0};
    sbx_lowered lowered = {0};
    sbx_status status = sbx_decode_module(bytes, size, &chosen, &arena, &module, err);
    if (!status)
        status = sbx_validate_module(module, err);
    if (!status) {
        status = start(&x, module, &chosen, err);
        if (!status)
            status = lower_all(module, &arena, &x, &lowered, err);
    }
    if (!status)
        status = sbx_image_write(x.writer, &lowered, image, image_size);
    if (!status)
        status = check_machine_code(*image, *image_size, err);
    sbx_image_writer_free(x.writer);
    sbx_lowerer_free(x.lowerer);
    sbx_x64_free(x.machine);
    sbx_arena_release(&arena);
    return status;
}
