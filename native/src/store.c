/* The store: owner of everything that instances are made of, released at once; and what a host makes: functions, globals. */
#include "store_internal.h"
#include <string.h>
#include <sys/mman.h>

/* From here on a block is mapped instead of taken from the heap, which would have to clear it. */
#define MAP_FROM (128u << 10)

sbx_store *sbx_store_new(const sbx_store_limits *limits)
{
    sbx_store *store = sbx_calloc(1, sizeof *store);
    if (!store)
        return NULL;
    store->types = sbx_type_registry_new();
    if (!store->types) {
        sbx_free(store);
        return NULL;
    }
    /* A limit of 0 that was given is a limit of 0: only without limits are there defaults. */
    store->limits = limits ? *limits : (sbx_store_limits){.memory_pages = SBX_MAX_PAGES32, .table_elements = 10000000};
    if (!store->limits.instances)
        store->limits.instances = 10000;
    return store;
}

sbx_status sbx_store_free(sbx_store *store)
{
    if (!store)
        return SBX_OK;
    if (__atomic_load_n(&store->owner, __ATOMIC_ACQUIRE))
        return SBX_BUSY;
    sbx_store_rollback(store, NULL);
    sbx_type_registry_free(store->types);
    sbx_free(store);
    return SBX_OK;
}

void *sbx_store_alloc(sbx_store *store, uint64_t size, void (*destroy)(void *object))
{
    if (size > SIZE_MAX / 2)
        return NULL;
    size_t bytes = sizeof(sbx_store_object) + (size_t)size;
    sbx_store_object *block;
    if (bytes < MAP_FROM) {
        block = sbx_calloc(1, bytes);
        if (!block)
            return NULL;
    } else {
        block = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (block == MAP_FAILED)
            return NULL;
        block->mapped = bytes;
    }
    block->destroy = destroy;
    block->next = store->objects;
    store->objects = block;
    return block + 1;
}

void sbx_store_rollback(sbx_store *store, sbx_store_object *mark)
{
    while (store->objects != mark) {
        sbx_store_object *block = store->objects;
        store->objects = block->next;
        if (block->destroy)
            block->destroy(block + 1);
        if (block->mapped)
            munmap(block, block->mapped);
        else
            sbx_free(block);
    }
}

uint32_t sbx_store_type_id(sbx_store *store, const sbx_functype *type, const sbx_functype **canonical)
{
    uint32_t id = sbx_type_registry_intern(store->types, type);
    if (id != UINT32_MAX && canonical)
        *canonical = sbx_type_registry_get(store->types, id);
    return id;
}

/* Zeroed but for its type. */
static sbx_function *new_function(sbx_store *store, const sbx_functype *type)
{
    const sbx_functype *canonical = NULL;
    uint32_t id = sbx_store_type_id(store, type, &canonical);
    if (id == UINT32_MAX)
        return NULL;
    sbx_function *function = sbx_store_alloc(store, sizeof *function, NULL);
    if (!function)
        return NULL;
    function->type_id = id;
    function->type = canonical;
    return function;
}

sbx_function *sbx_store_native_function(sbx_store *store, const sbx_functype *type, sbx_host_function native, void *data)
{
    sbx_function *function = new_function(store, type);
    if (!function)
        return NULL;
    function->kind = SBX_FUNCTION_NATIVE;
    function->native = native;
    function->data = data;
    return function;
}

sbx_function *sbx_store_embedder_function(sbx_store *store, const sbx_functype *type, uint32_t number)
{
    sbx_function *function = new_function(store, type);
    if (!function)
        return NULL;
    function->kind = SBX_FUNCTION_EMBEDDER;
    function->index = number;
    return function;
}

/* A host-made global: the record that externs point to, and its cell. */
typedef struct host_global { sbx_extern_global record; sbx_value cell; } host_global;

sbx_extern_global *sbx_global_new(sbx_store *store, sbx_globaltype type, sbx_value value)
{
    host_global *global = sbx_store_alloc(store, sizeof *global, NULL);
    if (!global)
        return NULL;
    global->cell = value;
    global->record = (sbx_extern_global){&global->cell, type};
    return &global->record;
}
