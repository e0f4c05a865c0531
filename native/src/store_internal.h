/* The store's inside: objects it owns, canonical types, and what the steps of instantiation share. */
#ifndef SBX_STORE_INTERNAL_H
#define SBX_STORE_INTERNAL_H
#include "runtime.h"

/* Precedes every object of a store; the list is a stack, newest first. */
typedef struct sbx_store_object {
    struct sbx_store_object *next;
    void (*destroy)(void *object); /* may be NULL: nothing but the block itself */
    uint64_t mapped;               /* bytes, when the block was mapped; 0: from sbx_calloc */
    uint64_t reserved;
} sbx_store_object;
_Static_assert(sizeof(sbx_store_object) % 16 == 0, "objects are 16-byte aligned");

/* Zeroed, 16-byte aligned, released with the store. Large blocks are mapped: pages that nobody touches cost nothing.
 * `destroy` is called on a zeroed object too, so it must bear one that its maker never finished. */
void *sbx_store_alloc(sbx_store *store, uint64_t size, void (*destroy)(void *object));
/* Releases every object made after `mark` (a value that store->objects had). */
void sbx_store_rollback(sbx_store *store, sbx_store_object *mark);

/* Canonical types of one store: equal types have equal ids, ids count from 0. */
struct sbx_type_registry *sbx_type_registry_new(void); /* NULL: no memory */
void sbx_type_registry_free(struct sbx_type_registry *registry);
uint32_t sbx_type_registry_intern(struct sbx_type_registry *registry, const sbx_functype *type); /* UINT32_MAX: no memory */
const sbx_functype *sbx_type_registry_get(const struct sbx_type_registry *registry, uint32_t id);

/* `references` functions of the instance are about to be filled: faults their pages in at once where that pays (instance.c). */
void sbx_instance_prefault(sbx_instance *instance, uint64_t references);
/* Matches the externs against the imports and fills the instance's imported entries (link.c). */
sbx_status sbx_link_imports(sbx_instance *instance, const sbx_extern *externs, size_t count, sbx_error *err);
/* Value of a constant expression: what it names is already there (segments.c). */
sbx_value sbx_instance_const(sbx_instance *instance, const sbx_image_const *init);
/* Own globals have their initial values (instance.c). */
void sbx_instance_init_globals(sbx_instance *instance);
/* A 32-bit index, a 32-bit offset and an access of at most 16 bytes, rounded up generously. */
#define SBX_GUARDED_BYTES ((8ull << 30) + SBX_PAGE_SIZE)
/* That much address space without access, and back; the first `used` bytes may have been mapped (reservation.c). NULL: errno says why. */
void *sbx_reservation_take(void);
void sbx_reservation_give(void *base, uint64_t used);
/* A memory and a table of `min` pages and elements, zero or as the image has them; false when the machine refused, and they must not be
 * used again. */
bool sbx_memory_reset(sbx_memory *memory, uint64_t min);
bool sbx_table_reset(sbx_table *table, uint64_t min);
/* Puts the image's page runs into memory 0 (page_map.c); those that are mapped already show their first contents after a reset. */
sbx_status sbx_map_runs(const sbx_image *image, sbx_memory *memory, sbx_error *err);
#endif
