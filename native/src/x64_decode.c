/* The table of instruction forms that the compiled tier emits; decoding and printing after it. */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include "x64_decode.h"

enum { ONE, TWO, THREE_8, THREE_A, VEX_8, VEX_A, MAPS };
#define ANY NO_REG

/* Operands, two letters each: G register field, E register or memory, V and W the same with vector registers, Z register in
 * the opcode, N VEX's;
 * I immediate, J distance, C the register cl; then b w d q their bytes, v and y by operand size, z 4 (2 with 66), x a vector. */
static const x64_form forms[] = {
    {0, ONE, 0x01, 1, ANY, X64_ADDS, "add", "EvGv"}, {0, ONE, 0x03, 1, ANY, X64_ADDS, "add", "GvEv"},
    {0, ONE, 0x09, 1, ANY, X64_ORS, "or", "EvGv"}, {0, ONE, 0x0A, 1, ANY, X64_SETS_BYTE, "or", "GbEb"},
    {0, ONE, 0x0B, 1, ANY, X64_ORS, "or", "GvEv"},
    {0, ONE, 0x21, 1, ANY, X64_ANDS, "and", "EvGv"}, {0, ONE, 0x22, 1, ANY, X64_SETS_BYTE, "and", "GbEb"},
    {0, ONE, 0x23, 1, ANY, X64_ANDS, "and", "GvEv"},
    {0, ONE, 0x29, 1, ANY, X64_SUBTRACTS, "sub", "EvGv"}, {0, ONE, 0x2B, 1, ANY, X64_SUBTRACTS, "sub", "GvEv"},
    {0, ONE, 0x31, 1, ANY, X64_ORS, "xor", "EvGv"}, {0, ONE, 0x33, 1, ANY, X64_ORS, "xor", "GvEv"},
    {0, ONE, 0x38, 1, ANY, X64_COMPARES, "cmp", "EbGb"}, {0, ONE, 0x3A, 1, ANY, X64_COMPARES, "cmp", "GbEb"},
    {0, ONE, 0x39, 1, ANY, X64_COMPARES, "cmp", "EvGv"}, {0, ONE, 0x3B, 1, ANY, X64_COMPARES, "cmp", "GvEv"},
    {0, ONE, 0x50, 8, ANY, X64_PUSHES, "push", "Zq"}, {0, ONE, 0x58, 8, ANY, X64_POPS, "pop", "Zq"},
    {0, ONE, 0x63, 1, ANY, X64_WRITES, "movsxd", "GvEd"}, {0, ONE, 0x69, 1, ANY, X64_WRITES, "imul", "GvEvIz"},
    {0, ONE, 0x6B, 1, ANY, X64_WRITES, "imul", "GvEvIb"},
    {0, ONE, 0x70, 16, ANY, X64_JUMPS_IF, "j", "Jb"},
    {0, ONE, 0x80, 1, 7, X64_COMPARES, "cmp", "EbIb"}, {0, ONE, 0x80, 1, 4, X64_SETS_BYTE, "and", "EbIb"},
    {0, ONE, 0x80, 1, 1, X64_SETS_BYTE, "or", "EbIb"},
    {0, ONE, 0x81, 1, 0, X64_ADDS, "add", "EvIz"}, {0, ONE, 0x81, 1, 1, X64_ORS, "or", "EvIz"},
    {0, ONE, 0x81, 1, 4, X64_ANDS, "and", "EvIz"},
    {0, ONE, 0x81, 1, 5, X64_SUBTRACTS, "sub", "EvIz"}, {0, ONE, 0x81, 1, 6, X64_ORS, "xor", "EvIz"},
    {0, ONE, 0x81, 1, 7, X64_COMPARES, "cmp", "EvIz"},
    {0, ONE, 0x83, 1, 0, X64_ADDS, "add", "EvIb"}, {0, ONE, 0x83, 1, 1, X64_ORS, "or", "EvIb"},
    {0, ONE, 0x83, 1, 4, X64_ANDS, "and", "EvIb"},
    {0, ONE, 0x83, 1, 5, X64_SUBTRACTS, "sub", "EvIb"}, {0, ONE, 0x83, 1, 6, X64_ORS, "xor", "EvIb"},
    {0, ONE, 0x83, 1, 7, X64_COMPARES, "cmp", "EvIb"},
    {0, ONE, 0x84, 1, ANY, X64_READS, "test", "EbGb"}, {0, ONE, 0x85, 1, ANY, X64_READS, "test", "EvGv"},
    {0, ONE, 0x88, 1, ANY, X64_MOVES, "mov", "EbGb"}, {0, ONE, 0x89, 1, ANY, X64_MOVES, "mov", "EvGv"},
    {0, ONE, 0x8B, 1, ANY, X64_MOVES, "mov", "GvEv"},
    {0, ONE, 0x8D, 1, ANY, X64_LOADS_ADDRESS, "lea", "GvEv"}, {0, ONE, 0x99, 1, ANY, X64_EXTENDS_SIGN, "cdq", ""},
    {0, ONE, 0xB8, 8, ANY, X64_MOVES, "mov", "ZvIv"},
    {0, ONE, 0xC1, 1, 0, X64_WRITES, "rol", "EvIb"}, {0, ONE, 0xC1, 1, 1, X64_WRITES, "ror", "EvIb"},
    {0, ONE, 0xC1, 1, 4, X64_WRITES, "shl", "EvIb"},
    {0, ONE, 0xC1, 1, 5, X64_SHIFTS_RIGHT, "shr", "EvIb"}, {0, ONE, 0xC1, 1, 7, X64_WRITES, "sar", "EvIb"},
    {0, ONE, 0xD3, 1, 0, X64_WRITES, "rol", "EvCb"}, {0, ONE, 0xD3, 1, 1, X64_WRITES, "ror", "EvCb"},
    {0, ONE, 0xD3, 1, 4, X64_WRITES, "shl", "EvCb"},
    {0, ONE, 0xD3, 1, 5, X64_SHIFTS_RIGHT, "shr", "EvCb"}, {0, ONE, 0xD3, 1, 7, X64_WRITES, "sar", "EvCb"},
    {0, ONE, 0xC3, 1, ANY, X64_RETURNS, "ret", ""}, {0, ONE, 0xCC, 1, ANY, X64_BREAKS, "int3", ""},
    {0, ONE, 0xC6, 1, 0, X64_MOVES, "mov", "EbIb"}, {0, ONE, 0xC7, 1, 0, X64_MOVES, "mov", "EvIz"},
    {0, ONE, 0xE8, 1, ANY, X64_CALLS, "call", "Jz"}, {0, ONE, 0xE9, 1, ANY, X64_JUMPS, "jmp", "Jz"},
    {0, ONE, 0xEB, 1, ANY, X64_JUMPS, "jmp", "Jb"},
    {0, ONE, 0xF6, 1, 0, X64_READS, "test", "EbIb"}, {0, ONE, 0xF7, 1, 0, X64_READS, "test", "EvIz"},
    {0, ONE, 0xF7, 1, 2, X64_WRITES, "not", "Ev"},
    {0, ONE, 0xF7, 1, 3, X64_WRITES, "neg", "Ev"}, {0, ONE, 0xF7, 1, 4, X64_MULTIPLIES_WIDE, "mul", "Ev"},
    {0, ONE, 0xF7, 1, 5, X64_MULTIPLIES_WIDE, "imul", "Ev"},
    {0, ONE, 0xF7, 1, 6, X64_MULTIPLIES_WIDE, "div", "Ev"}, {0, ONE, 0xF7, 1, 7, X64_MULTIPLIES_WIDE, "idiv", "Ev"},
    {0, ONE, 0xFF, 1, 0, X64_ADDS, "inc", "Ev"}, {0, ONE, 0xFF, 1, 1, X64_SUBTRACTS, "dec", "Ev"},
    {0, ONE, 0xFF, 1, 2, X64_CALLS_INDIRECT, "call", "Eq"}, {0, ONE, 0xFF, 1, 4, X64_JUMPS_INDIRECT, "jmp", "Eq"},
    {0xF3, ONE, 0xAB, 1, ANY, X64_FILLS, "rep stosq", ""},
    {0, TWO, 0x40, 16, ANY, X64_CHOOSES, "cmov", "GvEv"}, {0, TWO, 0x80, 16, ANY, X64_JUMPS_IF, "j", "Jz"},
    {0, TWO, 0x90, 16, ANY, X64_SETS_BYTE, "set", "Eb"},
    {0, TWO, 0xA3, 1, ANY, X64_READS, "bt", "EvGv"}, {0, TWO, 0xBA, 1, 4, X64_READS, "bt", "EvIb"},
    {0, TWO, 0xAF, 1, ANY, X64_WRITES, "imul", "GvEv"},
    {0, TWO, 0xB6, 1, ANY, X64_ZERO_EXTENDS, "movzx", "GvEb"}, {0, TWO, 0xB7, 1, ANY, X64_ZERO_EXTENDS, "movzx", "GvEw"},
    {0, TWO, 0xBE, 1, ANY, X64_WRITES, "movsx", "GvEb"}, {0, TWO, 0xBF, 1, ANY, X64_WRITES, "movsx", "GvEw"},
    {0xF3, TWO, 0xB8, 1, ANY, X64_COUNTS, "popcnt", "GvEv"}, {0xF3, TWO, 0xBC, 1, ANY, X64_COUNTS, "tzcnt", "GvEv"},
    {0xF3, TWO, 0xBD, 1, ANY, X64_COUNTS, "lzcnt", "GvEv"},
    {0xF3, TWO, 0x10, 1, ANY, X64_WRITES, "movss", "VdWd"}, {0xF3, TWO, 0x11, 1, ANY, X64_WRITES, "movss", "WdVd"},
    {0xF2, TWO, 0x10, 1, ANY, X64_WRITES, "movsd", "VqWq"}, {0xF2, TWO, 0x11, 1, ANY, X64_WRITES, "movsd", "WqVq"},
    {0, TWO, 0x28, 1, ANY, X64_WRITES, "movaps", "VxWx"}, {0xF3, TWO, 0x7E, 1, ANY, X64_WRITES, "movq", "VqWq"},
    {0x66, TWO, 0xD6, 1, ANY, X64_WRITES, "movq", "WqVq"},
    {0x66, TWO, 0x6E, 1, ANY, X64_WRITES, "movd", "VyEy"}, {0x66, TWO, 0x7E, 1, ANY, X64_WRITES, "movd", "EyVy"},
    {0xF3, TWO, 0x2A, 1, ANY, X64_WRITES, "cvtsi2ss", "VdEy"}, {0xF2, TWO, 0x2A, 1, ANY, X64_WRITES, "cvtsi2sd", "VqEy"},
    {0xF3, TWO, 0x2C, 1, ANY, X64_WRITES, "cvttss2si", "GyWd"}, {0xF2, TWO, 0x2C, 1, ANY, X64_WRITES, "cvttsd2si", "GyWq"},
    {0, TWO, 0x2E, 1, ANY, X64_READS, "ucomiss", "VdWd"}, {0x66, TWO, 0x2E, 1, ANY, X64_READS, "ucomisd", "VqWq"},
    {0xF3, TWO, 0x51, 1, ANY, X64_WRITES, "sqrtss", "VdWd"}, {0xF2, TWO, 0x51, 1, ANY, X64_WRITES, "sqrtsd", "VqWq"},
    {0, TWO, 0x54, 1, ANY, X64_WRITES, "andps", "VxWx"}, {0x66, TWO, 0x54, 1, ANY, X64_WRITES, "andpd", "VxWx"},
    {0, TWO, 0x55, 1, ANY, X64_WRITES, "andnps", "VxWx"},
    {0, TWO, 0x56, 1, ANY, X64_WRITES, "orps", "VxWx"}, {0x66, TWO, 0x56, 1, ANY, X64_WRITES, "orpd", "VxWx"},
    {0, TWO, 0x57, 1, ANY, X64_WRITES, "xorps", "VxWx"}, {0x66, TWO, 0x57, 1, ANY, X64_WRITES, "xorpd", "VxWx"},
    {0xF3, TWO, 0x58, 1, ANY, X64_WRITES, "addss", "VdWd"}, {0xF2, TWO, 0x58, 1, ANY, X64_WRITES, "addsd", "VqWq"},
    {0xF3, TWO, 0x59, 1, ANY, X64_WRITES, "mulss", "VdWd"}, {0xF2, TWO, 0x59, 1, ANY, X64_WRITES, "mulsd", "VqWq"},
    {0xF3, TWO, 0x5A, 1, ANY, X64_WRITES, "cvtss2sd", "VqWd"}, {0xF2, TWO, 0x5A, 1, ANY, X64_WRITES, "cvtsd2ss", "VdWq"},
    {0xF3, TWO, 0x5C, 1, ANY, X64_WRITES, "subss", "VdWd"}, {0xF2, TWO, 0x5C, 1, ANY, X64_WRITES, "subsd", "VqWq"},
    {0xF3, TWO, 0x5D, 1, ANY, X64_WRITES, "minss", "VdWd"}, {0xF2, TWO, 0x5D, 1, ANY, X64_WRITES, "minsd", "VqWq"},
    {0xF3, TWO, 0x5E, 1, ANY, X64_WRITES, "divss", "VdWd"}, {0xF2, TWO, 0x5E, 1, ANY, X64_WRITES, "divsd", "VqWq"},
    {0xF3, TWO, 0x5F, 1, ANY, X64_WRITES, "maxss", "VdWd"}, {0xF2, TWO, 0x5F, 1, ANY, X64_WRITES, "maxsd", "VqWq"},
    {0x66, THREE_A, 0x0A, 1, ANY, X64_WRITES, "roundss", "VdWdIb"},
    {0x66, THREE_A, 0x0B, 1, ANY, X64_WRITES, "roundsd", "VqWqIb"},
    {0x66, VEX_8, 0xF7, 1, ANY, X64_WRITES, "shlx", "GyEyNy"}, {0xF2, VEX_8, 0xF7, 1, ANY, X64_SHIFTS_RIGHT, "shrx", "GyEyNy"},
    {0xF3, VEX_8, 0xF7, 1, ANY, X64_WRITES, "sarx", "GyEyNy"}, {0xF2, VEX_A, 0xF0, 1, ANY, X64_WRITES, "rorx", "GyEyIb"},
    {0, VEX_8, 0xF2, 1, ANY, X64_WRITES, "andn", "GyNyEy"},
};
enum { FORMS = sizeof forms / sizeof *forms };

