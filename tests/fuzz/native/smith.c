/* The generator: a valid module of a seed, with imports, tables, memory, globals, segments in all their forms. */
#include <string.h>
#include "fuzz.h"

/* The module while it is made: one buffer for each section that is written before all is known. */
typedef struct smith {
    fz_environment env;
    fz_rng rng;
    fz_bytes imports, exports, globals, elements, code;
    uint32_t import_count, export_count, imported_globals, imported_tables, element_modes;
    bool imported_memory;
    uint32_t memory_min, table_min[FZ_TABLES];
} smith;

uint32_t fz_type_index(fz_environment *env, const fz_signature *t)
{
    uint32_t arity = t->params + t->results;
    for (uint32_t i = 0; i < env->type_count; i++)
        if (env->types[i].params == t->params && env->types[i].results == t->results && !memcmp(env->types[i].types, t->types, arity))
            return i;
    if (!env->may_add_types || env->type_count >= FZ_TYPES)
        return FZ_TYPES;
    env->types[env->type_count] = *t;
    return env->type_count++;
}

static uint8_t value_type(smith *s)
{
    static const uint8_t types[] = {SBX_I32, SBX_I64, SBX_F32, SBX_F64};
    if (fz_chance(&s->rng, 8))
        return fz_chance(&s->rng, 50) ? SBX_FUNCREF : SBX_EXTERNREF;
    return types[fz_below(&s->rng, 4)];
}

static fz_signature signature(smith *s)
{
    bool wide = fz_chance(&s->rng, 10);
    fz_signature t = {.params = fz_below(&s->rng, wide ? 14 : 5), .results = fz_below(&s->rng, wide ? 8 : 3)};
    for (uint32_t i = 0; i < t.params + t.results; i++)
        t.types[i] = value_type(s);
    return t;
}

static void name(fz_bytes *out, const char *text)
{
    fz_unsigned(out, strlen(text));
    fz_append(out, text, strlen(text));
}

static void numbered(fz_bytes *out, char letter, uint32_t number)
{
    char text[4] = {letter, (char)('0' + number % 10), 0};
    if (number >= 10)
        text[1] = (char)('0' + number / 10), text[2] = (char)('0' + number % 10);
    name(out, text);
}

static void export(smith *s, char letter, uint32_t number, uint8_t kind, uint32_t index)
{
    numbered(&s->exports, letter, number);
    fz_put(&s->exports, kind);
    fz_unsigned(&s->exports, index);
    s->export_count++;
}

static void import(smith *s, char letter, uint32_t number, uint8_t kind)
{
    name(&s->imports, "h");
    numbered(&s->imports, letter, number);
    fz_put(&s->imports, kind);
    s->import_count++;
}

static void limits(fz_bytes *out, uint32_t min, uint32_t max)
{
    fz_put(out, max != UINT32_MAX);
    fz_unsigned(out, min);
    if (max != UINT32_MAX)
        fz_unsigned(out, max);
}

/* What the module imports: the embedder makes whatever is asked for. */
static void make_imports(smith *s)
{
    fz_environment *env = &s->env;
    for (uint32_t n = fz_chance(&s->rng, 60) ? 1 + fz_below(&s->rng, 3) : 0, i = 0; i < n; i++) {
        fz_signature t = signature(s);
        import(s, 'f', i, SBX_EXTERN_FUNC);
        env->functions[env->function_count++] = fz_type_index(env, &t);
        fz_unsigned(&s->imports, env->functions[i]);
    }
    env->imported_functions = env->function_count;
    if (fz_chance(&s->rng, 12)) {
        uint8_t type = fz_chance(&s->rng, 60) ? SBX_FUNCREF : SBX_EXTERNREF;
        import(s, 't', 0, SBX_EXTERN_TABLE);
        fz_put(&s->imports, type);
        limits(&s->imports, 10, 20);
        s->table_min[0] = 10;
        env->tables[env->table_count++] = type;
        s->imported_tables = 1;
    }
    if (fz_chance(&s->rng, 12)) {
        import(s, 'm', 0, SBX_EXTERN_MEMORY);
        s->memory_min = 1;
        limits(&s->imports, 1, 3);
        env->has_memory = s->imported_memory = true;
    }
    for (uint32_t n = fz_chance(&s->rng, 30) ? 1 + fz_below(&s->rng, 3) : 0, i = 0; i < n; i++) {
        uint8_t type = i == 0 ? SBX_I32 : value_type(s), is_mutable = i == 0 ? 0 : (uint8_t)fz_below(&s->rng, 2);
        import(s, 'g', i, SBX_EXTERN_GLOBAL);
        fz_put(&s->imports, type);
        fz_put(&s->imports, is_mutable);
        env->globals[env->global_count++] = (fz_global){type, is_mutable};
    }
    s->imported_globals = env->global_count;
}

