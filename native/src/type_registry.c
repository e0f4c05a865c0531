/* Canonical function types of a store: a keyed hash table from a type to its id. */
#include "store_internal.h"
#include <pthread.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define FIRST_SLOTS 64u
#define MAX_IDS 0x40000000u

struct sbx_type_registry {
    sbx_arena arena;                /* the canonical types themselves: their addresses last as long as the store */
    const sbx_functype **types;     /* by id */
    uint64_t *hashes;               /* by id, so that growing compares and copies nothing */
    uint32_t *slots;                /* id + 1, or 0; open addressing, at most half full */
    uint32_t count, capacity, slot_count;
};

/* The key keeps a module from choosing 100,000 types that all collide. */
static uint64_t key[2];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void make_key(void)
{
    if (getrandom(key, sizeof key, GRND_NONBLOCK) != (ssize_t)sizeof key) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        key[0] = (uint64_t)now.tv_nsec * 0x9E3779B97F4A7C15u ^ (uintptr_t)&now;
        key[1] = (uint64_t)now.tv_sec * 0xBF58476D1CE4E5B9u ^ (uintptr_t)&key;
    }
    key[1] |= 1;
}

static uint64_t fold(uint64_t a, uint64_t b)
{
    __uint128_t product = (__uint128_t)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t hash_of(const sbx_functype *type)
{
    uint64_t h = fold(key[0] ^ ((uint64_t)type->params << 32 | type->results), key[1]);
    uint64_t count = (uint64_t)type->params + type->results;
    for (uint64_t i = 0; i < count; i++)
        h = fold(h ^ key[0] ^ type->types[i], key[1] ^ ((i + 1) << 1));
    return h;
}

struct sbx_type_registry *sbx_type_registry_new(void)
{
    pthread_once(&once, make_key);
    struct sbx_type_registry *registry = sbx_calloc(1, sizeof *registry);
    if (!registry)
        return NULL;
    sbx_arena_init(&registry->arena, 0);
    return registry;
}

void sbx_type_registry_free(struct sbx_type_registry *registry)
{
    sbx_arena_release(&registry->arena);
    sbx_free(registry->types);
    sbx_free(registry->hashes);
    sbx_free(registry->slots);
    sbx_free(registry);
}

const sbx_functype *sbx_type_registry_get(const struct sbx_type_registry *registry, uint32_t id) { return registry->types[id]; }

/* Room for one more type; on failure nothing has changed but the capacity of an array. */
static bool reserve(struct sbx_type_registry *r)
{
    if (r->count < r->capacity)
        return true;
    uint32_t capacity = r->capacity ? r->capacity * 2 : FIRST_SLOTS / 2;
    if (capacity > MAX_IDS)
        return false;
    const sbx_functype **types = sbx_realloc(r->types, capacity * sizeof *types);
    if (!types)
        return false;
    r->types = types;
    uint64_t *hashes = sbx_realloc(r->hashes, capacity * sizeof *hashes);
    if (!hashes)
        return false;
    r->hashes = hashes;
    uint32_t slot_count = capacity * 2;
    uint32_t *slots = sbx_calloc(slot_count, sizeof *slots);
    if (!slots)
        return false;
    for (uint32_t id = 0; id < r->count; id++) {
        uint64_t at = r->hashes[id];
        while (slots[at & (slot_count - 1)])
            at++;
        slots[at & (slot_count - 1)] = id + 1;
    }
    sbx_free(r->slots);
    r->slots = slots;
    r->slot_count = slot_count;
    r->capacity = capacity;
    return true;
}

static const sbx_functype *copy(sbx_arena *arena, const sbx_functype *type)
{
    size_t count = (size_t)type->params + type->results;
    sbx_functype *own = sbx_arena_alloc(arena, 1, sizeof *own + count * sizeof(sbx_valtype));
    if (!own)
        return NULL;
    sbx_valtype *types = (sbx_valtype *)(own + 1);
    if (count)
        memcpy(types, type->types, count * sizeof *types);
    *own = (sbx_functype){type->params, type->results, types};
    return own;
}

uint32_t sbx_type_registry_intern(struct sbx_type_registry *r, const sbx_functype *type)
{
    uint64_t hash = hash_of(type);
    if (r->slot_count)
        for (uint64_t at = hash; r->slots[at & (r->slot_count - 1)]; at++) {
            uint32_t id = r->slots[at & (r->slot_count - 1)] - 1;
            if (r->hashes[id] == hash && sbx_functype_equal(r->types[id], type))
                return id;
        }
    if (!reserve(r))
        return UINT32_MAX;
    const sbx_functype *own = copy(&r->arena, type);
    if (!own)
        return UINT32_MAX;
    uint64_t at = hash;
    while (r->slots[at & (r->slot_count - 1)])
        at++;
    r->slots[at & (r->slot_count - 1)] = r->count + 1;
    r->types[r->count] = own;
    r->hashes[r->count] = hash;
    return r->count++;
}
