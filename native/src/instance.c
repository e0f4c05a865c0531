/* Module instances: one block for all that an executor reads, functions filled on first use, exports by name. */
#include "image_internal.h"
#include "store_internal.h"
#include <sys/mman.h>
#if defined __linux__ && !defined MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14; older kernels refuse it, which does no harm */
#endif

static void instance_destroy(void *object)
{
    sbx_instance *instance = object;
    sbx_image_release((sbx_image *)instance->image);
}

/* Takes room for `count` items behind what was taken so far; returns its offset. Counts are 32-bit: no overflow. */
static uint64_t take(uint64_t *used, uint64_t count, uint64_t size)
{
    uint64_t offset = (*used + 15) & ~15ull;
    *used = offset + count * size;
    return offset;
}

/* The instance with all its arrays in one zeroed block; the counts filled in. The functions come last: nobody touches their pages
 * before they are called or referred to. */
static sbx_instance *allocate(sbx_store *store, sbx_image *image)
{
    const sbx_image_header *h = image->header;
    uint32_t own_functions = h->function_count - h->imported_functions, own_globals = h->global_count - h->imported_globals;
    uint64_t size = offsetof(sbx_instance, own_globals) + own_globals * sizeof(sbx_value);
    uint64_t imported_functions = take(&size, h->imported_functions, sizeof(sbx_function *));
    uint64_t imported_globals = take(&size, h->imported_globals, sizeof(sbx_value *));
    uint64_t tables = take(&size, h->table_count, sizeof(sbx_table *));
    uint64_t memories = take(&size, h->memory_count, sizeof(sbx_memory *));
    uint64_t type_ids = take(&size, h->type_count, sizeof(uint32_t));
    uint64_t dropped_data = take(&size, h->data_count, 1);
    uint64_t dropped_elements = take(&size, h->element_count, 1);
    uint64_t records = take(&size, h->global_count, sizeof(sbx_extern_global));
    uint64_t functions = take(&size, own_functions, sizeof(sbx_function));
    uint8_t *block = sbx_store_alloc(store, size, instance_destroy);
    if (!block)
        return NULL;
    sbx_instance *instance = (sbx_instance *)block;
    instance->imported_functions = (sbx_function **)(block + imported_functions);
    instance->imported_globals = (sbx_value **)(block + imported_globals);
    instance->tables = (sbx_table **)(block + tables);
    instance->memories = (sbx_memory **)(block + memories);
    instance->type_ids = (uint32_t *)(block + type_ids);
    instance->dropped_data = block + dropped_data;
    instance->dropped_elements = block + dropped_elements;
    instance->global_records = (sbx_extern_global *)(block + records);
    instance->functions = (sbx_function *)(block + functions);
    instance->code = SBX_IMAGE_AT(image, CODE, uint16_t);
    instance->imported_function_count = h->imported_functions;
    instance->imported_global_count = h->imported_globals;
    instance->function_count = h->function_count;
    instance->table_count = h->table_count;
    instance->memory_count = h->memory_count;
    instance->own_global_count = own_globals;
    instance->store = store;
    instance->image = image;
    sbx_image_retain(image);
    return instance;
}

static sbx_status make_types_canonical(sbx_instance *instance, sbx_error *err)
{
    uint32_t *ids = (uint32_t *)instance->type_ids;
    for (uint32_t i = 0; i < instance->image->header->type_count; i++) {
        sbx_functype type = sbx_image_functype(instance->image, i);
        ids[i] = sbx_type_registry_intern(instance->store->types, &type);
        if (ids[i] == UINT32_MAX)
            return sbx_fail(err, SBX_NO_MEMORY, SBX_NO_OFFSET, "no memory for the types of a module");
    }
    return SBX_OK;
}

static sbx_status make_tables_and_memories(sbx_instance *instance, sbx_error *err)
{
    const sbx_image_header *h = instance->image->header;
    const sbx_tabletype *tables = SBX_IMAGE_AT(instance->image, TABLES, sbx_tabletype);
    const sbx_memorytype *memories = SBX_IMAGE_AT(instance->image, MEMORIES, sbx_memorytype);
    sbx_status status = SBX_OK;
    for (uint32_t i = h->imported_tables; i < h->table_count && status == SBX_OK; i++)
        status = sbx_table_new(instance->store, &tables[i], 0, &instance->tables[i], err);
    for (uint32_t i = h->imported_memories; i < h->memory_count && status == SBX_OK; i++)
        status = sbx_memory_new(instance->store, &memories[i], !h->explicit_bounds, &instance->memories[i], err);
    instance->memory0 = h->memory_count ? instance->memories[0] : NULL;
    return status;
}

void sbx_instance_init_globals(sbx_instance *instance)
{
    const sbx_image_global *globals = SBX_IMAGE_AT(instance->image, GLOBALS, sbx_image_global) + instance->imported_global_count;
    for (uint32_t i = 0; i < instance->own_global_count; i++)
        instance->own_globals[i] = sbx_instance_const(instance, &globals[i].init);
}

static sbx_status build(sbx_instance *instance, const sbx_extern *externs, size_t count, sbx_error *err)
{
    sbx_status status = make_types_canonical(instance, err);
    if (status == SBX_OK)
        status = sbx_link_imports(instance, externs, count, err);
    if (status == SBX_OK)
        status = make_tables_and_memories(instance, err);
    if (status == SBX_OK)
        sbx_instance_init_globals(instance);
    return status;
}

