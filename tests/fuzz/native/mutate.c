/* The mutator: changes instructions, bodies, numbers and sections of a module and puts the sizes right again; plain bytes seldom. */
#include <string.h>
#include "fuzz.h"

enum { SECTIONS = 64, PLACES = 512 };

typedef struct part { uint8_t id; const uint8_t *data; size_t size; } part;
typedef struct parts { part list[SECTIONS]; uint32_t count; } parts;

static bool split(const uint8_t *bytes, size_t size, parts *out)
{
    fz_cursor c = {bytes, bytes + size}, contents;
    out->count = 0;
    if (!fz_skip(&c, 8))
        return false;
    while (c.at < c.end) {
        part *p = &out->list[out->count];
        if (out->count == SECTIONS || !fz_section(&c, &p->id, &contents))
            return false;
        p->data = contents.at;
        p->size = (size_t)(contents.end - contents.at);
        out->count++;
    }
    return out->count > 0;
}

static void join(const uint8_t *header, const parts *from, fz_bytes *out)
{
    fz_append(out, header, 8);
    for (uint32_t i = 0; i < from->count; i++) {
        fz_put(out, from->list[i].id);
        fz_unsigned(out, from->list[i].size);
        fz_append(out, from->list[i].data, from->list[i].size);
    }
}

static part *find(parts *in, uint8_t id)
{
    for (uint32_t i = 0; i < in->count; i++)
        if (in->list[i].id == id)
            return &in->list[i];
    return NULL;
}

/* Plain bytes: values that mean something somewhere, runs removed, repeated or moved. */
static void change_bytes(fz_rng *rng, const uint8_t *data, size_t size, fz_bytes *out)
{
    static const uint8_t telling[] = {0, 1, 2, 3, 4, 5, 7, 0x0b, 0x10, 0x11, 0x1a, 0x20, 0x21, 0x40, 0x41, 0x60, 0x6f, 0x70,
                                      0x7c, 0x7d, 0x7e, 0x7f, 0x80, 0xd0, 0xd2, 0xfc, 0xff};
    size_t start = out->size;
    fz_append(out, data, size);
    uint8_t *at = out->data + start;
    if (!size)
        return;
    uint32_t place = fz_below(rng, (uint32_t)size), length = 1 + fz_below(rng, 6);
    if (length > size - place)
        length = (uint32_t)(size - place);
    switch (fz_below(rng, 6)) {
    case 0: at[place] = (uint8_t)fz_next(rng); break;
    case 1: at[place] = telling[fz_below(rng, sizeof telling)]; break;
    case 2: at[place] = (uint8_t)(at[place] + (fz_chance(rng, 50) ? 1 : -1)); break;
    case 3:
        memmove(at + place, at + place + length, size - place - length);
        out->size -= length;
        break;
    case 4: {
        uint8_t run[8];
        memcpy(run, at + place, length);
        fz_append(out, run, length);
        at = out->data + start;
        memmove(at + place + length, at + place, size - place);
        memcpy(at + place, run, length);
        break;
    }
    default: {
        uint32_t from = fz_below(rng, (uint32_t)size);
        memmove(at + place, at + from, length < size - from ? length : size - from);
    }
    }
}

/* Another instruction that takes and gives the same, or nearly so. */
static uint32_t sibling(fz_rng *rng, uint32_t opcode)
{
    const sbx_op_info *is = sbx_op_info_of(opcode);
    for (int tries = 0; tries < 60; tries++) {
        uint32_t other = fz_chance(rng, 85) ? fz_below(rng, 256) : 0xFC00 + fz_below(rng, 18);
        const sbx_op_info *info = sbx_op_info_of(other);
        if (other == opcode || !info->name || info->imm != is->imm || info->kind == SBX_KIND_REFUSED)
            continue;
        if (info->kind <= SBX_KIND_REFERENCE ? info->kind != is->kind : info->param_count != is->param_count || info->result != is->result)
            continue;
        if (info->param_count && memcmp(info->params, is->params, info->param_count) && !fz_chance(rng, 5))
            continue;
        return other;
    }
    return opcode;
}

