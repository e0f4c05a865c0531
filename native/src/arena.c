/* The core's allocator: arenas of one compilation, and malloc with a hostile twin for the tests. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "arena.h"

enum { ALIGNMENT = 16, FIRST_BLOCK = 16 * 1024, LARGEST_BLOCK = 1024 * 1024, PAGE = 4096, LARGE = 1024 * 1024, HUGE = 4 * 1024 * 1024 };

struct sbx_arena_block {
    struct sbx_arena_block *next;
    size_t used, capacity; /* bytes behind the header */
};

enum { HEADER = (sizeof(struct sbx_arena_block) + ALIGNMENT - 1) & ~(ALIGNMENT - 1) };

void sbx_arena_init(sbx_arena *arena, size_t limit)
{
    *arena = (sbx_arena){.limit = limit};
}

/* A new block of at least `need` bytes, larger when the limit leaves room: blocks grow with what was asked so far. */
static struct sbx_arena_block *add_block(sbx_arena *arena, size_t need)
{
    size_t room = arena->limit ? (arena->total < arena->limit ? arena->limit - arena->total : 0) : SIZE_MAX - arena->total;
    if (room < HEADER || need > room - HEADER)
        return NULL;
    size_t capacity = arena->total < FIRST_BLOCK ? FIRST_BLOCK : arena->total > LARGEST_BLOCK ? LARGEST_BLOCK : arena->total;
    if (capacity < need || capacity > room - HEADER)
        capacity = need;
    struct sbx_arena_block *block = sbx_calloc(1, HEADER + capacity);
    if (!block)
        return NULL;
    if (capacity == LARGEST_BLOCK)
        sbx_populate(block, HEADER + capacity, HEADER + capacity);
    block->capacity = capacity;
    arena->total += HEADER + capacity;
    /* A block made for one large request is full at once: keep allocating from the one before it. */
    if (capacity == need && arena->blocks) {
        block->next = arena->blocks->next;
        arena->blocks->next = block;
    } else {
        block->next = arena->blocks;
        arena->blocks = block;
    }
    return block;
}

void *sbx_arena_alloc(sbx_arena *arena, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > SIZE_MAX / 2)
        return NULL;
    bytes = (bytes + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
    if (!bytes)
        bytes = ALIGNMENT; /* a distinct address, never NULL */
    struct sbx_arena_block *block = arena->blocks;
    if (!block || block->capacity - block->used < bytes)
        block = add_block(arena, bytes);
    if (!block)
        return NULL;
    void *memory = (uint8_t *)block + HEADER + block->used;
    block->used += bytes;
    return memory;
}

void sbx_arena_release(sbx_arena *arena)
{
    struct sbx_arena_block *block = arena->blocks;
    while (block) {
        struct sbx_arena_block *next = block->next;
        sbx_free(block);
        block = next;
    }
    arena->blocks = NULL;
    arena->total = 0;
}

#ifndef SBX_HOSTILE

void *sbx_malloc(size_t size) { return malloc(size ? size : 1); }
void *sbx_calloc(size_t count, size_t size) { return count && size ? calloc(count, size) : calloc(1, 1); }
void *sbx_realloc(void *block, size_t size) { return realloc(block, size ? size : 1); }

void sbx_free(void *block) { free(block); }
void sbx_stress_fail_after(long n) { (void)n; }

#else /* the hostile build: fresh memory is full of rubbish, the n-th call fails, realloc always moves and spoils the old block */

enum { PREFIX = ALIGNMENT, RUBBISH = 0xA5 };

static long calls_left = -1; /* 1: the next allocation fails; -1: none does */

void sbx_stress_fail_after(long n)
{
    __atomic_store_n(&calls_left, n > 0 ? n : -1, __ATOMIC_SEQ_CST);
}

static int refused(void)
{
    long left = __atomic_load_n(&calls_left, __ATOMIC_SEQ_CST);
    while (left > 0) {
        long next = left == 1 ? -1 : left - 1;
        if (__atomic_compare_exchange_n(&calls_left, &left, next, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
            return left == 1;
    }
    return 0;
}

void *sbx_malloc(size_t size)
{
    if (refused() || size > SIZE_MAX - PREFIX)
        return NULL;
    uint8_t *block = malloc(PREFIX + size);
    if (!block)
        return NULL;
    memcpy(block, &size, sizeof size);
    memset(block + PREFIX, RUBBISH, size);
    return block + PREFIX;
}

void *sbx_calloc(size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes))
        return NULL;
    void *block = sbx_malloc(bytes);
    return block ? memset(block, 0, bytes) : NULL;
}

void *sbx_realloc(void *block, size_t size)
{
    void *moved = sbx_malloc(size);
    if (moved && block) {
        size_t old;
        memcpy(&old, (uint8_t *)block - PREFIX, sizeof old);
        memcpy(moved, block, old < size ? old : size);
        sbx_free(block);
    }
    return moved;
}

void sbx_free(void *block)
{
    if (!block)
        return;
    size_t size;
    uint8_t *start = (uint8_t *)block - PREFIX;
    memcpy(&size, start, sizeof size);
    memset(block, RUBBISH, size);
    free(start);
}

#endif

bool sbx_grow(void *buffer, size_t *capacity, size_t wanted, size_t size)
{
    if (wanted <= *capacity)
        return true;
    size_t grown = *capacity * 2 > wanted ? *capacity * 2 : wanted + 64;
    void *moved = grown > SIZE_MAX / size ? NULL : sbx_realloc(*(void **)buffer, grown * size);
    if (!moved)
        return false;
    *(void **)buffer = moved;
    *capacity = grown;
    return true;
}

void sbx_populate(void *block, size_t size, size_t filled)
{
#ifdef MADV_POPULATE_WRITE
    if (!block || size < LARGE)
        return;
    /* Whole pages, that of malloc's header too: a mapping of two kinds of pages could not be moved when the block grows. */
    uintptr_t first = (uintptr_t)block & ~(uintptr_t)(PAGE - 1);
    uintptr_t end = ((uintptr_t)block + size + PAGE - 1) & ~(uintptr_t)(PAGE - 1), need = ((uintptr_t)block + filled) & ~(uintptr_t)(PAGE - 1);
    if (size >= HUGE)
        madvise((void *)first, end - first, MADV_HUGEPAGE); /* a refusal changes nothing, here and below */
    if (need > first)
        madvise((void *)first, need - first, MADV_POPULATE_WRITE);
#else
    (void)block, (void)size, (void)filled;
#endif
}
