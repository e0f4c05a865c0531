/* One NaN for all: behind each instruction of float arithmetic `x == x ? x : NaN`, so that no engine's choice of NaN bits shows. */
#include <string.h>
#include "fuzz.h"

/* Instructions whose NaN the specification leaves open (4.3.3); the others move bits, or set the sign. */
static uint8_t float_result(uint32_t opcode)
{
    if (opcode == SBX_WASM_f32_demote_f64)
        return SBX_F32;
    if (opcode == SBX_WASM_f64_promote_f32)
        return SBX_F64;
    if (opcode >= SBX_WASM_f32_ceil && opcode <= SBX_WASM_f32_max)
        return SBX_F32;
    if (opcode >= SBX_WASM_f64_ceil && opcode <= SBX_WASM_f64_max)
        return SBX_F64;
    return 0;
}

static void make_canonical(fz_bytes *out, uint8_t type, uint32_t scratch)
{
    bool single = type == SBX_F32;
    fz_put(out, SBX_WASM_local_tee);
    fz_unsigned(out, scratch);
    fz_const(out, type, single ? 0x7FC00000u : 0x7FF8000000000000u);
    for (int i = 0; i < 2; i++) {
        fz_put(out, SBX_WASM_local_get);
        fz_unsigned(out, scratch);
    }
    fz_put(out, single ? SBX_WASM_f32_eq : SBX_WASM_f64_eq);
    fz_put(out, SBX_WASM_select);
}

static bool rewrite(fz_cursor c, uint32_t params, fz_bytes *out)
{
    uint32_t runs, count, total = params, opcode;
    const uint8_t *first;
    if (!fz_read_u32(&c, &runs))
        return false;
    first = c.at;
    for (uint32_t i = 0; i < runs; i++) {
        if (!fz_read_u32(&c, &count) || count > 100000 - total || !fz_skip(&c, 1))
            return false;
        total += count;
    }
    fz_unsigned(out, runs + 2);
    fz_append(out, first, (size_t)(c.at - first));
    const uint8_t scratch[] = {1, SBX_F32, 1, SBX_F64};
    fz_append(out, scratch, sizeof scratch);
    while (c.at < c.end) {
        const uint8_t *at = c.at;
        if (!fz_instruction(&c, &opcode))
            return false;
        fz_append(out, at, (size_t)(c.at - at));
        uint8_t type = float_result(opcode);
        if (type)
            make_canonical(out, type, total + (type == SBX_F64));
    }
    return true;
}

/* The types' parameter counts and the own functions' types, as far as a rewrite needs them. */
typedef struct counts { uint32_t params[4096], types, functions[4096], own; } counts;

static bool count_types(counts *k, fz_cursor c)
{
    uint32_t n, params, results;
    if (!fz_read_u32(&c, &n) || n > 4096)
        return false;
    for (k->types = 0; k->types < n; k->types++) {
        if (!fz_skip(&c, 1) || !fz_read_u32(&c, &params) || !fz_skip(&c, params) || !fz_read_u32(&c, &results) || !fz_skip(&c, results))
            return false;
        k->params[k->types] = params;
    }
    return true;
}

static bool count_functions(counts *k, fz_cursor c)
{
    uint32_t n;
    if (!fz_read_u32(&c, &n) || n > 4096)
        return false;
    for (k->own = 0; k->own < n; k->own++)
        if (!fz_read_u32(&c, &k->functions[k->own]) || k->functions[k->own] >= k->types)
            return false;
    return true;
}

static bool rewrite_code(const counts *k, fz_cursor c, fz_bytes *out)
{
    uint32_t n, size;
    fz_bytes body = {0};
    bool ok = fz_read_u32(&c, &n) && n == k->own;
    if (ok)
        fz_unsigned(out, n);
    for (uint32_t i = 0; ok && i < n; i++) {
        ok = fz_read_u32(&c, &size);
        const uint8_t *at = c.at;
        ok = ok && fz_skip(&c, size);
        body.size = 0;
        ok = ok && rewrite((fz_cursor){at, at + size}, k->params[k->functions[i]], &body);
        if (ok)
            fz_sized(out, &body);
    }
    fz_free(&body);
    return ok && c.at == c.end;
}

void fz_canonical(const uint8_t *bytes, size_t size, fz_bytes *out)
{
    static counts k;
    fz_cursor c = {bytes, bytes + size}, contents;
    fz_bytes code = {0};
    size_t before = out->size;
    uint8_t id;
    bool ok = fz_skip(&c, 8);
    k.types = k.own = 0;
    if (ok)
        fz_append(out, bytes, 8);
    while (ok && c.at < c.end) {
        const uint8_t *at = c.at;
        ok = fz_section(&c, &id, &contents);
        if (ok && id == 10) {
            ok = rewrite_code(&k, contents, &code);
            if (ok) {
                fz_put(out, 10);
                fz_sized(out, &code);
            }
        } else if (ok) {
            ok = (id != 1 || count_types(&k, contents)) && (id != 3 || count_functions(&k, contents));
            fz_append(out, at, (size_t)(c.at - at));
        }
    }
    fz_free(&code);
    if (!ok) {
        out->size = before;
        fz_append(out, bytes, size);
    }
}
