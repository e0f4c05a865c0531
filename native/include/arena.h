/* Arena memory of one compilation: allocate, never free singly, release everything at once. */
#ifndef SBX_ARENA_H
#define SBX_ARENA_H
#include <stdbool.h>
#include <stddef.h>

typedef struct sbx_arena {
    struct sbx_arena_block *blocks;
    size_t total;     /* bytes asked of malloc so far */
    size_t limit;     /* refuses beyond this; 0 = no limit */
} sbx_arena;

void sbx_arena_init(sbx_arena *arena, size_t limit);
/* Zeroed, 16-byte aligned; count * size is checked for overflow. NULL when refused. */
void *sbx_arena_alloc(sbx_arena *arena, size_t count, size_t size);
void sbx_arena_release(sbx_arena *arena);

/* The core's only malloc: the hostile build makes the Nth call fail and every realloc move. */
void *sbx_malloc(size_t size);
void *sbx_calloc(size_t count, size_t size);
void *sbx_realloc(void *block, size_t size);
void sbx_free(void *block);
/* Makes an array of `size` bytes an element hold `wanted` of them, with room for more; `buffer` points at the pointer to it.
 * False, and nothing is changed, when there is no memory. */
bool sbx_grow(void *buffer, size_t *capacity, size_t wanted, size_t size);
/* Has the kernel back the first `filled` bytes of a large block at once, instead of page by page at its first writes, and with huge pages. */
void sbx_populate(void *block, size_t size, size_t filled);
/* Hostile build only (-DSBX_HOSTILE); otherwise does nothing: the n-th allocation from now fails, -1 = never. */
void sbx_stress_fail_after(long n);
#endif
