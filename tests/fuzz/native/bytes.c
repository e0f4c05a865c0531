/* Randomness, growing bytes, LEB128, and interesting numbers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "fuzz.h"

uint64_t fz_next(fz_rng *rng)
{
    uint64_t x = rng->state += 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

uint32_t fz_below(fz_rng *rng, uint32_t bound) { return bound ? (uint32_t)((fz_next(rng) >> 32) * bound >> 32) : 0; }

bool fz_chance(fz_rng *rng, uint32_t percent) { return fz_below(rng, 100) < percent; }

static const uint64_t edges[] = {
    0, 1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 33, 63, 64, 100, 127, 128, 129, 255, 256, 32767, 32768, 65527, 65528, 65532, 65535, 65536,
    0x7FFFFFFF, 0x80000000, 0x80000001, 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFF80, 0xFFFF8000, 0x12345678,
    /* from here on beyond 32 bits */
    1ull << 32, (1ull << 32) + 1, (1ull << 33) - 1, 1ull << 62, (1ull << 63) - 1, 1ull << 63, (1ull << 63) + 1, ~0ull, ~0ull - 1,
    ~0ull << 31, ~0ull << 32, (~0ull << 31) - 1, ~127ull, 0x0123456789ABCDEF,
};

static const double doubles[] = {
    0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, -1.5, 3.0, 0.1, 1e10, -1e10, 1e-10, 255.0, 65536.0, 2147483647.0, 2147483648.0,
    -2147483648.0, -2147483649.0, 4294967295.0, 4294967296.0, 9223372036854775807.0, -9223372036854775808.0,
    18446744073709551615.0, 8388607.5, 4503599627370495.5, 1.401298464324817e-45, 1.1754943508222875e-38,
    3.4028234663852886e38, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 1.0 / 0.0, -1.0 / 0.0, 0.0 / 0.0,
};

uint64_t fz_number(fz_rng *rng, sbx_valtype type)
{
    bool narrow = type == SBX_I32 || type == SBX_F32;
    if (fz_chance(rng, 25))
        return narrow ? (uint32_t)fz_next(rng) : fz_next(rng);
    if (type == SBX_I32 || type == SBX_I64) {
        uint64_t value = edges[fz_below(rng, sizeof edges / sizeof *edges)];
        return narrow ? (uint32_t)value : value;
    }
    double value = doubles[fz_below(rng, sizeof doubles / sizeof *doubles)];
    float single = (float)value;
    uint32_t half;
    uint64_t whole;
    memcpy(&half, &single, sizeof half);
    memcpy(&whole, &value, sizeof whole);
    return narrow ? half : whole;
}

void fz_append(fz_bytes *out, const void *data, size_t size)
{
    if (out->room - out->size < size) {
        size_t room = out->room * 2 + size + 256;
        uint8_t *grown = realloc(out->data, room);
        if (!grown) {
            fprintf(stderr, "fuzz: no memory for %zu bytes\n", room);
            abort();
        }
        out->data = grown;
        out->room = room;
    }
    if (size)
        memcpy(out->data + out->size, data, size);
    out->size += size;
}

void fz_put(fz_bytes *out, uint8_t byte) { fz_append(out, &byte, 1); }

void fz_unsigned(fz_bytes *out, uint64_t value)
{
    for (; value > 0x7F; value >>= 7)
        fz_put(out, (uint8_t)(value | 0x80));
    fz_put(out, (uint8_t)value);
}

void fz_signed(fz_bytes *out, int64_t value)
{
    for (; value < -64 || value > 63; value >>= 7)
        fz_put(out, (uint8_t)((value & 0x7F) | 0x80));
    fz_put(out, (uint8_t)(value & 0x7F));
}

void fz_opcode(fz_bytes *out, uint32_t opcode)
{
    if (opcode > 0xFF) {
        fz_put(out, (uint8_t)(opcode >> 8));
        fz_unsigned(out, opcode & 0xFF);
    } else {
        fz_put(out, (uint8_t)opcode);
    }
}

void fz_const(fz_bytes *out, sbx_valtype type, uint64_t bits)
{
    switch (type) {
    case SBX_I32: fz_put(out, SBX_WASM_i32_const); fz_signed(out, (int32_t)bits); break;
    case SBX_I64: fz_put(out, SBX_WASM_i64_const); fz_signed(out, (int64_t)bits); break;
    case SBX_F32: fz_put(out, SBX_WASM_f32_const); fz_append(out, &bits, 4); break;
    case SBX_F64: fz_put(out, SBX_WASM_f64_const); fz_append(out, &bits, 8); break;
    default: fz_put(out, SBX_WASM_ref_null); fz_put(out, (uint8_t)type); break;
    }
}

void fz_sized(fz_bytes *out, const fz_bytes *inner)
{
    fz_unsigned(out, inner->size);
    fz_append(out, inner->data, inner->size);
}

void fz_free(fz_bytes *bytes)
{
    free(bytes->data);
    *bytes = (fz_bytes){0};
}