/* One number: an index near by, or any. */
static void copy_number(fz_rng *rng, fz_cursor *c, bool change, fz_bytes *out)
{
    uint64_t value;
    const uint8_t *at = c->at;
    if (!fz_read_unsigned(c, &value))
        return;
    if (!change) {
        fz_append(out, at, (size_t)(c->at - at));
        return;
    }
    uint32_t roll = fz_below(rng, 100);
    fz_unsigned(out, roll < 50 ? fz_below(rng, (uint32_t)value + 3) : roll < 75 ? value + 1 : roll < 90 && value ? value - 1 : fz_number(rng, SBX_I32));
}

/* The instruction at [at, end) with its immediates changed. */
static void change_immediates(fz_rng *rng, const uint8_t *at, const uint8_t *end, uint32_t opcode, fz_bytes *out)
{
    fz_cursor c = {at, end};
    const sbx_op_info *info = sbx_op_info_of(opcode);
    uint32_t unused, which = fz_below(rng, 2);
    sbx_valtype type = opcode - SBX_WASM_i32_const < 4 ? SBX_I32 - (opcode - SBX_WASM_i32_const) : 0;
    if (type) { /* of another type now and then: what uses it must notice */
        type = fz_chance(rng, 25) ? SBX_I32 - fz_below(rng, 4) : type;
        fz_const(out, type, fz_number(rng, type));
        return;
    }
    fz_opcode(out, opcode);
    if (opcode > 0xFF) {
        fz_skip(&c, 1);
        fz_read_u32(&c, &unused);
    } else {
        fz_skip(&c, 1);
    }
    for (uint32_t i = 0; c.at < c.end; i++)
        copy_number(rng, &c, info->imm == SBX_IMM_BLOCK || info->imm == SBX_IMM_TYPES ? fz_chance(rng, 20) : i == which || c.end - c.at == 1, out);
}

/* Something that leaves the stack as it was, or takes and gives one value. */
static void insert_code(fz_rng *rng, const fz_environment *env, fz_bytes *out)
{
    static const uint8_t types[] = {SBX_I32, SBX_I64, SBX_F32, SBX_F64, SBX_FUNCREF, SBX_EXTERNREF};
    uint8_t type = types[fz_below(rng, 6)];
    switch (fz_below(rng, 4)) {
    case 0:
        fz_const(out, type, fz_number(rng, type));
        fz_put(out, SBX_WASM_drop);
        break;
    case 1:
        if (env->global_count) {
            fz_put(out, SBX_WASM_global_get);
            fz_unsigned(out, fz_below(rng, env->global_count));
            fz_put(out, SBX_WASM_drop);
        }
        break;
    case 2:
        fz_opcode(out, fz_chance(rng, 80) ? 0x45 + fz_below(rng, 0x80) : fz_below(rng, 256));
        break;
    default:
        fz_const(out, SBX_I32, fz_number(rng, SBX_I32));
        fz_const(out, SBX_I32, fz_number(rng, SBX_I32));
        fz_put(out, (uint8_t)(SBX_WASM_i32_add + fz_below(rng, 15)));
        fz_put(out, SBX_WASM_drop);
    }
}

typedef struct place { const uint8_t *at, *end; uint32_t opcode; } place;

static uint32_t find_instructions(const uint8_t *body, size_t size, place *places, const uint8_t **code)
{
    fz_cursor c = {body, body + size};
    uint32_t runs, count = 0, n, opcode;
    if (!fz_read_u32(&c, &runs))
        return 0;
    for (uint32_t i = 0; i < runs; i++)
        if (!fz_read_u32(&c, &n) || !fz_skip(&c, 1))
            return 0;
    *code = c.at;
    while (count < PLACES && c.at < c.end) {
        const uint8_t *at = c.at;
        if (!fz_instruction(&c, &opcode))
            break;
        places[count++] = (place){at, c.at, opcode};
    }
    return count;
}

/* What an instruction takes from the one before it becomes a constant of any type. Rare instructions are chosen as often as common
 * ones: each has a rule of its own for its operands. False when the one chosen takes nothing so simple. */
