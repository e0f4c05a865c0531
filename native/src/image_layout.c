/* Layout of the image: where each section begins, how long sections of records are, and the sorting that the writer needs. */
#include "image_internal.h"
#include <string.h>

#define SECTION_ALIGNMENT 16u

bool sbx_image_place(const uint64_t bytes[SBX_IMAGE_SECTION_COUNT], uint64_t offsets[SBX_IMAGE_SECTION_COUNT], uint64_t *total)
{
    uint64_t at = sizeof(sbx_image_header);
    for (int i = 0; i < SBX_IMAGE_SECTION_COUNT; i++) {
        bool paged = (i == SBX_IMAGE_DATA_PAGES || i == SBX_IMAGE_MACHINE) && bytes[i];
        bool behind = i == SBX_IMAGE_MACHINE + 1 && bytes[SBX_IMAGE_MACHINE]; /* nothing else shares pages that will be executable */
        uint64_t alignment = paged || behind ? SBX_IMAGE_PAGE : SECTION_ALIGNMENT;
        if (at > UINT64_MAX / 4 || bytes[i] > UINT64_MAX / 4)
            return false;
        at = (at + alignment - 1) / alignment * alignment;
        offsets[i] = at;
        at += bytes[i];
    }
    *total = at;
    return true;
}

uint64_t sbx_image_record_bytes(const sbx_image_header *h, sbx_image_section section)
{
    switch (section) {
    case SBX_IMAGE_TYPES: return (uint64_t)h->type_count * sizeof(sbx_image_type);
    case SBX_IMAGE_IMPORTS: return (uint64_t)h->import_count * sizeof(sbx_image_import);
    case SBX_IMAGE_EXPORTS: return (uint64_t)h->export_count * sizeof(sbx_image_export);
    case SBX_IMAGE_FUNCTIONS: return (uint64_t)h->function_count * sizeof(sbx_image_function);
    case SBX_IMAGE_TABLES: return (uint64_t)h->table_count * sizeof(sbx_tabletype);
    case SBX_IMAGE_MEMORIES: return (uint64_t)h->memory_count * sizeof(sbx_memorytype);
    case SBX_IMAGE_GLOBALS: return (uint64_t)h->global_count * sizeof(sbx_image_global);
    case SBX_IMAGE_ELEMENTS: return (uint64_t)h->element_count * sizeof(sbx_image_elements);
    case SBX_IMAGE_DATA: return (uint64_t)h->data_count * sizeof(sbx_image_data);
    case SBX_IMAGE_RUNS: return (uint64_t)h->run_count * sizeof(sbx_image_run);
    case SBX_IMAGE_CUSTOMS: return (uint64_t)h->custom_count * sizeof(sbx_image_custom);
    default: return UINT64_MAX;
    }
}

int sbx_name_compare(sbx_name a, sbx_name b)
{
    uint32_t shorter = a.length < b.length ? a.length : b.length;
    int order = shorter ? memcmp(a.bytes, b.bytes, shorter) : 0;
    if (order)
        return order;
    return a.length < b.length ? -1 : a.length > b.length;
}

static void swap(uint8_t *a, uint8_t *b, size_t size)
{
    uint8_t held[64];
    memcpy(held, a, size);
    memcpy(a, b, size);
    memcpy(b, held, size);
}

void sbx_heap_sort(void *items, size_t count, size_t size,
                   bool (*less)(const void *a, const void *b, const void *context), const void *context)
{
    uint8_t *base = items;
    size_t root = count / 2, end = count;
    while (end > 1) {
        if (root > 0)
            root--;                                  /* still building the heap */
        else
            swap(base, base + --end * size, size);   /* the largest goes to the end */
        for (size_t parent = root, child; (child = 2 * parent + 1) < end; parent = child) {
            if (child + 1 < end && less(base + child * size, base + (child + 1) * size, context))
                child++;
            if (!less(base + parent * size, base + child * size, context))
                break;
            swap(base + parent * size, base + child * size, size);
        }
    }
}