/* By map and opcode: the first form, and for each form the next of the same opcode; index + 1, 0 is none. */
static uint16_t first[MAPS][256], following[FORMS];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void index_forms(void)
{
    for (size_t i = FORMS; i--;)
        for (unsigned o = 0; o < forms[i].span; o++) {
            if (!o)
                following[i] = first[forms[i].map][forms[i].opcode];
            first[forms[i].map][forms[i].opcode + o] = (uint16_t)(i + 1);
        }
}

typedef struct cursor { const uint8_t *at, *end; bool failed; } cursor;

static uint8_t take(cursor *c)
{
    if (c->at == c->end) {
        c->failed = true;
        return 0;
    }
    return *c->at++;
}

static int64_t take_signed(cursor *c, unsigned bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++)
        value |= (uint64_t)take(c) << 8 * i;
    return bytes == 8 ? (int64_t)value : (int64_t)(value << (64 - 8 * bytes)) >> (64 - 8 * bytes);
}

typedef struct prefixes { uint8_t mandatory, rex, map, third; bool wide; } prefixes;

static uint8_t take_vex(cursor *c, prefixes *p)
{
    static const uint8_t meaning[4] = {0, 0x66, 0xF3, 0xF2};
    uint8_t one = take(c), two = take(c);
    p->map = (one & 31) == 2 ? VEX_8 : (one & 31) == 3 ? VEX_A : MAPS;
    p->rex = (uint8_t)((one & 0x80 ? 0 : 4) | (one & 0x40 ? 0 : 2) | (one & 0x20 ? 0 : 1));
    p->wide = two & 0x80;
    p->third = ~two >> 3 & 15;
    p->mandatory = meaning[two & 3];
    if (two & 4 || p->map == MAPS) /* 256 bits */
        c->failed = true;
    return take(c);
}