static void make_globals(smith *s)
{
    fz_environment *env = &s->env;
    env->budget = (int32_t)env->global_count;
    for (uint32_t n = 1 + fz_below(&s->rng, 6), i = 0; i < n; i++) {
        uint8_t type = i ? value_type(s) : SBX_I32, is_mutable = i == 0 || fz_chance(&s->rng, 75);
        uint32_t index = env->global_count++;
        env->globals[index] = (fz_global){type, is_mutable};
        fz_put(&s->globals, type);
        fz_put(&s->globals, is_mutable);
        uint32_t from = fz_below(&s->rng, s->imported_globals);
        if (i && s->imported_globals && fz_chance(&s->rng, 60) && env->globals[from].type == type && !env->globals[from].is_mutable) {
            fz_put(&s->globals, SBX_WASM_global_get);
            fz_unsigned(&s->globals, from);
        } else if (type == SBX_FUNCREF && fz_chance(&s->rng, 60)) {
            fz_put(&s->globals, SBX_WASM_ref_func);
            fz_unsigned(&s->globals, fz_below(&s->rng, env->function_count));
        } else {
            fz_const(&s->globals, type, type == SBX_FUNCREF || type == SBX_EXTERNREF ? 0 : fz_number(&s->rng, type));
        }
        fz_put(&s->globals, SBX_WASM_end);
        if (i == 0) {
            name(&s->exports, "B");
            fz_put(&s->exports, SBX_EXTERN_GLOBAL);
            fz_unsigned(&s->exports, index);
            s->export_count++;
        } else {
            export(s, 'g', i, SBX_EXTERN_GLOBAL, index);
        }
    }
}

/* The offset of an active segment: mostly in bounds; `room` is the largest that is. */
static void offset(smith *s, fz_bytes *out, uint32_t room)
{
    uint32_t at = fz_chance(&s->rng, 98) ? fz_below(&s->rng, room + 1) : (uint32_t)fz_number(&s->rng, SBX_I32);
    if (s->imported_globals && fz_chance(&s->rng, 5)) { /* global 0 is an immutable i32 when anything is imported */
        fz_put(out, SBX_WASM_global_get);
        fz_unsigned(out, 0);
    } else {
        fz_const(out, SBX_I32, at);
    }
    fz_put(out, SBX_WASM_end);
}

/* One segment in one of the eight forms; every form refers to functions or nulls. */
static void element_segment(smith *s, uint32_t form, int32_t table, uint8_t type, uint32_t items)
{
    fz_bytes *out = &s->elements;
    fz_unsigned(out, form);
    if (form & 2 && !(form & 1))
        fz_unsigned(out, (uint32_t)table);
    if (!(form & 1))
        offset(s, out, s->table_min[table] - items);
    if (form & 3)
        fz_put(out, form & 4 ? type : 0);
    fz_unsigned(out, items);
    for (uint32_t i = 0; i < items; i++) {
        uint32_t function = fz_below(&s->rng, s->env.function_count);
        if (!(form & 4)) {
            fz_unsigned(out, function);
            continue;
        }
        if (type == SBX_FUNCREF && fz_chance(&s->rng, 75)) {
            fz_put(out, SBX_WASM_ref_func);
            fz_unsigned(out, function);
        } else {
            fz_const(out, type, 0);
        }
        fz_put(out, SBX_WASM_end);
    }
    s->element_modes++;
}