static bool confuse(fz_rng *rng, const place *places, uint32_t count, const uint8_t *body, const uint8_t *end, fz_bytes *out)
{
    static const uint8_t types[] = {SBX_I32, SBX_I64, SBX_F32, SBX_F64, SBX_FUNCREF, SBX_EXTERNREF};
    uint32_t kinds[PLACES], kind_count = 0, k;
    for (uint32_t i = 1; i < count; i++) {
        uint32_t before = places[i - 1].opcode;
        bool pushes = (before >= SBX_WASM_i32_const && before <= SBX_WASM_f64_const) || before == SBX_WASM_local_get || before == SBX_WASM_global_get;
        for (k = 0; k < kind_count && places[kinds[k]].opcode != places[i].opcode; k++)
            ;
        if (!pushes || (k < kind_count && !fz_chance(rng, 40)))
            continue;
        kinds[k] = i;
        kind_count += k == kind_count;
    }
    if (!kind_count)
        return false;
    const place *producer = &places[kinds[fz_below(rng, kind_count)] - 1];
    uint8_t type = types[fz_below(rng, 6)];
    fz_append(out, body, (size_t)(producer->at - body));
    fz_const(out, type, fz_number(rng, type));
    fz_append(out, producer->end, (size_t)(end - producer->end));
    return true;
}

static void change_body(fz_rng *rng, const fz_environment *env, const uint8_t *body, size_t size, fz_bytes *out)
{
    static place places[PLACES];
    const uint8_t *code = NULL, *end = body + size;
    uint32_t count = find_instructions(body, size, places, &code);
    if (!count) {
        change_bytes(rng, body, size, out);
        return;
    }
    if (fz_chance(rng, 20) && confuse(rng, places, count, body, end, out))
        return;
    uint32_t first = fz_below(rng, count), length = 1 + fz_below(rng, 4);
    const place *p = &places[first], *last = &places[first + length < count ? first + length : count - 1];
    fz_append(out, body, (size_t)(p->at - body));
    uint32_t roll = fz_below(rng, 100), to = sibling(rng, p->opcode);
    if (roll < 35 && to != p->opcode) {
        fz_opcode(out, to);
        const uint8_t *rest = p->at + (p->opcode > 0xFF ? 2 : 1);
        fz_append(out, rest, (size_t)(p->end - rest));
    } else if (roll < 70 && p->end - p->at > 1) {
        change_immediates(rng, p->at, p->end, p->opcode, out);
    } else if (roll < 82) {
        insert_code(rng, env, out);
        fz_append(out, p->at, (size_t)(p->end - p->at));
    } else if (roll < 88) {
        fz_append(out, p->at, (size_t)(p->end - p->at));
        fz_append(out, p->at, (size_t)(last->end - p->at));
        fz_append(out, last->end, (size_t)(end - last->end));
        return;
    } else if (roll < 94) { /* removed */
        p = last;
    } else { /* another place's code in between */
        const place *from = &places[fz_below(rng, count)];
        fz_append(out, from->at, (size_t)(from->end - from->at));
        fz_append(out, p->at, (size_t)(p->end - p->at));
    }
    fz_append(out, p->end, (size_t)(end - p->end));
}

/* The code section with one body changed or made anew. */
static bool change_code(fz_rng *rng, fz_environment *env, const part *code, fz_bytes *out)
{
    fz_cursor c = {code->data, code->data + code->size};
    uint32_t count, size;
    fz_bytes body = {0};
    if (!fz_read_u32(&c, &count) || !count || count > 100000)
        return false;
    uint32_t chosen = fz_below(rng, count);
    fz_unsigned(out, count);
    for (uint32_t i = 0; i < count; i++) {
        if (!fz_read_u32(&c, &size) || !fz_skip(&c, size))
            break;
        body.size = 0;
        uint32_t function = env->imported_functions + i;
        bool known = function < env->function_count && env->functions[function] < env->type_count;
        if (i != chosen)
            fz_append(&body, c.at - size, size);
        else if (known && fz_chance(rng, 30))
            fz_body(env, env->functions[function], &body);
        else
            change_body(rng, env, c.at - size, size, &body);
        fz_sized(out, &body);
    }
    fz_free(&body);
    return true;
}