static uint8_t take_opcode(cursor *c, prefixes *p)
{
    uint8_t byte = take(c);
    if (byte == 0x66 || byte == 0xF2 || byte == 0xF3) {
        p->mandatory = byte;
        byte = take(c);
    }
    if (byte == 0xC4 && !p->mandatory)
        return take_vex(c, p);
    if ((byte & 0xF0) == 0x40) {
        p->rex = byte & 15;
        p->wide = byte & 8;
        byte = take(c);
    }
    if (byte != 0x0F)
        return byte;
    byte = take(c);
    p->map = byte == 0x38 ? THREE_8 : byte == 0x3A ? THREE_A : TWO;
    return p->map == TWO ? byte : take(c);
}

static void take_memory(cursor *c, x64_instruction *i, uint8_t modrm, uint8_t rex)
{
    uint8_t mode = modrm >> 6;
    i->rm = (x64_rm){.memory = true, .base = (uint8_t)((modrm & 7) | (rex & 1 ? 8 : 0)), .index = NO_REG};
    if ((modrm & 7) == 4) {
        uint8_t sib = take(c), index = (uint8_t)((sib >> 3 & 7) | (rex & 2 ? 8 : 0));
        i->rm.base = (uint8_t)((sib & 7) | (rex & 1 ? 8 : 0));
        i->rm.scale = sib >> 6;
        i->rm.index = index == RSP ? NO_REG : index;
        c->failed |= !mode && (sib & 7) == 5; /* no base: never emitted */
    } else if (!mode && (modrm & 7) == 5) {
        i->relative = true;
        mode = 2;
    }
    i->rm.disp = mode ? (int32_t)take_signed(c, mode == 1 ? 1 : 4) : 0;
}

