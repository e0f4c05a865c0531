/* Linking: matches externs against a module's imports (specification 4.5.3) and enters them into the instance. */
#include "store_internal.h"
#include <stdio.h>
#include <string.h>

/* The import under examination, and the next free entry of each index space. */
typedef struct linker {
    sbx_instance *instance;
    const sbx_image_import *import;
    uint32_t next[4];
    sbx_error *err;
} linker;

/* "module"."name", printable. */
static const char *import_text(const linker *l, char *out, size_t cap)
{
    char module[80], name[80];
    sbx_name m = sbx_image_name_of(l->instance->image, l->import->module);
    sbx_name n = sbx_image_name_of(l->instance->image, l->import->name);
    snprintf(out, cap, "\"%s\".\"%s\"", sbx_printable(module, sizeof module, m.bytes, m.length),
             sbx_printable(name, sizeof name, n.bytes, n.length));
    return out;
}

static sbx_status incompatible(const linker *l, const char *why)
{
    char text[176];
    return sbx_fail(l->err, SBX_LINK, SBX_NO_OFFSET, "incompatible import type (%s): %s", why, import_text(l, text, sizeof text));
}

static const char *type_text(char *out, size_t cap, const sbx_functype *type)
{
    size_t used = (size_t)snprintf(out, cap, "[");
    uint64_t count = (uint64_t)type->params + type->results;
    for (uint64_t i = 0; i <= count && used < cap; i++) {
        if (i == type->params)
            used += (size_t)snprintf(out + used, cap - used, "%s", "] -> [");
        if (i < count && used < cap)
            used += (size_t)snprintf(out + used, cap - used, "%s%s", i == 0 || i == type->params ? "" : " ",
                                     sbx_valtype_name(type->types[i]));
    }
    if (used < cap)
        used += (size_t)snprintf(out + used, cap - used, "]");
    if (used >= cap && cap > 3)
        memcpy(out + cap - 4, "...", 4);
    return out;
}

static sbx_status link_function(linker *l, sbx_function *function)
{
    sbx_instance *instance = l->instance;
    uint32_t needed = instance->type_ids[l->import->type_index];
    if (function->instance && function->instance->store != instance->store)
        return sbx_fail(l->err, SBX_USAGE, SBX_NO_OFFSET, "a function of another store was given as an import");
    if (function->type_id != needed) {
        char why[120], have[48], need[48];
        sbx_functype type = sbx_image_functype(instance->image, l->import->type_index);
        snprintf(why, sizeof why, "function %s needed, %s given", type_text(need, sizeof need, &type),
                 type_text(have, sizeof have, function->type));
        return incompatible(l, why);
    }
    instance->imported_functions[l->next[SBX_EXTERN_FUNC]++] = function;
    return SBX_OK;
}

/* Limits {have} match {need}: at least as much, and no more than what is allowed. */
static const char *limits_fault(uint64_t size, bool has_max, uint64_t max, const sbx_limits *need)
{
    if (size < need->min)
        return "smaller than needed";
    if (need->has_max && (!has_max || max > need->max))
        return has_max ? "maximum larger than allowed" : "no maximum where one is needed";
    return NULL;
}

static sbx_status link_table(linker *l, sbx_table *table)
{
    const sbx_tabletype *need = &l->import->table;
    if (table->store != l->instance->store)
        return sbx_fail(l->err, SBX_USAGE, SBX_NO_OFFSET, "a table of another store was given as an import");
    const char *fault = table->type != need->element ? "another element type"
                                                     : limits_fault(table->size, table->has_max, table->max, &need->limits);
    if (fault)
        return incompatible(l, fault);
    l->instance->tables[l->next[SBX_EXTERN_TABLE]++] = table;
    return SBX_OK;
}

static sbx_status link_memory(linker *l, sbx_memory *memory)
{
    if (memory->store != l->instance->store)
        return sbx_fail(l->err, SBX_USAGE, SBX_NO_OFFSET, "a memory of another store was given as an import");
    const char *fault = limits_fault(memory->size / SBX_PAGE_SIZE, memory->has_max, memory->max_pages, &l->import->memory.limits);
    if (fault)
        return incompatible(l, fault);
    if (!memory->guarded && !l->instance->image->header->explicit_bounds) {
        char text[176];
        return sbx_fail(l->err, SBX_INSTANTIATE, SBX_NO_OFFSET,
                        "the module was compiled for guard pages, which this memory lacks: %s",
                        import_text(l, text, sizeof text));
    }
    l->instance->memories[l->next[SBX_EXTERN_MEMORY]++] = memory;
    return SBX_OK;
}

static sbx_status link_global(linker *l, sbx_extern_global *global)
{
    const sbx_globaltype *need = &l->import->global;
    if (global->type.type != need->type)
        return incompatible(l, "another value type");
    if (!global->type.is_mutable != !need->is_mutable)
        return incompatible(l, need->is_mutable ? "immutable where mutable is needed" : "mutable where immutable is needed");
    uint32_t index = l->next[SBX_EXTERN_GLOBAL]++;
    l->instance->imported_globals[index] = global->cell;
    l->instance->global_records[index] = *global;
    return SBX_OK;
}

static sbx_status link_one(linker *l, const sbx_extern *given)
{
    static const char *const kinds[] = {"function", "table", "memory", "global", "tag"};
    if (!given || !given->object) {
        char text[176];
        return sbx_fail(l->err, SBX_LINK, SBX_NO_OFFSET, "unknown import: %s", import_text(l, text, sizeof text));
    }
    if (given->kind != l->import->kind) {
        char why[64];
        snprintf(why, sizeof why, "%s needed, %s given", kinds[l->import->kind],
                 given->kind <= SBX_EXTERN_TAG ? kinds[given->kind] : "other");
        return incompatible(l, why);
    }
    switch (l->import->kind) {
    case SBX_EXTERN_FUNC: return link_function(l, given->object);
    case SBX_EXTERN_TABLE: return link_table(l, given->object);
    case SBX_EXTERN_MEMORY: return link_memory(l, given->object);
    default: return link_global(l, given->object);
    }
}

sbx_status sbx_link_imports(sbx_instance *instance, const sbx_extern *externs, size_t count, sbx_error *err)
{
    const sbx_image_header *header = instance->image->header;
    linker l = {.instance = instance, .import = SBX_IMAGE_AT(instance->image, IMPORTS, sbx_image_import), .err = err};
    if (count > header->import_count)
        return sbx_fail(err, SBX_USAGE, SBX_NO_OFFSET, "%zu externs for %u imports", count, header->import_count);
    for (uint32_t i = 0; i < header->import_count; i++, l.import++) {
        sbx_status status = link_one(&l, i < count ? &externs[i] : NULL);
        if (status != SBX_OK)
            return status;
    }
    return SBX_OK;
}
