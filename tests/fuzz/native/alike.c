/* What the embedders of both engines do alike: arguments, host functions, hashes. */
#include <string.h>
#include "observe.h"

uint64_t fz_mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * 0x9E3779B97F4A7C15u;
    return hash ^ (hash >> 29);
}

uint64_t fz_hash(const uint8_t *bytes, size_t size)
{
    uint64_t hash = size, word;
    for (; size >= 8; bytes += 8, size -= 8) {
        memcpy(&word, bytes, 8);
        hash = fz_mix(hash, word);
    }
    while (size--)
        hash = fz_mix(hash, *bytes++);
    return hash;
}

uint64_t fz_plain(sbx_valtype type, uint64_t raw)
{
    switch (type) {
    case SBX_I32: return (uint32_t)raw;
    case SBX_F32: return (raw & 0x7FFFFFFF) > 0x7F800000 ? 0x7FC00000 : (uint32_t)raw;
    case SBX_F64: return (raw & INT64_MAX) > 0x7FF0000000000000 ? 0x7FF8000000000000 : raw;
    case SBX_FUNCREF: return raw != 0;
    default: return raw;
    }
}

void fz_arguments(uint32_t call, uint32_t round, const uint8_t *types, uint32_t count, uint64_t *out)
{
    fz_rng rng = {(uint64_t)call << 32 | round};
    for (uint32_t i = 0; i < count; i++)
        out[i] = types[i] == SBX_FUNCREF ? 0 : types[i] == SBX_EXTERNREF ? fz_below(&rng, 4) : fz_number(&rng, types[i]);
}

void fz_host_results(uint32_t import, uint64_t hash, const uint8_t *types, uint32_t count, uint64_t *out)
{
    fz_rng rng = {fz_mix(hash, import)};
    for (uint32_t i = 0; i < count; i++) {
        double whole = (int32_t)fz_below(&rng, 2000) - 1000; /* exact in both widths, and no NaN, which Python would change */
        float single = (float)(whole / 4);
        uint64_t bits = 0;
        switch (types[i]) {
        case SBX_FUNCREF: break;
        case SBX_EXTERNREF: bits = fz_below(&rng, 4); break;
        case SBX_F32: memcpy(&bits, &single, sizeof single); break;
        case SBX_F64: memcpy(&bits, &whole, sizeof whole); break;
        default: bits = fz_number(&rng, types[i]);
        }
        out[i] = bits;
    }
}

uint64_t fz_imported_global(sbx_valtype type)
{
    float single = 1.5f;
    double whole = -2.25;
    uint64_t bits = 0;
    switch (type) {
    case SBX_I32: return 3;
    case SBX_I64: return 0x123456789;
    case SBX_F32: memcpy(&bits, &single, sizeof single); return bits;
    case SBX_F64: memcpy(&bits, &whole, sizeof whole); return bits;
    default: return 0;
    }
}
