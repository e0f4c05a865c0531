/* Fuzz target: decoding and validating. Whatever the bytes are, the answer is a verdict with words, the same twice, and more
 * features never make a valid module invalid. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "mutator.h"
#include "module.h"

static sbx_status judge(const uint8_t *bytes, size_t size, uint32_t features, sbx_error *err)
{
    sbx_compile_options options = {.features = features, .keep_debug_names = 1};
    sbx_arena arena;
    sbx_module *module = NULL;
    sbx_arena_init(&arena, ((size_t)64 << 20) + size * 64);
    sbx_status status = sbx_decode_module(bytes, size, &options, &arena, &module, err);
    if (!status)
        status = sbx_validate_module(module, err);
    sbx_validator *validator = status ? NULL : sbx_validator_new(module);
    for (uint32_t i = 0; validator && !status && i < module->code_count; i++)
        status = sbx_validate_body(validator, i, err);
    sbx_validator_free(validator);
    sbx_arena_release(&arena);
    return status;
}

static void fail(const char *what, const sbx_error *first, const sbx_error *second)
{
    fprintf(stderr, "FUZZ: %s: %s / %s\n", what, first->message, second->message);
    abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    sbx_error first = {0}, second = {0};
    sbx_status status = judge(bytes, size, SBX_FEATURES_SUPPORTED, &first);
    if (status && (status != first.status || !first.message[0] || (first.offset != SBX_NO_OFFSET && first.offset > size)))
        fail("a refusal without words, or with an offset beyond the module", &first, &first);
    if (judge(bytes, size, SBX_FEATURES_SUPPORTED, &second) != status || first.offset != second.offset || strcmp(first.message, second.message) != 0)
        fail("two verdicts", &first, &second);
    if (status) {
        second = (sbx_error){0};
        if (!judge(bytes, size, SBX_FEATURE_BIT(MUTABLE_GLOBAL), &second))
            fail("valid in an older version only", &first, &second);
    }
    return 0;
}
