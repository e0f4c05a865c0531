/* The runtime structures of the specification (chapter 4.2): store, instances, memories, tables, functions. */
#ifndef SBX_RUNTIME_H
#define SBX_RUNTIME_H
#include "image.h"
#include "status.h"
#include "types.h"

typedef struct sbx_store sbx_store;
typedef struct sbx_instance sbx_instance;
typedef struct sbx_call_engine sbx_call_engine;

/* A linear memory. `base` never moves during the life of the memory: address space is reserved at creation, grow only
 * changes protection and `size`. Executors may therefore keep `base` in a register across calls and grows. */
typedef struct sbx_memory {
    uint8_t *base;
    uint64_t size;        /* bytes now accessible */
    uint64_t max_pages;   /* of its type (65,536 where it has none) */
    uint64_t cap_pages;   /* what the store's limits allow, <= max_pages; grow beyond answers -1 */
    uint64_t reserved;    /* bytes of address space, guard included */
    uint8_t guarded;      /* reservation covers every 32-bit index + 32-bit offset: no compares needed */
    uint8_t has_max;      /* the type declares a maximum */
    uint8_t grow_refused; /* set when a grow that the type allows was refused (the store's limit, or the machine's); the call
                           * engine's user reads and clears it */
    uint8_t runs_mapped;  /* page runs of the image are mapped in it */
    uint8_t runs_copied;  /* ... but one of them could only be copied: a reset does not bring it back */
    sbx_store *store;
} sbx_memory;

/* A table of references; element 0 = null. `elements` may move on grow: always read it through the table. */
typedef struct sbx_table {
    uint64_t *elements;   /* funcref: sbx_function *; externref: opaque number */
    uint64_t size, max;   /* max: of its type, or 2^32-1 */
    uint64_t cap;         /* what the store's limits allow */
    sbx_valtype type;
    uint8_t has_max;
    sbx_store *store;
} sbx_table;

/* A host function in C. `values` holds the arguments, one 8-byte slot each (i32 and f32: only the low 32 bits are defined),
 * and takes the results from slot 0 (zero-extended). Returns SBX_OK, SBX_TRAP (call sbx_call_engine_set_trap first),
 * SBX_EXIT (sbx_call_engine_set_exit first) or SBX_INTERRUPTED (it noticed sbx_call_engine_interrupted). `caller` is the
 * calling instance; guest memory is caller->memory0 (may be NULL), and is checked on every access. */
typedef sbx_status (*sbx_host_function)(sbx_call_engine *engine, sbx_instance *caller, void *data, uint64_t *values);

enum { SBX_FUNCTION_WASM, SBX_FUNCTION_NATIVE /* host function in C */, SBX_FUNCTION_EMBEDDER /* suspends with SBX_HOST_CALL */ };

/* wazero's FunctionInstance. Lives as long as its store. */
typedef struct sbx_function {
    uint32_t type_id;          /* canonical within the store; never compared across stores */
    uint32_t kind;             /* SBX_FUNCTION_*; for WASM functions `code` is never NULL */
    const uint16_t *code;      /* WASM: first interpreter instruction, or NULL */
    const uint8_t *machine;    /* WASM: first machine instruction, or NULL; one of the two is there once the record is filled */
    sbx_instance *instance;    /* WASM: the owner; otherwise NULL */
    uint32_t index;            /* WASM: function index in its instance; EMBEDDER: the embedder's number */
    uint32_t frame_slots;      /* WASM: value slots of the whole frame */
    const sbx_functype *type;  /* the store's canonical copy */
    sbx_host_function native;  /* NATIVE */
    void *data;                /* NATIVE */
} sbx_function;

/* wazero's ModuleInstance, the part that the executors read. The hot fields come first. */
struct sbx_instance {
    sbx_memory *memory0;            /* memory 0, or NULL */
    sbx_function *functions;        /* own functions by (index - imported_functions); entries are filled on first use: sbx_instance_function */
    sbx_function **imported_functions;
    sbx_value **imported_globals;
    sbx_table **tables;             /* the whole index space */
    const uint32_t *type_ids;       /* canonical ids by the module's type index */
    const uint16_t *code;           /* interpreter code section of the image */
    sbx_call_engine *engine;        /* set while machine code runs in the instance */
    uint32_t imported_function_count, imported_global_count, function_count, table_count, memory_count;
    uint32_t own_global_count;
    sbx_memory **memories;          /* the whole index space */
    const sbx_image *image;         /* retained */
    sbx_store *store;
    uint8_t *dropped_data;          /* one byte per data segment */
    uint8_t *dropped_elements;      /* one byte per element segment */
    void *user;                     /* the embedder's */
    sbx_instance *next;             /* all instances of the store */
    struct sbx_extern_global *global_records; /* by global index: what externs of kind global point to; filled on first use */
    sbx_value own_globals[];        /* inline: one load for an executor */
};

