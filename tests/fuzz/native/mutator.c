/* libFuzzer's custom mutator and cross-over over modules; and the fault handler, before libFuzzer looks for one. */
#include "mutator.h"
#include <string.h>
#include "call_engine.h"
#include "fuzz.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    return sbx_install_fault_handler();
}

static size_t take(fz_bytes *made, uint8_t *out, size_t max_size, size_t otherwise)
{
    size_t size = made->size && made->size <= max_size ? made->size : 0;
    if (size)
        memcpy(out, made->data, size);
    fz_free(made);
    return size ? size : otherwise;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
    fz_rng rng = {seed};
    fz_bytes made = {0};
    if (fz_chance(&rng, 10))
        return LLVMFuzzerMutate(data, size, max_size);
    fz_mutate(&rng, data, size, NULL, 0, &made);
    return take(&made, data, max_size, size);
}

size_t LLVMFuzzerCustomCrossOver(const uint8_t *data1, size_t size1, const uint8_t *data2, size_t size2, uint8_t *out,
                                 size_t max_out, unsigned int seed)
{
    fz_rng rng = {seed};
    fz_bytes made = {0};
    fz_mutate(&rng, data1, size1, data2, size2, &made);
    return take(&made, out, max_out, 0);
}
