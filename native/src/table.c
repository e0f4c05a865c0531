/* Tables of references: creation, growing within the store's limits, and the bulk operations. */
#include "store_internal.h"
#include <string.h>

#define MAX_ELEMENTS 0xFFFFFFFFull

/* The table as executors see it, and the room behind its elements: growing one by one stays linear. */
typedef struct table_box { sbx_table table; uint64_t capacity; } table_box;

static void table_destroy(void *object)
{
    sbx_table *table = object;
    if (!table->store)
        return;
    table->store->table_elements_used -= table->size;
    sbx_free(table->elements);
}

static void set(uint64_t *elements, uint64_t count, uint64_t value)
{
    for (uint64_t i = 0; i < count; i++)
        elements[i] = value;
}

sbx_status sbx_table_new(sbx_store *store, const sbx_tabletype *type, uint64_t init, sbx_table **out, sbx_error *err)
{
    const sbx_limits *limits = &type->limits;
    *out = NULL;
    uint64_t max = limits->has_max ? limits->max : MAX_ELEMENTS;
    if (!sbx_is_reference(type->element) || limits->is64 || limits->shared || max > MAX_ELEMENTS || limits->min > max)
        return sbx_fail(err, SBX_USAGE, SBX_NO_OFFSET, "an impossible table type");
    uint64_t limit = store->limits.table_elements, used = store->table_elements_used;
    if (limits->min > (limit > used ? limit - used : 0))
        return sbx_fail(err, SBX_MEMORY_LIMIT, SBX_NO_OFFSET,
                        "a table of %llu elements exceeds the limit of %llu elements, %llu of them in use",
                        (unsigned long long)limits->min, (unsigned long long)limit, (unsigned long long)used);
    sbx_store_object *mark = store->objects;
    table_box *box = sbx_store_alloc(store, sizeof *box, table_destroy);
    if (!box)
        return sbx_fail(err, SBX_NO_MEMORY, SBX_NO_OFFSET, "no memory for a table instance");
    sbx_table *table = &box->table;
    box->capacity = limits->min ? limits->min : 1;
    table->elements = sbx_calloc(box->capacity, sizeof *table->elements);
    if (!table->elements) {
        sbx_store_rollback(store, mark);
        return sbx_fail(err, SBX_NO_MEMORY, SBX_NO_OFFSET, "no memory for a table of %llu elements",
                        (unsigned long long)limits->min);
    }
    if (init)
        set(table->elements, limits->min, init);
    table->type = type->element;
    table->size = limits->min;
    table->max = max;
    table->cap = max < limit ? max : limit;
    table->has_max = limits->has_max != 0;
    table->store = store;
    store->table_elements_used += table->size;
    *out = table;
    return SBX_OK;
}

int64_t sbx_table_grow(sbx_table *table, uint64_t delta, uint64_t init)
{
    table_box *box = (table_box *)table;
    sbx_store *store = table->store;
    uint64_t old = table->size;
    if (delta > table->cap - old || delta > store->limits.table_elements - store->table_elements_used)
        return -1;
    uint64_t size = old + delta;
    if (size > box->capacity) {
        uint64_t capacity = box->capacity + box->capacity / 2;
        capacity = capacity < size ? size : capacity > table->cap ? table->cap : capacity;
        uint64_t *elements = sbx_realloc(table->elements, capacity * sizeof *elements);
        if (!elements)
            return -1;
        table->elements = elements;
        box->capacity = capacity;
    }
    set(table->elements + old, delta, init);
    table->size = size;
    store->table_elements_used += delta;
    return (int64_t)old;
}

bool sbx_table_reset(sbx_table *table, uint64_t min)
{
    table_box *box = (table_box *)table;
    if (table->size > min) { /* gives back what it grew by */
        uint64_t capacity = min ? min : 1;
        uint64_t *elements = sbx_realloc(table->elements, capacity * sizeof *elements);
        if (!elements)
            return false;
        table->elements = elements;
        box->capacity = capacity;
    }
    set(table->elements, min, 0);
    table->store->table_elements_used -= table->size - min;
    table->size = min;
    return true;
}

static bool contains(const sbx_table *table, uint64_t first, uint64_t count)
{
    return count <= table->size && first <= table->size - count;
}

sbx_trap sbx_table_fill(sbx_table *table, uint64_t to, uint64_t value, uint64_t count)
{
    if (!contains(table, to, count))
        return SBX_TRAP_TABLE_BOUNDS;
    set(table->elements + to, count, value);
    return SBX_TRAP_NONE;
}

sbx_trap sbx_table_copy(sbx_table *to_table, sbx_table *from_table, uint64_t to, uint64_t from, uint64_t count)
{
    if (!contains(to_table, to, count) || !contains(from_table, from, count))
        return SBX_TRAP_TABLE_BOUNDS;
    memmove(to_table->elements + to, from_table->elements + from, count * sizeof *to_table->elements);
    return SBX_TRAP_NONE;
}
