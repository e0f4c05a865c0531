/* Linear memories: address space reserved once, so that the base never moves; growing and the bulk operations. */
#include "store_internal.h"
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Behind an explicitly checked memory: turns an error of ours into a fault. */
#define GUARD_BYTES SBX_PAGE_SIZE
_Static_assert(sizeof(size_t) == 8, "memories reserve more address space than 32 bits have");

static void memory_destroy(void *object)
{
    sbx_memory *memory = object;
    if (!memory->base)
        return;
    if (memory->guarded)
        sbx_reservation_give(memory->base, memory->size);
    else
        munmap(memory->base, memory->reserved);
    memory->store->pages_used -= memory->size / SBX_PAGE_SIZE;
}

static sbx_status check_type(const sbx_limits *limits, sbx_error *err)
{
    if (limits->is64 || limits->shared)
        return sbx_fail(err, SBX_UNSUPPORTED, SBX_NO_OFFSET, "%s memories are not supported",
                        limits->is64 ? "64-bit" : "shared");
    if (limits->min > SBX_MAX_PAGES32 || (limits->has_max && (limits->max > SBX_MAX_PAGES32 || limits->max < limits->min)))
        return sbx_fail(err, SBX_USAGE, SBX_NO_OFFSET, "a memory type with impossible limits");
    return SBX_OK;
}