typedef struct sbx_store_limits {
    uint64_t memory_pages;   /* all memories of the store together; 0: none (65,536 without limits) */
    uint64_t table_elements; /* all tables together; 0: none (10,000,000 without limits) */
    uint32_t instances;      /* 0 = 10,000 */
    uint32_t reserved;
} sbx_store_limits;

struct sbx_store {
    sbx_store_limits limits;
    uint64_t pages_used, table_elements_used;
    uint32_t instance_count;
    uint32_t executor;           /* 0 before the first instance; which executor its modules were compiled for, and whether metered */
    void *owner;                 /* the call engine that runs in it now, NULL when idle; taken and left atomically */
    sbx_instance *instances;
    struct sbx_type_registry *types;
    struct sbx_store_object *objects; /* everything allocated for the store: released at once */
};

typedef struct sbx_extern { uint8_t kind; /* SBX_EXTERN_* */ void *object; /* sbx_function, sbx_table, sbx_memory, sbx_extern_global */ } sbx_extern;
typedef struct sbx_extern_global { sbx_value *cell; sbx_globaltype type; } sbx_extern_global;

sbx_store *sbx_store_new(const sbx_store_limits *limits); /* NULL: no memory */
/* Releases every instance, memory, table, function. Refused (SBX_BUSY) while a call engine runs in it. */
sbx_status sbx_store_free(sbx_store *store);
/* Canonical id of a function type in this store; UINT32_MAX when out of memory. */
uint32_t sbx_store_type_id(sbx_store *store, const sbx_functype *type, const sbx_functype **canonical);

/* Host-made externs. */
sbx_function *sbx_store_native_function(sbx_store *store, const sbx_functype *type, sbx_host_function native, void *data);
sbx_function *sbx_store_embedder_function(sbx_store *store, const sbx_functype *type, uint32_t number);
sbx_status sbx_memory_new(sbx_store *store, const sbx_memorytype *type, bool guarded, sbx_memory **out, sbx_error *err);
sbx_status sbx_table_new(sbx_store *store, const sbx_tabletype *type, uint64_t init, sbx_table **out, sbx_error *err);
sbx_extern_global *sbx_global_new(sbx_store *store, sbx_globaltype type, sbx_value value); /* NULL: no memory */

/* Instantiation (specification 4.5.4) in steps, so that the host can come between; the start function is an ordinary call.
 * 1. matches `externs` (one per import, in order) against the imports: SBX_LINK "unknown import" / "incompatible import type",
 *    message ends with "MODULE.NAME"; allocates memories, tables, globals (initialised, function references included). */
sbx_status sbx_instance_new(sbx_store *store, sbx_image *image, const sbx_extern *externs, size_t count,
                            sbx_instance **out, sbx_error *err);
/* 2. active element segments in order; out of bounds is SBX_TRAP TABLE_BOUNDS, earlier writes stay. */
sbx_status sbx_instance_init_elements(sbx_instance *instance, sbx_error *err);
/* 3. active data segments in order; out of bounds is SBX_TRAP MEMORY_BOUNDS, earlier writes stay. Maps the image's pre-initialised
 *    pages copy-on-write where the image has them. */
sbx_status sbx_instance_init_data(sbx_instance *instance, sbx_error *err);

/* The function of an index space entry, filled on first use; index must be valid. */
sbx_function *sbx_instance_function(sbx_instance *instance, uint32_t index);
sbx_value *sbx_instance_global(sbx_instance *instance, uint32_t index, sbx_globaltype *type);
/* Looks an export up by name; false when there is none. object is as in sbx_extern (globals: a record owned by the store). */
bool sbx_instance_export(sbx_instance *instance, const uint8_t *name, size_t length, sbx_extern *out);

/* Run-time operations; the executors' slow paths and the Python side use the same ones.
 * Those that can fail return the trap cause, SBX_TRAP_NONE for success; nothing is written on failure. */
int64_t sbx_memory_grow(sbx_memory *memory, uint64_t delta_pages);  /* old size in pages, or -1 */
sbx_trap sbx_memory_init(sbx_instance *instance, uint32_t segment, sbx_memory *memory, uint64_t to, uint64_t from, uint64_t count);
void sbx_data_drop(sbx_instance *instance, uint32_t segment);
int64_t sbx_table_grow(sbx_table *table, uint64_t delta, uint64_t init);  /* old size, or -1 */
sbx_trap sbx_table_fill(sbx_table *table, uint64_t to, uint64_t value, uint64_t count);
sbx_trap sbx_table_copy(sbx_table *to_table, sbx_table *from_table, uint64_t to, uint64_t from, uint64_t count);
sbx_trap sbx_table_init(sbx_instance *instance, uint32_t segment, uint32_t table, uint64_t to, uint64_t from, uint64_t count);
void sbx_element_drop(sbx_instance *instance, uint32_t segment);
/* True when [address, address + length) lies in the memory (which may be NULL). */
static inline bool sbx_memory_contains(const sbx_memory *memory, uint64_t address, uint64_t length)
{
    return memory && length <= memory->size && address <= memory->size - length;
}
#endif
