/* The observer over our engine: what happens is noted in the order in which it happens. */
#include "observe.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "disasm.h"
#include "image_internal.h"

typedef struct run run;
typedef struct host { run *run; uint32_t import; sbx_functype type; } host;

struct run {
    fz_observation *out;
    uint32_t flags;
    int64_t fuel;
    sbx_image *image;
    sbx_store *store;
    sbx_instance *instance; /* NULL while its start function runs */
    sbx_call_engine *engine;
    uint64_t host_hash;
    host *hosts;
    fz_rng sips;
};

static void note(run *r, uint32_t tag, uint32_t index, uint64_t value)
{
    if (r->out->count < FZ_MAX_EVENTS)
        r->out->events[r->out->count++] = (fz_event){tag, index, value};
}

__attribute__((format(printf, 2, 3))) static void broken(run *r, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(r->out->message, sizeof r->out->message, format, args);
    va_end(args);
    r->out->outcome = FZ_BROKEN;
}

/* Answers from its arguments alone; some grow the guest's exported memory now and then. */
static sbx_status serve(sbx_call_engine *engine, sbx_instance *caller, void *data, uint64_t *values)
{
    const host *h = data;
    uint8_t types[64];
    uint64_t hash = h->import;
    sbx_extern memory;
    (void)engine, (void)caller;
    for (uint32_t i = 0; i < h->type.params; i++)
        hash = fz_mix(hash, fz_plain(h->type.types[i], values[i]));
    h->run->host_hash = fz_mix(h->run->host_hash, hash);
    if (h->import % 4 == 1 && (hash & 3) == 0 && h->run->instance
        && sbx_instance_export(h->run->instance, (const uint8_t *)"m0", 2, &memory) && memory.kind == SBX_EXTERN_MEMORY)
        sbx_memory_grow(memory.object, 1);
    for (uint32_t i = 0; i < h->type.results && i < 64; i++)
        types[i] = (uint8_t)h->type.types[h->type.params + i];
    fz_host_results(h->import, hash, types, h->type.results < 64 ? h->type.results : 64, values);
    return SBX_OK;
}

static bool make_extern(run *r, uint32_t index, sbx_extern *out)
{
    const sbx_image_import *import = SBX_IMAGE_AT(r->image, IMPORTS, sbx_image_import) + index;
    sbx_error err = {0};
    sbx_value value = {0};
    sbx_functype type;
    sbx_memory *memory = NULL;
    sbx_table *table = NULL;
    out->kind = (uint8_t)import->kind;
    switch (import->kind) {
    case SBX_EXTERN_FUNC:
        type = sbx_image_functype(r->image, import->type_index);
        r->hosts[index] = (host){r, index, type};
        out->object = sbx_store_native_function(r->store, &type, serve, &r->hosts[index]);
        break;
    case SBX_EXTERN_TABLE:
        sbx_table_new(r->store, &import->table, 0, &table, &err);
        out->object = table;
        break;
    case SBX_EXTERN_MEMORY:
        sbx_memory_new(r->store, &import->memory, !(r->flags & FZ_EXPLICIT), &memory, &err);
        out->object = memory;
        break;
    default:
        value.u64 = fz_imported_global(import->global.type);
        out->object = sbx_global_new(r->store, import->global, value);
    }
    return out->object != NULL;
}

/* How a call ended, in one number that holds on every engine; false when nothing after it can be compared. */
static bool ended(run *r, sbx_status status, uint32_t tag, uint32_t index)
{
    switch (status) {
    case SBX_OK: note(r, tag, index, 0); return true;
    case SBX_TRAP: note(r, tag, index, sbx_call_engine_trap(r->engine)); break;
    case SBX_STACK_EXHAUSTED: r->out->outcome = FZ_NO_STACK; return false;
    case SBX_OUT_OF_FUEL:
        note(r, tag, index, FZ_STATUS + status);
        sbx_call_engine_abandon(r->engine);
        r->out->outcome = FZ_TOO_LONG;
        return false;
    default: broken(r, "a call answered %s", sbx_status_text(status)); return false;
    }
    if (r->flags & FZ_WITH_FRAMES) {
        sbx_backtrace_frame frames[32];
        size_t count = sbx_call_engine_backtrace(r->engine, frames, 32);
        uint64_t hash = count;
        for (size_t i = 0; i < count && i < 32; i++)
            hash = fz_mix(fz_mix(hash, frames[i].function_index), frames[i].wasm_offset);
        note(r, FZ_FRAMES, index, hash);
    }
    return true;
}