static sbx_status reserve(sbx_memory *memory, uint64_t pages, sbx_error *err)
{
    uint64_t reachable = memory->cap_pages ? memory->cap_pages : 1;
    memory->reserved = memory->guarded ? SBX_GUARDED_BYTES : reachable * SBX_PAGE_SIZE + GUARD_BYTES;
    void *base = memory->guarded ? sbx_reservation_take()
                                 : mmap(NULL, memory->reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (!base || base == MAP_FAILED)
        return sbx_fail(err, SBX_NO_MEMORY, SBX_NO_OFFSET, "cannot reserve %llu bytes of address space for a memory: %s",
                        (unsigned long long)memory->reserved, strerror(errno));
    memory->base = base;
    if (pages && mprotect(base, pages * SBX_PAGE_SIZE, PROT_READ | PROT_WRITE) != 0)
        return sbx_fail(err, SBX_NO_MEMORY, SBX_NO_OFFSET, "cannot allocate a memory of %llu bytes: %s",
                        (unsigned long long)(pages * SBX_PAGE_SIZE), strerror(errno));
    memory->size = pages * SBX_PAGE_SIZE;
    memory->store->pages_used += pages;
    return SBX_OK;
}

sbx_status sbx_memory_new(sbx_store *store, const sbx_memorytype *type, bool guarded, sbx_memory **out, sbx_error *err)
{
    const sbx_limits *limits = &type->limits;
    *out = NULL;
    sbx_status status = check_type(limits, err);
    if (status != SBX_OK)
        return status;
    uint64_t left = store->limits.memory_pages > store->pages_used ? store->limits.memory_pages - store->pages_used : 0;
    if (limits->min > left)
        return sbx_fail(err, SBX_MEMORY_LIMIT, SBX_NO_OFFSET,
                        "a memory of %llu pages exceeds the limit of %llu pages, %llu of them in use",
                        (unsigned long long)limits->min, (unsigned long long)store->limits.memory_pages,
                        (unsigned long long)store->pages_used);
    sbx_store_object *mark = store->objects;
    sbx_memory *memory = sbx_store_alloc(store, sizeof *memory, memory_destroy);
    if (!memory)
        return sbx_fail(err, SBX_NO_MEMORY, SBX_NO_OFFSET, "no memory for a memory instance");
    memory->store = store;
    memory->guarded = guarded;
    memory->has_max = limits->has_max != 0;
    memory->max_pages = limits->has_max ? limits->max : SBX_MAX_PAGES32;
    memory->cap_pages = memory->max_pages < store->limits.memory_pages ? memory->max_pages : store->limits.memory_pages;
    status = reserve(memory, limits->min, err);
    if (status != SBX_OK) {
        sbx_store_rollback(store, mark);
        return status;
    }
    *out = memory;
    return SBX_OK;
}

int64_t sbx_memory_grow(sbx_memory *memory, uint64_t delta)
{
    sbx_store *store = memory->store;
    uint64_t old = memory->size / SBX_PAGE_SIZE;
    if (delta > memory->max_pages - old)
        return -1;
    if (delta > memory->cap_pages - old || delta > store->limits.memory_pages - store->pages_used) {
        memory->grow_refused = 1;
        return -1;
    }
    if (delta && mprotect(memory->base + memory->size, delta * SBX_PAGE_SIZE, PROT_READ | PROT_WRITE) != 0) {
        memory->grow_refused = 1;
        return -1;
    }
    store->pages_used += delta;
    memory->size += delta * SBX_PAGE_SIZE;
    return (int64_t)old;
}

/* Up to this size a memory is cleared: 1 us for 64 KiB in the cache; dropping pages and faulting them in again costs 2 us and more. */
#define CLEAR_UP_TO SBX_PAGE_SIZE
/* Up to this size its resident pages are cleared and kept for the next call: a mebibyte takes 40 us, its 256 faults 250. */
#define KEEP_UP_TO (2u << 20)
#define KEEP_PAGES (KEEP_UP_TO / 4096)
/* Parts that were touched, with others between them, beyond which dropping all is as good. */
#define KEEP_PARTS 8

/* Zeroes pages; returns how many had been written to (and not only with zeros). */
static size_t clear_pages(uint8_t *at, size_t pages, size_t page)
{
    size_t written = 0;
    for (; pages; pages--, at += page)
        if (*at || memcmp(at, at + 1, page - 1) != 0) {
            memset(at, 0, page);
            written++;
        }
    return written;
}

/* Zeroes what is resident and drops what is not: that may be swapped out, and is as new afterwards either way. False: nothing was
 * done, or not all; also when most of what is resident was not used, which had better go. */
static bool clear_resident(const sbx_memory *memory)
{
    uint8_t resident[KEEP_PAGES];
    size_t page = (size_t)sysconf(_SC_PAGESIZE), pages = memory->size / page, first = 0, kept = 0, written = 0;
    if (page < 4096 || mincore(memory->base, memory->size, (void *)resident) != 0)
        return false;
    for (unsigned parts = 0; first < pages; parts++) {
        size_t end = first + 1;
        bool touched = resident[first] & 1;
        while (end < pages && (resident[end] & 1) == touched)
            end++;
        uint8_t *at = memory->base + first * page;
        if (parts == 2 * KEEP_PARTS)
            return false;
        if (touched) {
            kept += end - first;
            written += clear_pages(at, end - first, page);
        } else if (madvise(at, (end - first) * page, MADV_DONTNEED) != 0) {
            return false;
        }
        first = end;
    }
    return written >= kept / 2;
}

/* Makes all of it zero, or what the image's pages hold where these are mapped: that is what dropped pages come back as. */
static bool renew_pages(const sbx_memory *memory)
{
    if (!memory->runs_mapped && memory->size <= CLEAR_UP_TO) {
        memset(memory->base, 0, memory->size);
        return true;
    }
    if (!memory->runs_mapped && memory->size <= KEEP_UP_TO && clear_resident(memory))
        return true;
    return !memory->size || madvise(memory->base, memory->size, MADV_DONTNEED) == 0;
}

bool sbx_memory_reset(sbx_memory *memory, uint64_t min)
{
    uint64_t bytes = min * SBX_PAGE_SIZE;
    if (!renew_pages(memory))
        return false;
    if (memory->size > bytes && mprotect(memory->base + bytes, memory->size - bytes, PROT_NONE) != 0)
        return false;
    memory->store->pages_used -= memory->size / SBX_PAGE_SIZE - min;
    memory->size = bytes;
    memory->grow_refused = 0;
    return true;
}