/* The form that fits what was read so far; `digit` is the register field of the byte that follows. */
static const x64_form *find(uint8_t opcode, const prefixes *p, uint8_t digit)
{
    for (unsigned k = first[p->map][opcode]; k; k = following[k - 1]) {
        const x64_form *f = &forms[k - 1];
        bool word = p->map == ONE && p->mandatory == 0x66 &&
            strstr(f->operands, "v"); /* an operand size, not a part of the opcode */
        if ((f->prefix == p->mandatory || word) && (f->digit == ANY || f->digit == digit))
            return f;
    }
    return NULL;
}

static void take_immediates(cursor *c, x64_instruction *i)
{
    for (const char *o = i->form->operands; *o; o += 2)
        if (o[0] == 'I' || o[0] == 'J')
            i->immediate = take_signed(c, o[1] == 'b' ? 1 : o[1] == 'v' ? (i->width == 8 ? 8 : 4) : o[0] == 'I' &&
                i->width == 2 ? 2 : 4);
}

static bool has_modrm(const char *operands) { return strpbrk(operands, "EWGV") != NULL; }

bool x64_decode(const uint8_t *bytes, size_t size, x64_instruction *out)
{
    pthread_once(&once, index_forms);
    cursor c = {bytes, bytes + (size < 15 ? size : 15), false};
    prefixes p = {.third = NO_REG};
    uint8_t opcode = take_opcode(&c, &p);
    if (c.failed || p.map >= MAPS)
        return false;
    const x64_form *form = find(opcode, &p, c.at < c.end ? *c.at >> 3 & 7 : 0);
    if (!form)
        return false;
    *out = (x64_instruction){.form = form, .opcode = opcode, .prefix = p.mandatory, .third = p.third, .reg = NO_REG,
                             .width = p.wide ? 8 : p.map == ONE &&
                                 p.mandatory == 0x66 ? 2 : 4, .rm = {.base = NO_REG, .index = NO_REG}};
    if (strstr(form->operands, "b") && !strpbrk(form->operands, "vy"))
        out->width = 1;
    if (has_modrm(form->operands)) {
        uint8_t modrm = take(&c), lift = strchr(form->operands, 'V') ? XMM0 : 0, other = strchr(form->operands, 'W') ? XMM0 : 0;
        out->reg = (uint8_t)((modrm >> 3 & 7) | (p.rex & 4 ? 8 : 0)) + lift;
        if (modrm >> 6 == 3)
            out->rm = x64_reg((uint8_t)((modrm & 7) | (p.rex & 1 ? 8 : 0)) + other);
        else
            take_memory(&c, out, modrm, p.rex);
        /* A byte register without REX may be ah, ch, dh, bh: never emitted. */
        bool old = !p.rex && p.map < VEX_8 && c.at - bytes > 0 && (bytes[0] & 0xF0) != 0x40 && (bytes[1] & 0xF0) != 0x40;
        const char *byte_operand = strstr(form->operands, "Gb");
        if (old && byte_operand && form->digit == ANY && out->reg >= RSP && out->reg <= RDI)
            return false;
        if (old && strstr(form->operands, "Eb") && !out->rm.memory && out->rm.base >= RSP && out->rm.base <= RDI)
            return false;
    } else if (form->operands[0] == 'Z') {
        out->reg = (uint8_t)((opcode & 7) | (p.rex & 1 ? 8 : 0));
        if (form->operands[1] == 'q')
            out->width = 8;
    }
    take_immediates(&c, out);
    out->length = (uint8_t)(c.at - bytes);
    return !c.failed;
}