static void make_elements(smith *s)
{
    fz_environment *env = &s->env;
    for (uint32_t n = 1 + fz_below(&s->rng, 4); n; n--) {
        uint32_t form = fz_below(&s->rng, 8), items = fz_below(&s->rng, 8);
        int32_t table = env->table_count ? (int32_t)fz_below(&s->rng, env->table_count) : -1;
        if (!(form & 1)) {
            if (!(form & 2))
                table = 0;
            if (table < 0 || !env->table_count)
                continue;
            items = fz_below(&s->rng, s->table_min[table] + 1);
        }
        uint8_t type = form & 1 ? (fz_chance(&s->rng, 80) ? SBX_FUNCREF : SBX_EXTERNREF) : env->tables[table];
        if ((!(form & 4) || !(form & 3)) && type != SBX_FUNCREF)
            continue;
        element_segment(s, form, table, type, items);
        env->elements[env->element_count++] = type;
    }
    /* Whoever ref.func names must be declared. */
    fz_unsigned(&s->elements, 3);
    fz_put(&s->elements, 0);
    fz_unsigned(&s->elements, env->function_count);
    for (uint32_t i = 0; i < env->function_count; i++)
        fz_unsigned(&s->elements, i);
    env->elements[env->element_count++] = SBX_FUNCREF;
    s->element_modes++;
    env->refers = true;
}

static void section(fz_bytes *out, uint8_t id, const fz_bytes *contents)
{
    fz_put(out, id);
    fz_sized(out, contents);
}

/* A section that is a vector: its items stand in `items`. */
static void vector(fz_bytes *out, uint8_t id, uint32_t count, fz_bytes *items)
{
    fz_bytes contents = {0};
    fz_unsigned(&contents, count);
    fz_append(&contents, items->data, items->size);
    if (count)
        section(out, id, &contents);
    fz_free(&contents);
    fz_free(items);
}

static void put_types(smith *s, fz_bytes *out)
{
    fz_bytes items = {0};
    for (uint32_t i = 0; i < s->env.type_count; i++) {
        const fz_signature *t = &s->env.types[i];
        fz_put(&items, 0x60);
        fz_unsigned(&items, t->params);
        fz_append(&items, t->types, t->params);
        fz_unsigned(&items, t->results);
        fz_append(&items, t->types + t->params, t->results);
    }
    vector(out, 1, s->env.type_count, &items);
}

static void put_tables(smith *s, fz_bytes *out)
{
    fz_bytes items = {0};
    for (uint32_t i = s->imported_tables; i < s->env.table_count; i++) {
        uint32_t min = s->table_min[i];
        fz_put(&items, s->env.tables[i]);
        limits(&items, min, fz_chance(&s->rng, 85) ? min + fz_below(&s->rng, 9) : UINT32_MAX);
        export(s, 't', i, SBX_EXTERN_TABLE, i);
    }
    vector(out, 4, s->env.table_count - s->imported_tables, &items);
}

static void put_memory(smith *s, fz_bytes *out)
{
    fz_bytes items = {0};
    if (!s->env.has_memory)
        return;
    export(s, 'm', 0, SBX_EXTERN_MEMORY, 0);
    if (s->imported_memory)
        return;
    limits(&items, s->memory_min, fz_chance(&s->rng, 85) ? s->memory_min + fz_below(&s->rng, 3) : UINT32_MAX);
    vector(out, 5, 1, &items);
}

static void put_data(smith *s, fz_bytes *count, fz_bytes *out)
{
    fz_bytes items = {0};
    uint32_t n = s->env.data_count;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t length = fz_below(&s->rng, fz_chance(&s->rng, 60) ? 24 : 600);
        bool active = s->memory_min && fz_chance(&s->rng, 60);
        fz_put(&items, active ? fz_chance(&s->rng, 80) ? 0 : 2 : 1);
        if (active && items.data[items.size - 1] == 2)
            fz_put(&items, 0);
        if (active) { /* mostly where the bodies' addresses point, else at the end, or anywhere */
            uint32_t room = s->memory_min * 65536 - length, roll = fz_below(&s->rng, 100);
            if (roll < 30)
                fz_const(&items, SBX_I32, roll < 20 ? fz_below(&s->rng, 2) * 4 : room), fz_put(&items, SBX_WASM_end);
            else
                offset(s, &items, roll < 75 ? 24 : room);
        }
        fz_unsigned(&items, length);
        for (uint32_t k = 0; k < length; k++)
            fz_put(&items, (uint8_t)fz_next(&s->rng));
    }
    vector(out, 11, n, &items);
    if (n) {
        fz_put(count, 12);
        fz_put(count, 1);
        fz_put(count, (uint8_t)n);
    }
}