static sbx_status invoke(run *r, sbx_function *function, uint64_t *values, size_t capacity)
{
    sbx_error err = {0};
    int64_t left = r->fuel, sip = r->flags & FZ_SIPS ? fz_below(&r->sips, 40) : left;
    sbx_call_engine_set_fuel(r->engine, sip);
    left -= sip;
    sbx_status status = sbx_call_engine_call(r->engine, function, values, capacity, &err);
    while (status == SBX_OUT_OF_FUEL && r->flags & FZ_SIPS && left > 0) {
        sip = 1 + fz_below(&r->sips, 200);
        sip = sip < left ? sip : left;
        left -= sip;
        sbx_call_engine_set_fuel(r->engine, sbx_call_engine_fuel(r->engine) + sip);
        status = sbx_call_engine_resume(r->engine, values, capacity, &err);
    }
    /* Sips leave the last operation's price unpaid or not, as the whole would: the sum tells. */
    sbx_call_engine_set_fuel(r->engine, sbx_call_engine_fuel(r->engine) + left);
    return status;
}

static bool call(run *r, sbx_function *function, uint32_t number, uint32_t round)
{
    const sbx_functype *type = function->type;
    uint32_t width = type->params > type->results ? type->params : type->results;
    uint64_t *values = calloc(width + 1, sizeof *values);
    uint8_t *types = calloc(type->params + 1, 1);
    if (!values || !types)
        abort();
    for (uint32_t i = 0; i < type->params; i++)
        types[i] = (uint8_t)type->types[i];
    fz_arguments(number, round, types, type->params, values);
    sbx_extern budget;
    if (sbx_instance_export(r->instance, (const uint8_t *)"B", 1, &budget) && budget.kind == SBX_EXTERN_GLOBAL) {
        const sbx_extern_global *global = budget.object;
        if (global->type.type == SBX_I32 && global->type.is_mutable)
            global->cell->u64 = FZ_BUDGET;
    }
    sbx_status status = invoke(r, function, values, width + 1);
    bool go_on = ended(r, status, FZ_CALLED, number * FZ_ROUNDS + round);
    if (go_on && status == SBX_OK)
        for (uint32_t i = 0; i < type->results; i++)
            note(r, FZ_RESULT, i, fz_plain(type->types[type->params + i], values[i]));
    if (go_on && r->flags & FZ_METERED)
        note(r, FZ_FUEL, number, (uint64_t)sbx_call_engine_fuel(r->engine));
    free(values);
    free(types);
    return go_on;
}

static void note_table(run *r, uint32_t index, const sbx_table *table)
{
    uint64_t hash = 0;
    note(r, FZ_TABLE_SIZE, index, table->size);
    for (uint64_t i = 0; i < table->size && i < FZ_TABLE_SHOWN; i++)
        hash = fz_mix(hash, fz_plain(table->type, table->elements[i]));
    note(r, FZ_TABLE, index, hash);
}

static void note_state(run *r)
{
    const sbx_image_export *exports = SBX_IMAGE_AT(r->image, EXPORTS, sbx_image_export);
    note(r, FZ_HOST, 0, r->host_hash);
    for (uint32_t i = 0; i < r->image->header->export_count && i < 200; i++) {
        sbx_name name = sbx_image_name_of(r->image, exports[i].name);
        sbx_extern found;
        if (!sbx_instance_export(r->instance, name.bytes, name.length, &found)) {
            broken(r, "export %u is not found", i);
            return;
        }
        if (found.kind == SBX_EXTERN_TABLE) {
            note_table(r, i, found.object);
        } else if (found.kind == SBX_EXTERN_MEMORY) {
            const sbx_memory *memory = found.object;
            note(r, FZ_MEMORY_SIZE, i, memory->size);
            note(r, FZ_MEMORY, i, fz_hash(memory->base, memory->size));
        } else if (found.kind == SBX_EXTERN_GLOBAL) {
            const sbx_extern_global *global = found.object;
            note(r, FZ_GLOBAL, i, fz_plain(global->type.type, global->cell->u64));
        }
    }
}