uint8_t x64_written(const x64_instruction *i)
{
    if (i->form->effect == X64_READS || i->form->effect == X64_COMPARES || i->form->effect >= X64_PUSHES)
        return NO_REG;
    switch (i->form->operands[0]) {
    case 'G': case 'Z': return i->reg;
    case 'E': return i->rm.memory || i->form->effect == X64_MULTIPLIES_WIDE ? NO_REG : i->rm.base;
    default: return NO_REG;
    }
}

bool x64_stores(const x64_instruction *i)
{
    bool first_operand = i->form->operands[0] == 'E' || i->form->operands[0] == 'W';
    return i->rm.memory && first_operand && i->form->effect != X64_READS && i->form->effect != X64_COMPARES &&
        i->form->effect != X64_MULTIPLIES_WIDE &&
           i->form->effect < X64_PUSHES;
}

uint8_t x64_memory_width(const x64_instruction *i)
{
    for (const char *o = i->form->operands; *o; o += 2)
        if (o[0] == 'E' || o[0] == 'W')
            switch (o[1]) {
            case 'b': return 1;
            case 'w': return 2;
            case 'd': return 4;
            case 'q': return 8;
            case 'x': return 16;
            default: return i->width;
            }
    return 0;
}

/* Printing. */

static const char *register_name(uint8_t reg, unsigned width, char text[8])
{
    static const char old[8][3] = {"ax", "cx", "dx", "bx", "sp", "bp", "si", "di"};
    if (reg >= XMM0)
        snprintf(text, 8, "xmm%u", reg - XMM0);
    else if (reg >= R8)
        snprintf(text, 8, "r%u%s", reg, width == 8 ? "" : width == 4 ? "d" : width == 2 ? "w" : "b");
    else if (width == 1)
        snprintf(text, 8, reg < RSP ? "%.1sl" : "%sl", old[reg]);
    else
        snprintf(text, 8, "%s%s", width == 8 ? "r" : width == 4 ? "e" : "", old[reg]);
    return text;
}

