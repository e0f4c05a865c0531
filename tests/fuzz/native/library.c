/* What Python calls of the observer's library; nothing else is visible. */
#include <stdlib.h>
#include <string.h>
#include "observe.h"

#define VISIBLE __attribute__((visibility("default")))

static fz_observation observation;
static fz_bytes made;

VISIBLE const fz_observation *fuzz_observe(const uint8_t *bytes, size_t size, uint32_t flags, int64_t fuel)
{
    fz_observe(bytes, size, flags, fuel, &observation);
    return &observation;
}

/* These three answer bytes that hold until the next of them. */
VISIBLE const uint8_t *fuzz_module(uint64_t seed, size_t *size)
{
    made.size = 0;
    fz_module(seed, &made);
    *size = made.size;
    return made.data;
}

VISIBLE const uint8_t *fuzz_mutant(uint64_t seed, const uint8_t *bytes, size_t size, const uint8_t *donor, size_t donor_size, size_t *out)
{
    fz_rng rng = {seed};
    made.size = 0;
    fz_mutate(&rng, bytes, size, donor, donor_size, &made);
    *out = made.size;
    return made.data;
}

VISIBLE const uint8_t *fuzz_canonical(const uint8_t *bytes, size_t size, size_t *out)
{
    made.size = 0;
    fz_canonical(bytes, size, &made);
    *out = made.size;
    return made.data;
}

VISIBLE uint64_t fuzz_hash(const uint8_t *bytes, size_t size) { return fz_hash(bytes, size); }
VISIBLE uint64_t fuzz_mix(uint64_t hash, uint64_t value) { return fz_mix(hash, value); }

VISIBLE void fuzz_arguments(uint32_t call, uint32_t round, const uint8_t *types, uint32_t count, uint64_t *out)
{
    fz_arguments(call, round, types, count, out);
}

VISIBLE void fuzz_host_results(uint32_t import, uint64_t hash, const uint8_t *types, uint32_t count, uint64_t *out)
{
    fz_host_results(import, hash, types, count, out);
}

VISIBLE uint64_t fuzz_imported_global(uint32_t type) { return fz_imported_global(type); }
VISIBLE const char *fuzz_trap(uint32_t trap) { return sbx_trap_message(trap); }
VISIBLE const char *fuzz_status(uint32_t status) { return sbx_status_text(status); }
