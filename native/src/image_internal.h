/* What the image writer and the image checker share: the layout of sections, and the plan of pre-initialised pages. */
#ifndef SBX_IMAGE_INTERNAL_H
#define SBX_IMAGE_INTERNAL_H
#include "image.h"

/* Offsets of the sections from their lengths; false when the sum overflows. One layout follows from the lengths, so that a
 * checker can compare instead of looking for overlaps. */
bool sbx_image_place(const uint64_t bytes[SBX_IMAGE_SECTION_COUNT], uint64_t offsets[SBX_IMAGE_SECTION_COUNT],
                     uint64_t *total);
/* Length that the header's counts give a section of records; UINT64_MAX for a section whose length is free (pools, code). */
uint64_t sbx_image_record_bytes(const sbx_image_header *header, sbx_image_section section);
/* Checks header and records of a mapped image: SBX_BAD_IMAGE names the record. */
sbx_status sbx_image_check(const sbx_image *image, sbx_error *err);

/* Order of exports: by bytes, the shorter first. */
int sbx_name_compare(sbx_name a, sbx_name b);

/* In-place heap sort: no recursion, no allocation, never quadratic. Items are at most 64 bytes. */
void sbx_heap_sort(void *items, size_t count, size_t size,
                   bool (*less)(const void *a, const void *b, const void *context), const void *context);

/* Which pages of memory 0 the image holds ready to be mapped. */
typedef struct sbx_page_plan {
    bool usable;         /* the runs replace the active data segments */
    bool keep_bytes;     /* a function may still run memory.init on an active segment (see page_plan.c) */
    uint32_t run_count;
    sbx_image_run *runs; /* sorted, disjoint */
    uint64_t bytes;      /* of all runs */
} sbx_page_plan;

sbx_status sbx_page_plan_make(const sbx_module *module, sbx_page_plan *plan, sbx_error *err);
void sbx_page_plan_fill(const sbx_page_plan *plan, const sbx_module *module, uint8_t *pages);
void sbx_page_plan_release(sbx_page_plan *plan);
#endif
