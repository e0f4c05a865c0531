/* Pre-initialised pages: puts the image's page runs into a fresh memory, copy-on-write where the image has a descriptor. */
#include "store_internal.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Shorter runs are copied: a mapping and its faults cost more. */
#define MAP_FROM (4u * SBX_IMAGE_PAGE)

static bool mappable(const sbx_image *image, uint64_t length)
{
    return image->fd >= 0 && length >= MAP_FROM && sysconf(_SC_PAGESIZE) == SBX_IMAGE_PAGE;
}

/* A failed fixed mapping may have left a hole in the memory's reservation, where another thread's mapping could land under the
 * guest's hands. Closes it; when even that fails, only the end of the process is safe. */
static void close_hole(uint8_t *at, uint64_t length)
{
    void *closed = mmap(at, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    if (closed == at)
        return;
    fputs("sandboxhost: a memory's reservation has a hole that cannot be closed\n", stderr);
    abort();
}

sbx_status sbx_map_runs(const sbx_image *image, sbx_memory *memory, sbx_error *err)
{
    const sbx_image_run *runs = SBX_IMAGE_AT(image, RUNS, sbx_image_run);
    uint64_t pages = image->header->sections[SBX_IMAGE_DATA_PAGES].offset;
    bool mapped = false;
    for (uint32_t i = 0; i < image->header->run_count; i++) {
        uint8_t *to = memory->base + runs[i].memory_offset;
        uint64_t from = pages + runs[i].pages_offset, length = runs[i].length;
        /* The checker compared the run with the type's minimum; a host may have mixed up memories. */
        if (!sbx_memory_contains(memory, runs[i].memory_offset, length))
            return sbx_fail(err, SBX_USAGE, SBX_NO_OFFSET, "a page run outside the memory");
        if (mappable(image, length)) {
            if (memory->runs_mapped)
                continue;
            if (mmap(to, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, image->fd, (off_t)from) == to) {
                mapped = true;
                continue;
            }
            close_hole(to, length);
            memory->runs_copied = 1;
        }
        memcpy(to, image->base + from, length);
    }
    memory->runs_mapped |= mapped;
    return SBX_OK;
}