static int print_memory(const x64_instruction *i, char *text, size_t size)
{
    char base[8], index[8];
    const char *kind = x64_memory_width(i) == 1 ? "byte " : x64_memory_width(i) == 2 ? "word " : x64_memory_width(i) == 4
        ? "dword " : "qword ";
    int n = snprintf(text, size, "%s[%s", i->form->effect == X64_LOADS_ADDRESS ? "" : kind, i->relative ? "rip"
        : register_name(i->rm.base, 8, base));
    if (i->rm.index != NO_REG)
        n += snprintf(text + n, size - (size_t)n, "+%s*%d", register_name(i->rm.index, 8, index), 1 << i->rm.scale);
    if (i->rm.disp)
        n += snprintf(text + n, size - (size_t)n, "%c%#" PRIx64, i->rm.disp < 0 ? '-' : '+', i->rm.disp < 0
            ? -(int64_t)i->rm.disp : (int64_t)i->rm.disp);
    return n + snprintf(text + n, size - (size_t)n, "]");
}

int x64_print(const x64_instruction *i, uint64_t at, char *text, size_t size)
{
    static const char conditions[16][3] = {"o", "no", "b", "ae", "e", "ne", "be", "a", "s", "ns", "p", "np", "l", "ge", "le",
        "g"};
    char name[8];
    bool conditional = i->form->span == 16, quad = i->form->effect == X64_EXTENDS_SIGN && i->width == 8;
    int n = snprintf(text, size, "%s%s", quad ? "cqo" : i->form->name, conditional ? conditions[i->opcode & 15] : "");
    for (const char *o = i->form->operands; *o; o += 2) {
        unsigned width = o[1] == 'b' ? 1 : o[1] == 'w' ? 2 : o[1] == 'd' ? 4 : o[1] == 'q' ? 8 : i->width;
        n += snprintf(text + n, size - (size_t)n, o == i->form->operands ? " " : ", ");
        if ((o[0] == 'E' || o[0] == 'W') && i->rm.memory)
            n += print_memory(i, text + n, size - (size_t)n);
        else if (o[0] == 'I')
            n += snprintf(text + n, size - (size_t)n, "%s%#" PRIx64, i->immediate < 0 ? "-" : "", i->immediate < 0
                ? 0 - (uint64_t)i->immediate : (uint64_t)i->immediate);
        else if (o[0] == 'J')
            n += snprintf(text + n, size - (size_t)n, "%#" PRIx64, at + i->length + (uint64_t)i->immediate);
        else
            n += snprintf(text + n, size - (size_t)n, "%s", o[0] == 'C' ? "cl" : register_name(o[0] == 'N' ? i->third
                : o[0] == 'G' || o[0] == 'V' || o[0] == 'Z' ? i->reg : i->rm.base, width, name));
    }
    return n;
}