/* One store, one executor: calls go through tables and imports without asking, and a metered module counts in a register. */
static bool same_executor(sbx_store *store, const sbx_image *image)
{
    uint32_t executor = image->machine ? 2u + image->header->metered : 1u;
    if (store->executor && store->executor != executor)
        return false;
    store->executor = executor;
    return true;
}

sbx_status sbx_instance_new(sbx_store *store, sbx_image *image, const sbx_extern *externs, size_t count,
                            sbx_instance **out, sbx_error *err)
{
    *out = NULL;
    if (store->instance_count >= store->limits.instances)
        return sbx_fail(err, SBX_MEMORY_LIMIT, SBX_NO_OFFSET, "the limit of %u instances is reached", store->limits.instances);
    if (!same_executor(store, image))
        return sbx_fail(err, SBX_USAGE, SBX_NO_OFFSET, "modules compiled for different executors cannot share a store");
    if (!image->machine && image->header->sections[SBX_IMAGE_MACHINE].bytes)
        return sbx_fail(err, SBX_USAGE, SBX_NO_OFFSET, "an image that was opened for reading only cannot be instantiated");
    /* Nothing outside can refer to what a failed attempt made: its functions were put into no imported table yet. */
    sbx_store_object *mark = store->objects;
    sbx_instance *instance = allocate(store, image);
    if (!instance)
        return sbx_fail(err, SBX_NO_MEMORY, SBX_NO_OFFSET, "no memory for a module instance");
    sbx_status status = build(instance, externs, count, err);
    if (status != SBX_OK) {
        sbx_store_rollback(store, mark);
        return status;
    }
    instance->next = store->instances;
    store->instances = instance;
    store->instance_count++;
    *out = instance;
    return SBX_OK;
}

sbx_function *sbx_instance_function(sbx_instance *instance, uint32_t index)
{
    if (index < instance->imported_function_count)
        return instance->imported_functions[index];
    sbx_function *function = &instance->functions[index - instance->imported_function_count];
    if (function->type)
        return function;
    const sbx_image_function *record = SBX_IMAGE_AT(instance->image, FUNCTIONS, sbx_image_function) + index;
    function->type_id = instance->type_ids[record->type_index];
    function->kind = SBX_FUNCTION_WASM;
    function->instance = instance;
    function->index = index;
    function->frame_slots = record->frame_slots;
    function->type = sbx_type_registry_get(instance->store->types, function->type_id);
    if (instance->image->machine)
        function->machine = instance->image->machine + record->machine_offset;
    else
        function->code = instance->code + record->code_offset;
    return function;
}

/* A table of CPython's 5,400 functions: 0.34 ms page by page, 0.11 ms at once. Functions of one page are 73; when more than about
 * two on each are to be filled, nearly all pages will be touched anyway. */
void sbx_instance_prefault(sbx_instance *instance, uint64_t references)
{
#ifdef MADV_POPULATE_WRITE
    const uintptr_t page = 4096;
    uint64_t own = instance->function_count - instance->imported_function_count;
    uintptr_t first = ((uintptr_t)instance->functions + page - 1) & ~(page - 1);
    uintptr_t end = (uintptr_t)(instance->functions + own) & ~(page - 1);
    if (references >= own / 32 && end > first + 16 * page)
        madvise((void *)first, end - first, MADV_POPULATE_WRITE);
#else
    (void)instance;
    (void)references;
#endif
}

sbx_value *sbx_instance_global(sbx_instance *instance, uint32_t index, sbx_globaltype *type)
{
    if (type)
        *type = SBX_IMAGE_AT(instance->image, GLOBALS, sbx_image_global)[index].type;
    return index < instance->imported_global_count ? instance->imported_globals[index]
                                                   : &instance->own_globals[index - instance->imported_global_count];
}

static sbx_extern_global *global_record(sbx_instance *instance, uint32_t index)
{
    sbx_extern_global *record = &instance->global_records[index];
    if (!record->cell)
        record->cell = sbx_instance_global(instance, index, &record->type);
    return record;
}

static const sbx_image_export *find_export(const sbx_image *image, sbx_name name)
{
    const sbx_image_export *exports = SBX_IMAGE_AT(image, EXPORTS, sbx_image_export);
    uint32_t low = 0, high = image->header->export_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = sbx_name_compare(sbx_image_name_of(image, exports[middle].name), name);
        if (order == 0)
            return &exports[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

bool sbx_instance_export(sbx_instance *instance, const uint8_t *name, size_t length, sbx_extern *out)
{
    if (length > UINT32_MAX)
        return false;
    const sbx_image_export *export = find_export(instance->image, (sbx_name){name, (uint32_t)length});
    if (!export)
        return false;
    out->kind = (uint8_t)export->kind;
    switch (export->kind) {
    case SBX_EXTERN_FUNC: out->object = sbx_instance_function(instance, export->index); break;
    case SBX_EXTERN_TABLE: out->object = instance->tables[export->index]; break;
    case SBX_EXTERN_MEMORY: out->object = instance->memories[export->index]; break;
    default: out->object = global_record(instance, export->index); break;
    }
    return true;
}
