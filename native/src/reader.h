/* Bounds-checked cursor over a module's bytes: integers in LEB128, vector lengths, names (specification 5.1 and 5.2).
 *
 * Every function returns false after recording an error in `err`, which is never NULL here.
 * The cursor is bounded by the end of the module, not of the section: a reader that runs over its section is
 * told so by the section's size check ("section size mismatch"), as the official suite expects. */
#ifndef SBX_READER_H
#define SBX_READER_H
#include "status.h"
#include "types.h"

typedef struct sbx_reader {
    const uint8_t *base; /* first byte of the module: offsets in errors count from here */
    const uint8_t *pos, *end;
    sbx_error *err;
} sbx_reader;

static inline uint64_t sbx_reader_offset(const sbx_reader *r) { return (uint64_t)(r->pos - r->base); }
static inline size_t sbx_reader_left(const sbx_reader *r) { return (size_t)(r->end - r->pos); }

/* Slow paths, exact about what is malformed. */
bool sbx_read_u32_slow(sbx_reader *r, uint32_t *out);
bool sbx_read_unsigned(sbx_reader *r, unsigned bits, uint64_t *out);
bool sbx_read_signed(sbx_reader *r, unsigned bits, int64_t *out);
/* Records `status` at `at` with a printf-style message; returns false. */
#define SBX_REJECT(r, status, at, ...) (sbx_fail((r)->err, (status), (uint64_t)((at) - (r)->base), __VA_ARGS__), false)
/* At the cursor; returns false. */
static inline bool sbx_unexpected_end(sbx_reader *r)
{
    return SBX_REJECT(r, SBX_MALFORMED, r->pos, "unexpected end of section or function");
}

static inline bool sbx_read_byte(sbx_reader *r, uint8_t *out)
{
    if (SBX_UNLIKELY(r->pos >= r->end))
        return sbx_unexpected_end(r);
    *out = *r->pos++;
    return true;
}

static inline bool sbx_read_u32(sbx_reader *r, uint32_t *out)
{
    if (SBX_LIKELY(r->pos < r->end && *r->pos < 0x80)) {
        *out = *r->pos++;
        return true;
    }
    return sbx_read_u32_slow(r, out);
}

static inline bool sbx_read_s32(sbx_reader *r, int32_t *out)
{
    if (SBX_LIKELY(r->pos < r->end && *r->pos < 0x80)) {
        *out = (int32_t)((uint32_t)*r->pos++ << 25) >> 25;
        return true;
    }
    int64_t wide;
    bool ok = sbx_read_signed(r, 32, &wide);
    *out = ok ? (int32_t)wide : 0;
    return ok;
}

static inline bool sbx_read_s64(sbx_reader *r, int64_t *out) { return sbx_read_signed(r, 64, out); }
static inline bool sbx_read_u64(sbx_reader *r, uint64_t *out) { return sbx_read_unsigned(r, 64, out); }
bool sbx_read_fixed32(sbx_reader *r, uint32_t *out);
bool sbx_read_fixed64(sbx_reader *r, uint64_t *out);

/* A vector's or string's length; more than the bytes of the module that are left is "length out of bounds",
 * so that no allocation can be larger than the module explains. */
bool sbx_read_length(sbx_reader *r, uint32_t *out);
/* `length` raw bytes, not copied. */
bool sbx_read_bytes(sbx_reader *r, uint32_t length, const uint8_t **out);
/* A name: length, then UTF-8 (specification 5.2.4). */
bool sbx_read_name(sbx_reader *r, sbx_name *out);
bool sbx_is_utf8(const uint8_t *bytes, size_t length);
#endif