static bool instantiate(run *r)
{
    const sbx_image_header *h = r->image->header;
    sbx_error err = {0};
    sbx_instance *instance = NULL;
    sbx_extern *externs = calloc(h->import_count + 1u, sizeof *externs);
    r->hosts = calloc(h->import_count + 1u, sizeof *r->hosts);
    if (!externs || !r->hosts)
        abort();
    bool made = true;
    for (uint32_t i = 0; made && i < h->import_count; i++)
        made = make_extern(r, i, &externs[i]);
    sbx_status status = !made ? SBX_MEMORY_LIMIT : sbx_instance_new(r->store, r->image, externs, h->import_count, &instance, &err);
    free(externs);
    if (!status)
        status = sbx_instance_init_elements(instance, &err);
    if (!status)
        status = sbx_instance_init_data(instance, &err);
    note(r, FZ_INSTANTIATED, 0, status == SBX_TRAP ? err.trap : status ? FZ_STATUS + status : 0);
    if (status)
        return false;
    if (h->has_start) {
        uint64_t nothing[1] = {0};
        status = invoke(r, sbx_instance_function(instance, h->start), nothing, 1);
        if (!ended(r, status, FZ_STARTED, 0) || status)
            return false;
    }
    r->instance = instance;
    return true;
}

static void run_all(run *r)
{
    const sbx_image_export *exports = SBX_IMAGE_AT(r->image, EXPORTS, sbx_image_export);
    if (!instantiate(r))
        return;
    for (uint32_t round = 0; round < FZ_ROUNDS; round++)
        for (uint32_t i = 0, number = 0; i < r->image->header->export_count && number < FZ_MAX_CALLS; i++)
            if (exports[i].kind == SBX_EXTERN_FUNC && !call(r, sbx_instance_function(r->instance, exports[i].index), number++, round))
                return;
    note_state(r);
}

/* A listing of each function, for what it may read beyond its image. */
static void list(run *r)
{
    for (uint32_t i = 0; i < r->image->header->function_count && i < 64; i++) {
        char *text = NULL;
        size_t length;
        sbx_error err = {0};
        if (i >= r->image->header->imported_functions && sbx_disassemble(r->image, i, &text, &length, &err) != SBX_OK)
            broken(r, "function %u cannot be listed: %s", i, err.message);
        sbx_free(text);
    }
}

/* The engine lies in mapped pages, which the leak checker does not look through. */
void __lsan_disable(void);
void __lsan_enable(void);
#pragma weak __lsan_disable
#pragma weak __lsan_enable

static sbx_call_engine *reusable_engine(void)
{
    static sbx_call_engine *engine;
    static const sbx_call_engine_options options = {.stack_slots = 1 << 16, .call_depth = 1000};
    if (engine)
        return engine;
    if (__lsan_disable)
        __lsan_disable();
    engine = sbx_call_engine_new(&options);
    if (__lsan_enable)
        __lsan_enable();
    return engine;
}

void fz_observe(const uint8_t *bytes, size_t size, uint32_t flags, int64_t fuel, fz_observation *out)
{
    sbx_store_limits limits = {.memory_pages = FZ_MAX_PAGES, .table_elements = FZ_MAX_ELEMENTS};
    sbx_compile_options options = {.metered = !!(flags & FZ_METERED), .explicit_bounds = !!(flags & FZ_EXPLICIT),
                                   .keep_debug_names = 1, .compiled = flags & FZ_COMPILED};
    uint8_t *image = NULL;
    uint64_t image_size = 0;
    sbx_error err = {0};
    run r = {.out = out, .flags = flags, .fuel = fuel, .sips = {size}};
    out->outcome = FZ_SEEN;
    out->count = 0;
    out->message[0] = 0;
    out->status = sbx_compile(bytes, size, &options, &image, &image_size, &err);
    if (out->status) {
        out->outcome = FZ_REFUSED;
        snprintf(out->message, sizeof out->message, "%s", err.message);
        return;
    }
    if (sbx_image_from_bytes(image, image_size, &r.image, &err)) {
        broken(&r, "our own image is refused: %s", err.message);
    } else if (flags & FZ_CHECKED && flags & FZ_COMPILED && sbx_x64_check(r.image, &err)) {
        broken(&r, "the checker refuses the machine code: %s", err.message);
    } else {
        if (flags & FZ_CHECKED)
            list(&r);
        r.store = sbx_store_new(&limits);
        r.engine = reusable_engine();
        if (!r.store || !r.engine)
            abort();
        run_all(&r);
        if (sbx_call_engine_suspended(r.engine))
            broken(&r, "a call is left over");
        if (sbx_store_free(r.store))
            broken(&r, "the store is still in use");
    }
    sbx_image_release(r.image);
    sbx_free(image);
    free(r.hosts);
}
