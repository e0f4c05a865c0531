/* The disassembler. Operands by letter: s slot, d destination slot, a b c the int, f32 and f64 accumulator, i and I immediates
 * of 32 and 64 bits,
 * o address offset, r branch offset, u unit, n number of 32 bits, g global, f fuel, t table of branch offsets. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "arena.h"
#include "disasm.h"
#include "ir_ops.h"
#include "x64_decode.h"

static const struct { const char *name, *operands; } rows[SBX_IR_COUNT] = {SBX_IR_ROWS};

typedef struct text { char *bytes; size_t length, capacity; bool failed; } text;

__attribute__((format(printf, 2, 3))) static void put(text *t, const char *format, ...)
{
    va_list arguments;
    if (t->capacity - t->length < 128 && !t->failed) {
        char *moved = sbx_realloc(t->bytes, t->capacity * 2 + 1024);
        if (!moved) {
            t->failed = true;
            return;
        }
        t->bytes = moved;
        t->capacity = t->capacity * 2 + 1024;
    }
    if (t->failed)
        return;
    va_start(arguments, format);
    int n = vsnprintf(t->bytes + t->length, t->capacity - t->length, format, arguments);
    va_end(arguments);
    if (n > 0 && (size_t)n < t->capacity - t->length)
        t->length += (size_t)n;
}

static uint32_t read32(const uint16_t *p) { uint32_t v; memcpy(&v, p, 4); return v; }
static uint64_t read64(const uint16_t *p) { uint64_t v; memcpy(&v, p, 8); return v; }

static const uint16_t *branches(text *t, const uint16_t *code, const uint16_t *at, const uint16_t *end)
{
    uint32_t count = read32(at);
    at += 2;
    put(t, " [");
    for (uint32_t i = 0; i <= count && end - at >= 2; i++, at += 2)
        put(t, "%s%td", i ? " " : "", at + (int32_t)read32(at) - code);
    put(t, "]");
    return at;
}

static const uint16_t *operand(text *t, char letter, const uint16_t *code, const uint16_t *at, const uint16_t *end)
{
    switch (letter) {
    case 'a': put(t, " acc"); return at;
    case 'b': put(t, " facc"); return at;
    case 'c': put(t, " dacc"); return at;
    case 's': put(t, " s%u", *at); return at + 1;
    case 'd': put(t, " -> s%u", *at); return at + 1;
    case 'u': put(t, " %u", *at); return at + 1;
    case 'f': put(t, " fuel:%u", *at); return at + 1;
    case 'i': put(t, " #%" PRId32, (int32_t)read32(at)); return at + 2;
    case 'o': put(t, " +%" PRIu32, read32(at)); return at + 2;
    case 'n': put(t, " %" PRIu32, read32(at)); return at + 2;
    case 'g': put(t, " g%" PRIu32, read32(at)); return at + 2;
    case 'I': put(t, " #%#" PRIx64, read64(at)); return at + 4;
    case 'r': put(t, " @%td", at + (int32_t)read32(at) - code); return at + 2;
    case 't': return branches(t, code, at, end);
    default: return at;
    }
}

/* Place in the section, bytes, text. What does not decode (the distances of a table jump) is shown as words. */
static void machine_code(text *t, const sbx_image *image, const sbx_image_function *f)
{
    const uint8_t *code = SBX_IMAGE_AT(image, MACHINE, uint8_t) + f->machine_offset;
    for (uint32_t at = 0, n; at < f->machine_bytes && !t->failed; at += n) {
        x64_instruction i;
        uint32_t entries = 0, left = f->machine_bytes - at;
        bool known = x64_decode(code + at, left, &i);
        char line[96];
        n = known ? i.length : 1;
        put(t, "%8x  ", f->machine_offset + at);
        for (uint32_t k = 0; k < 11; k++)
            put(t, k < n ? "%02x " : "   ", code[at + (k < n ? k : 0)]);
        if (known)
            x64_print(&i, f->machine_offset + at, line, sizeof line);
        put(t, " %s\n", known ? line : "?");
        if (known && i.form->effect == X64_JUMPS_INDIRECT && sbx_x64_table(code, f->machine_bytes, at, &entries))
            for (uint32_t k = 0; k < entries && !t->failed; k++, n += 4) {
                int32_t distance;
                memcpy(&distance, code + at + i.length + 4 * (size_t)k, 4);
                put(t, "%8x  %*s.table %u: %#x\n", f->machine_offset + at + n, 33, "", k,
                    f->machine_offset + at + i.length + (uint32_t)distance);
            }
    }
}

sbx_status sbx_disassemble(const sbx_image *image, uint32_t function, char **out, size_t *length, sbx_error *err)
{
    const sbx_image_header *header = image->header;
    if (function < header->imported_functions || function >= header->function_count)
        return sbx_fail(err, SBX_USAGE, SBX_NO_OFFSET, "function %u has no code in this image", function);
    const sbx_image_function *f = SBX_IMAGE_AT(image, FUNCTIONS, sbx_image_function) + function;
    const uint16_t *code = SBX_IMAGE_AT(image, CODE, uint16_t) + f->code_offset, *end = code + f->code_units, *at = code;
    text t = {0};
    if (header->sections[SBX_IMAGE_MACHINE].bytes)
        machine_code(&t, image, f);
    while (at < end && !t.failed) {
        put(&t, "%6td  ", at - code);
        if (*at >= SBX_IR_COUNT) {
            put(&t, "?%u\n", *at);
            break;
        }
        const char *letters = rows[*at].operands;
        put(&t, "%s", rows[*at++].name);
        for (; *letters && at <= end; letters++)
            at = operand(&t, *letters, code, at, end);
        put(&t, "\n");
    }
    if (t.failed) {
        sbx_free(t.bytes);
        return sbx_fail(err, SBX_NO_MEMORY, SBX_NO_OFFSET, "out of memory while disassembling");
    }
    *out = t.bytes;
    *length = t.length;
    return SBX_OK;
}
