/* Bounds-checked cursor over a module's bytes: the paths that are long or rare. */
#include "reader.h"

/* Specification 5.2.2: uN takes at most ceil(N / 7) bytes, and the unused bits of the last one are zero. */
bool sbx_read_unsigned(sbx_reader *r, unsigned bits, uint64_t *out)
{
    const uint8_t *start = r->pos;
    uint64_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
        if (r->pos >= r->end)
            return sbx_unexpected_end(r);
        uint8_t byte = *r->pos++;
        unsigned room = bits - shift; /* bits that still fit */
        if (room < 7 && (byte & 0x7F) >> room)
            return SBX_REJECT(r, SBX_MALFORMED, start,
                              byte & 0x80 ? "integer representation too long" : "integer too large");
        value |= (uint64_t)(byte & 0x7F) << shift;
        if (!(byte & 0x80)) {
            *out = value;
            return true;
        }
        if (room <= 7)
            return SBX_REJECT(r, SBX_MALFORMED, start, "integer representation too long");
    }
}

bool sbx_read_u32_slow(sbx_reader *r, uint32_t *out)
{
    uint64_t wide;
    bool ok = sbx_read_unsigned(r, 32, &wide);
    *out = ok ? (uint32_t)wide : 0;
    return ok;
}

/* Specification 5.2.2: as above, and the unused bits of the last byte repeat the sign. */
bool sbx_read_signed(sbx_reader *r, unsigned bits, int64_t *out)
{
    const uint8_t *start = r->pos;
    uint64_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
        if (r->pos >= r->end)
            return sbx_unexpected_end(r);
        uint8_t byte = *r->pos++;
        unsigned room = bits - shift;
        if (room < 7) {
            uint8_t unused = (uint8_t)(0x7F & ~((1u << (room - 1)) - 1)); /* the sign bit and all above it */
            uint8_t found = byte & unused;
            if (!(byte & 0x80) && found != 0 && found != unused)
                return SBX_REJECT(r, SBX_MALFORMED, start, "integer too large");
        }
        value |= (uint64_t)(byte & 0x7F) << shift;
        if (!(byte & 0x80)) {
            unsigned filled = shift + 7;
            if (filled < 64 && byte & 0x40)
                value |= ~(uint64_t)0 << filled;
            *out = (int64_t)value;
            return true;
        }
        if (room <= 7)
            return SBX_REJECT(r, SBX_MALFORMED, start, "integer representation too long");
    }
}

bool sbx_read_bytes(sbx_reader *r, uint32_t length, const uint8_t **out)
{
    if (length > sbx_reader_left(r)) {
        r->pos = r->end;
        return sbx_unexpected_end(r);
    }
    *out = r->pos;
    r->pos += length;
    return true;
}

bool sbx_read_fixed32(sbx_reader *r, uint32_t *out)
{
    const uint8_t *b;
    *out = 0;
    if (!sbx_read_bytes(r, 4, &b))
        return false;
    *out = (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
    return true;
}

bool sbx_read_fixed64(sbx_reader *r, uint64_t *out)
{
    uint32_t low, high;
    *out = 0;
    if (!sbx_read_fixed32(r, &low) || !sbx_read_fixed32(r, &high))
        return false;
    *out = (uint64_t)high << 32 | low;
    return true;
}

bool sbx_read_length(sbx_reader *r, uint32_t *out)
{
    const uint8_t *start = r->pos;
    if (!sbx_read_u32(r, out))
        return false;
    /* Counted from the length field itself, as in the reference interpreter: one entry missing at the very end
     * of the module is an "unexpected end". */
    if (*out > (size_t)(r->end - start))
        return SBX_REJECT(r, SBX_MALFORMED, start, "length out of bounds");
    return true;
}

/* RFC 3629: shortest forms only, no surrogates, nothing beyond U+10FFFF. */
bool sbx_is_utf8(const uint8_t *s, size_t length)
{
    const uint8_t *end = s + length;
    while (s < end) {
        uint8_t lead = *s++;
        if (lead < 0x80)
            continue;
        unsigned more = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : 1;
        if (lead < 0xC2 || lead > 0xF4 || (size_t)(end - s) < more)
            return false;
        uint8_t low = 0x80, high = 0xBF; /* of the first continuation byte */
        if (lead == 0xE0)
            low = 0xA0;
        else if (lead == 0xED)
            high = 0x9F;
        else if (lead == 0xF0)
            low = 0x90;
        else if (lead == 0xF4)
            high = 0x8F;
        if (*s < low || *s > high)
            return false;
        for (s++; --more; s++)
            if ((*s & 0xC0) != 0x80)
                return false;
    }
    return true;
}

bool sbx_read_name(sbx_reader *r, sbx_name *out)
{
    const uint8_t *start = r->pos;
    if (!sbx_read_length(r, &out->length) || !sbx_read_bytes(r, out->length, &out->bytes))
        return false;
    if (!sbx_is_utf8(out->bytes, out->length))
        return SBX_REJECT(r, SBX_MALFORMED, start, "malformed UTF-8 encoding");
    return true;
}
