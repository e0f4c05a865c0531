/* Element and data segments: constant expressions, initialisation at instantiation, and the instructions that read segments. */
#include "store_internal.h"
#include "wasm_ops.h"
#include <string.h>

static const sbx_image_elements *elements_of(const sbx_instance *instance)
{
    return SBX_IMAGE_AT(instance->image, ELEMENTS, sbx_image_elements);
}

static const sbx_image_data *data_of(const sbx_instance *instance)
{
    return SBX_IMAGE_AT(instance->image, DATA, sbx_image_data);
}

sbx_value sbx_instance_const(sbx_instance *instance, const sbx_image_const *init)
{
    switch (init->opcode) {
    case SBX_WASM_global_get: return *sbx_instance_global(instance, (uint32_t)init->bits, NULL);
    case SBX_WASM_ref_null: return (sbx_value){0};
    case SBX_WASM_ref_func: return (sbx_value){.v128 = {(uintptr_t)sbx_instance_function(instance, (uint32_t)init->bits), 0}};
    default: return (sbx_value){.v128 = {init->bits, 0}};
    }
}

static uint64_t offset_of(sbx_instance *instance, const sbx_image_const *offset)
{
    return sbx_instance_const(instance, offset).u32;
}

static uint64_t element_value(sbx_instance *instance, uint32_t init)
{
    if (init == SBX_INIT_NULL)
        return 0;
    if (init & SBX_INIT_GLOBAL)
        return sbx_instance_global(instance, init & ~SBX_INIT_GLOBAL, NULL)->u64;
    return (uintptr_t)sbx_instance_function(instance, init);
}

sbx_trap sbx_table_init(sbx_instance *instance, uint32_t segment, uint32_t table_index, uint64_t to, uint64_t from,
                        uint64_t count)
{
    const sbx_image_elements *elements = &elements_of(instance)[segment];
    sbx_table *table = instance->tables[table_index];
    uint64_t available = instance->dropped_elements[segment] ? 0 : elements->count;
    if (count > available || from > available - count || count > table->size || to > table->size - count)
        return SBX_TRAP_TABLE_BOUNDS;
    const uint32_t *inits = SBX_IMAGE_AT(instance->image, ELEMENT_INITS, uint32_t) + elements->first + from;
    for (uint64_t i = 0; i < count; i++)
        table->elements[to + i] = element_value(instance, inits[i]);
    return SBX_TRAP_NONE;
}

void sbx_element_drop(sbx_instance *instance, uint32_t segment) { instance->dropped_elements[segment] = 1; }

sbx_trap sbx_memory_init(sbx_instance *instance, uint32_t segment, sbx_memory *memory, uint64_t to, uint64_t from, uint64_t count)
{
    const sbx_image_data *data = &data_of(instance)[segment];
    bool gone = instance->dropped_data[segment] || data->bytes_offset == SBX_IMAGE_NO_BYTES;
    uint64_t available = gone ? 0 : data->length;
    if (count > available || from > available - count || !sbx_memory_contains(memory, to, count))
        return SBX_TRAP_MEMORY_BOUNDS;
    if (count)
        memcpy(memory->base + to, SBX_IMAGE_AT(instance->image, DATA_BYTES, uint8_t) + data->bytes_offset + from, count);
    return SBX_TRAP_NONE;
}

void sbx_data_drop(sbx_instance *instance, uint32_t segment) { instance->dropped_data[segment] = 1; }

static sbx_status trap(sbx_error *err, sbx_trap cause)
{
    if (err && err->status == SBX_OK) {
        sbx_fail(err, SBX_TRAP, SBX_NO_OFFSET, "%s", sbx_trap_message(cause));
        err->trap = cause;
    }
    return SBX_TRAP;
}

/* Modules of the days before reference types: all segments are checked before anything is written. */
static sbx_status check_element_offsets(sbx_instance *instance, sbx_error *err)
{
    const sbx_image_elements *elements = elements_of(instance);
    for (uint32_t i = 0; i < instance->image->header->element_count; i++) {
        if (elements[i].mode != SBX_SEGMENT_ACTIVE)
            continue;
        uint64_t offset = offset_of(instance, &elements[i].offset), size = instance->tables[elements[i].table]->size;
        if (elements[i].count > size || offset > size - elements[i].count)
            return sbx_fail(err, SBX_ELEMENT_OFFSET, SBX_NO_OFFSET,
                            "out of bounds table access: element segment %u, %u elements at offset %llu of a table of %llu", i,
                            elements[i].count, (unsigned long long)offset, (unsigned long long)size);
    }
    return SBX_OK;
}

static uint64_t active_elements(const sbx_instance *instance)
{
    const sbx_image_elements *elements = elements_of(instance);
    uint64_t count = 0;
    for (uint32_t i = 0; i < instance->image->header->element_count; i++)
        count += elements[i].mode == SBX_SEGMENT_ACTIVE ? elements[i].count : 0;
    return count;
}

sbx_status sbx_instance_init_elements(sbx_instance *instance, sbx_error *err)
{
    const sbx_image_header *header = instance->image->header;
    const sbx_image_elements *elements = elements_of(instance);
    if (!(header->features & SBX_FEATURE_BIT(REFERENCE_TYPES))) {
        sbx_status status = check_element_offsets(instance, err);
        if (status != SBX_OK)
            return status;
    }
    sbx_instance_prefault(instance, active_elements(instance));
    for (uint32_t i = 0; i < header->element_count; i++) {
        if (elements[i].mode == SBX_SEGMENT_PASSIVE)
            continue;
        if (elements[i].mode == SBX_SEGMENT_ACTIVE) {
            uint64_t offset = offset_of(instance, &elements[i].offset);
            sbx_trap cause = sbx_table_init(instance, i, elements[i].table, offset, 0, elements[i].count);
            if (cause != SBX_TRAP_NONE)
                return trap(err, cause);
        }
        sbx_element_drop(instance, i);
    }
    return SBX_OK;
}

sbx_status sbx_instance_init_data(sbx_instance *instance, sbx_error *err)
{
    const sbx_image_header *header = instance->image->header;
    const sbx_image_data *data = data_of(instance);
    if (header->preinitialised && header->run_count) {
        sbx_status status = sbx_map_runs(instance->image, instance->memory0, err);
        if (status != SBX_OK)
            return status;
    }
    if (header->preinitialised == SBX_PREINITIALISED)
        return SBX_OK; /* the active segments have no bytes: they are as good as dropped, and there may be many */
    for (uint32_t i = 0; i < header->data_count; i++) {
        if (data[i].mode != SBX_SEGMENT_ACTIVE)
            continue;
        if (!header->preinitialised) {
            uint64_t offset = offset_of(instance, &data[i].offset);
            sbx_trap cause = sbx_memory_init(instance, i, instance->memories[data[i].memory], offset, 0, data[i].length);
            if (cause != SBX_TRAP_NONE)
                return trap(err, cause);
        }
        sbx_data_drop(instance, i);
    }
    return SBX_OK;
}