/* Function names, for backtraces. */
static void put_names(smith *s, fz_bytes *out)
{
    fz_bytes contents = {0}, names = {0};
    name(&contents, "name");
    fz_unsigned(&names, s->env.function_count);
    for (uint32_t i = 0; i < s->env.function_count; i++) {
        fz_unsigned(&names, i);
        numbered(&names, 'n', i);
    }
    fz_put(&contents, 1);
    fz_sized(&contents, &names);
    section(out, 0, &contents);
    fz_free(&names);
    fz_free(&contents);
}

static void plan(smith *s)
{
    fz_environment *env = &s->env;
    env->rng = &s->rng;
    env->may_add_types = true;
    make_imports(s);
    for (uint32_t n = 1 + fz_below(&s->rng, 4); n; n--) {
        fz_signature t = signature(s);
        env->functions[env->function_count++] = fz_type_index(env, &t);
    }
    for (uint32_t n = fz_below(&s->rng, 3); n; n--) {
        s->table_min[env->table_count] = fz_below(&s->rng, 13);
        env->tables[env->table_count++] = fz_chance(&s->rng, 65) ? SBX_FUNCREF : SBX_EXTERNREF;
    }
    if (!env->has_memory && fz_chance(&s->rng, 85)) {
        env->has_memory = true;
        s->memory_min = fz_chance(&s->rng, 85) ? 1 : fz_below(&s->rng, 3);
    }
    env->data_count = fz_below(&s->rng, 4);
    make_globals(s);
    make_elements(s);
}

static void put_functions(smith *s, fz_bytes *out)
{
    fz_environment *env = &s->env;
    fz_bytes functions = {0}, body = {0};
    uint32_t own = env->function_count - env->imported_functions;
    for (uint32_t i = env->imported_functions; i < env->function_count; i++) {
        fz_unsigned(&functions, env->functions[i]);
        export(s, 'f', i, SBX_EXTERN_FUNC, i);
        fz_body(env, env->functions[i], &body);
        fz_sized(&s->code, &body);
        body.size = 0;
    }
    fz_free(&body);
    vector(out, 3, own, &functions);
}

void fz_module(uint64_t seed, fz_bytes *out)
{
    static const uint8_t header[8] = {0, 'a', 's', 'm', 1, 0, 0, 0};
    smith s = {.rng = {seed * 0xD1342543DE82EF95u + 1}};
    fz_bytes functions = {0}, tables = {0}, memory = {0}, data = {0}, data_count = {0};
    plan(&s);
    put_functions(&s, &functions); /* makes the bodies, which add types */
    put_tables(&s, &tables);
    put_memory(&s, &memory);
    put_data(&s, &data_count, &data);
    int32_t start = -1;
    for (uint32_t i = s.env.imported_functions; i < s.env.function_count && fz_chance(&s.rng, 25); i++)
        if (s.env.types[s.env.functions[i]].params + s.env.types[s.env.functions[i]].results == 0)
            start = (int32_t)i;
    fz_append(out, header, sizeof header);
    put_types(&s, out);
    vector(out, 2, s.import_count, &s.imports);
    fz_append(out, functions.data, functions.size);
    fz_append(out, tables.data, tables.size);
    fz_append(out, memory.data, memory.size);
    vector(out, 6, s.env.global_count - s.imported_globals, &s.globals);
    vector(out, 7, s.export_count, &s.exports);
    if (start >= 0) {
        const uint8_t section8[] = {8, 1, (uint8_t)start};
        fz_append(out, section8, sizeof section8);
    }
    vector(out, 9, s.element_modes, &s.elements);
    fz_append(out, data_count.data, data_count.size);
    vector(out, 10, s.env.function_count - s.env.imported_functions, &s.code);
    fz_append(out, data.data, data.size);
    if (fz_chance(&s.rng, 20))
        put_names(&s, out);
    fz_free(&functions);
    fz_free(&tables);
    fz_free(&memory);
    fz_free(&data);
    fz_free(&data_count);
}
