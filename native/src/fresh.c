/* Fresh instances: brings an instance back to what it was when it was linked. What can change is listed here and nowhere else. */
#include "fresh.h"
#include <string.h>
#include "store_internal.h"

/* Own: not imported. Kinds that may be imported stay as they are. */
bool sbx_fresh_possible(const sbx_instance *instance)
{
    const sbx_image_header *h = instance->image->header;
    const sbx_store *store = instance->store;
    return store->instances == instance && !instance->next && !h->imported_tables && !h->imported_memories && !h->imported_globals &&
           !(instance->memory0 && instance->memory0->runs_copied);
}

sbx_status sbx_fresh_begin(sbx_instance *instance, sbx_error *err)
{
    const sbx_image_header *h = instance->image->header;
    sbx_status status = h->element_count ? sbx_instance_init_elements(instance, err) : SBX_OK;
    if (status == SBX_OK && (h->data_count || h->run_count))
        status = sbx_instance_init_data(instance, err);
    return status;
}

sbx_status sbx_fresh_end(sbx_instance *instance)
{
    const sbx_image_header *h = instance->image->header;
    if (__atomic_load_n(&instance->store->owner, __ATOMIC_ACQUIRE))
        return SBX_BUSY;
    const sbx_memorytype *memories = SBX_IMAGE_AT(instance->image, MEMORIES, sbx_memorytype);
    for (uint32_t i = 0; i < h->memory_count; i++)
        if (!sbx_memory_reset(instance->memories[i], memories[i].limits.min))
            return SBX_NO_MEMORY;
    const sbx_tabletype *tables = SBX_IMAGE_AT(instance->image, TABLES, sbx_tabletype);
    for (uint32_t i = 0; i < h->table_count; i++)
        if (!sbx_table_reset(instance->tables[i], tables[i].limits.min))
            return SBX_NO_MEMORY;
    sbx_instance_init_globals(instance);
    if (h->data_count)
        memset(instance->dropped_data, 0, h->data_count);
    if (h->element_count)
        memset(instance->dropped_elements, 0, h->element_count);
    return SBX_OK;
}