/* Another constant expression in place of one of a section (globals, offsets, element expressions); false when there is none. */
static bool change_constant(fz_rng *rng, const part *from, fz_bytes *out)
{
    static const uint8_t types[] = {SBX_I32, SBX_I64, SBX_F32, SBX_F64, SBX_FUNCREF, SBX_EXTERNREF};
    const uint8_t *end = from->data + from->size;
    uint32_t start = fz_below(rng, (uint32_t)from->size), opcode;
    for (const uint8_t *at = from->data + start; at < end; at++) {
        fz_cursor c = {at, end};
        bool constant = (*at >= SBX_WASM_i32_const && *at <= SBX_WASM_f64_const) || *at == SBX_WASM_global_get || *at == SBX_WASM_ref_null
                     || *at == SBX_WASM_ref_func;
        if (!constant || !fz_instruction(&c, &opcode) || c.at == end || *c.at != SBX_WASM_end)
            continue;
        fz_append(out, from->data, (size_t)(at - from->data));
        uint8_t type = types[fz_below(rng, 6)];
        if (fz_chance(rng, 70)) {
            fz_const(out, type, fz_number(rng, type));
        } else {
            fz_put(out, fz_chance(rng, 50) ? SBX_WASM_global_get : SBX_WASM_ref_func);
            fz_unsigned(out, fz_below(rng, 8));
        }
        fz_append(out, c.at, (size_t)(end - c.at));
        return true;
    }
    return false;
}

static void change_sections(fz_rng *rng, parts *all, parts *donor)
{
    uint32_t chosen = fz_below(rng, all->count), other = fz_below(rng, all->count);
    part kept = all->list[chosen];
    switch (fz_below(rng, donor->count ? 6 : 3)) {
    case 0:
        all->list[chosen] = all->list[other];
        all->list[other] = kept;
        break;
    case 1:
        memmove(&all->list[chosen], &all->list[chosen + 1], (all->count - chosen - 1) * sizeof kept);
        all->count--;
        break;
    case 2:
        if (all->count < SECTIONS)
            all->list[all->count++] = kept;
        break;
    default: { /* the donor's section of the same kind */
        const part *theirs = find(donor, kept.id);
        if (theirs)
            all->list[chosen] = *theirs;
    }
    }
}

static void change_once(fz_rng *rng, const uint8_t *bytes, size_t size, parts *donor, fz_bytes *out)
{
    parts all;
    fz_environment env = {.rng = rng};
    fz_bytes changed = {0};
    if (size < 8 || fz_chance(rng, 4) || !split(bytes, size, &all)) {
        if (size)
            change_bytes(rng, bytes, size, out);
        return;
    }
    part *code = find(&all, 10);
    uint32_t roll = fz_below(rng, 100);
    if (roll < 65 && code) {
        fz_environment_read(&env, bytes, size);
        if (change_code(rng, &env, code, &changed))
            *code = (part){10, changed.data, changed.size};
    } else if (roll < 85) {
        part *p = &all.list[fz_below(rng, all.count)];
        if (p->id == 10 || !fz_chance(rng, 50) || !change_constant(rng, p, &changed))
            change_bytes(rng, p->data, p->size, &changed);
        *p = (part){p->id, changed.data, changed.size};
    } else {
        change_sections(rng, &all, donor);
    }
    join(bytes, &all, out);
    fz_free(&changed);
}

void fz_mutate(fz_rng *rng, const uint8_t *bytes, size_t size, const uint8_t *donor, size_t donor_size, fz_bytes *out)
{
    parts theirs = {0};
    fz_bytes from = {0}, to = {0};
    if (!donor || !split(donor, donor_size, &theirs))
        theirs.count = 0;
    if (size == 0 || fz_chance(rng, 12)) {
        fz_module(fz_next(rng), out);
        return;
    }
    fz_append(&from, bytes, size);
    for (uint32_t n = fz_chance(rng, 60) ? 1 : 1 + fz_below(rng, 4); n; n--) {
        to.size = 0;
        change_once(rng, from.data, from.size, &theirs, &to);
        fz_bytes kept = from;
        from = to;
        to = kept;
    }
    fz_append(out, from.data, from.size);
    fz_free(&from);
    fz_free(&to);
}
