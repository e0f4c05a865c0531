/* The image: a compiled module as one position-independent, versioned block of bytes that is never patched. */
#ifndef SBX_IMAGE_H
#define SBX_IMAGE_H
#include "module.h"
#include "status.h"
#include "types.h"

/* KEPT: their bytes are in DATA_BYTES all the same, because instantiation may fail before they are dropped. */
enum { SBX_PREINITIALISED = 1, SBX_PREINITIALISED_KEPT = 2 };

/* What the lowering hands to the image writer for one own function. */
typedef struct sbx_lowered_function {
    uint32_t code_offset, code_units; /* in u16 units of the code section */
    uint32_t frame_slots;             /* params, locals, one spare, temporaries */
    uint32_t map_offset, map_length;  /* bytes of the map section: pc -> wasm offset, see lower.h */
    uint32_t machine_offset, machine_bytes; /* compiled tier: in the machine section */
    uint32_t machine_saved;           /* registers that its prologue pushes */
} sbx_lowered_function;

typedef struct sbx_lowered {
    sbx_lowered_function *functions;  /* one per own function */
    uint16_t *code;  uint64_t code_units;
    uint8_t *map;    uint64_t map_bytes;
    /* The compiled tier, in place of code: a block of sbx_malloc that begins with the room that the image writer asked for. */
    uint8_t *machine; uint64_t machine_bytes;
} sbx_lowered;

/* Sections in file order; every section starts 16-byte aligned, DATA_PAGES and MACHINE at a multiple of SBX_IMAGE_PAGE, and so does what is
 * behind MACHINE. Those that depend on code come last: what is before them has its place before a function is compiled. */
#define SBX_IMAGE_PAGE 4096u
#define SBX_MAX_FRAME_SLOTS 65535u /* slot operands are 16 bits wide */
#define SBX_IMAGE_SECTIONS(X)                                                                      \
    X(TYPES)      /* sbx_image_type[] */                                                           \
    X(VALTYPES)   /* sbx_valtype[]: pool of the types' parameters and results */                   \
    X(IMPORTS)    /* sbx_image_import[] */                                                         \
    X(EXPORTS)    /* sbx_image_export[] sorted by name bytes */                                    \
    X(FUNCTIONS)  /* sbx_image_function[]: the whole index space; imports have code_units 0 */     \
    X(TABLES)     /* sbx_tabletype[]: the whole index space */                                     \
    X(MEMORIES)   /* sbx_memorytype[]: the whole index space */                                    \
    X(GLOBALS)    /* sbx_image_global[]: the whole index space */                                  \
    X(ELEMENTS)   /* sbx_image_elements[] */                                                       \
    X(ELEMENT_INITS) /* uint32_t[]: function index, SBX_INIT_NULL or SBX_INIT_GLOBAL | index */    \
    X(DATA)       /* sbx_image_data[] */                                                           \
    X(DATA_BYTES) /* bytes of the segments that are needed after instantiation or not pre-initialised */ \
    X(RUNS)       /* sbx_image_run[]: pre-initialised page runs of memory 0 */                     \
    X(CUSTOMS)    /* sbx_image_custom[]: names and lengths, for inspection */                      \
    X(NAMES)      /* bytes: all names */                                                           \
    X(DATA_PAGES) /* page-aligned contents of the runs, mapped copy-on-write */                    \
    X(MACHINE)    /* machine code of the compiled tier, alone in its pages: a header, stubs, functions */ \
    X(CODE)       /* uint16_t[]: interpreter code */                                               \
    X(MAP)        /* bytes: pc -> wasm offset maps */
typedef enum sbx_image_section {
#define X(name) SBX_IMAGE_##name,
    SBX_IMAGE_SECTIONS(X)
#undef X
    SBX_IMAGE_SECTION_COUNT
} sbx_image_section;

typedef struct sbx_image_header {
    uint8_t magic[8];                 /* "SBXIMAGE" */
    uint8_t build_id[32];             /* sbx_build_id(): a foreign build is refused */
    uint64_t size;                    /* of the whole image */
    uint32_t features;
    uint8_t metered, explicit_bounds, has_start, preinitialised; /* preinitialised: SBX_PREINITIALISED* when RUNS replace the active data segments */
    uint32_t start;
    uint32_t imported_functions, imported_tables, imported_memories, imported_globals;
    uint32_t type_count, import_count, export_count, function_count, table_count, memory_count, global_count;
    uint32_t element_count, data_count, run_count, custom_count;
    uint32_t largest_frame;           /* slots */
    uint64_t code_section_bytes;      /* of the source module, for figures */
    uint8_t module_sha256[32];        /* zero unless the compiler was told */
    struct { uint64_t offset, bytes; } sections[SBX_IMAGE_SECTION_COUNT];
} sbx_image_header;

typedef struct sbx_image_name { uint32_t offset, length; } sbx_image_name; /* into NAMES */
typedef struct sbx_image_type { uint32_t params, results, first; /* into VALTYPES */ uint32_t reserved; } sbx_image_type;
typedef struct sbx_image_import {
    sbx_image_name module, name;
    uint32_t kind, type_index;
    sbx_tabletype table; sbx_memorytype memory; sbx_globaltype global; /* the one of its kind */
} sbx_image_import;
typedef struct sbx_image_export { sbx_image_name name; uint32_t kind, index; } sbx_image_export;
typedef struct sbx_image_function {
    uint32_t type_index, code_offset, code_units, frame_slots, map_offset, map_length;
    uint32_t machine_offset, machine_bytes, machine_saved; /* compiled tier */
    uint32_t wasm_offset;                   /* of the first instruction in the module's bytes */
    sbx_image_name name;                    /* length 0: none */
} sbx_image_function;
typedef struct sbx_image_const { uint32_t opcode, reserved; uint64_t bits; } sbx_image_const; /* as sbx_const_expr */
typedef struct sbx_image_global { sbx_globaltype type; uint32_t imported; sbx_image_const init; } sbx_image_global;
typedef struct sbx_image_elements {
    uint32_t mode, type, table, count, first; /* first: into ELEMENT_INITS */
    uint32_t reserved; sbx_image_const offset;
} sbx_image_elements;
typedef struct sbx_image_data {
    uint32_t mode, memory;
    uint64_t bytes_offset, length;  /* into DATA_BYTES; SBX_IMAGE_NO_BYTES for active segments that RUNS replace */
    sbx_image_const offset;
} sbx_image_data;
#define SBX_IMAGE_NO_BYTES UINT64_MAX
typedef struct sbx_image_run { uint64_t memory_offset, length, pages_offset; } sbx_image_run; /* multiples of SBX_IMAGE_PAGE; into DATA_PAGES */
typedef struct sbx_image_custom { sbx_image_name name; uint64_t length; } sbx_image_custom;

/* A mapped image: base points at the header. Reference-counted; instances retain it. */
typedef struct sbx_image {
    const sbx_image_header *header;
    const uint8_t *base;
    uint64_t size;
    int fd;              /* the mapped descriptor, dup'ed, close-on-exec; -1 when made from memory */
    int references;      /* atomic */
    const uint8_t *machine; /* the machine section, mapped read + execute; NULL when there is none */
} sbx_image;

#define SBX_IMAGE_AT(image, section, type)                                                         \
    ((const type *)((image)->base + (image)->header->sections[SBX_IMAGE_##section].offset))

/* 32 bytes: hash over the operation table, the structures' sizes and the compiler's flags and version. */
const uint8_t *sbx_build_id(void);

/* Serialises, in two steps, so that machine code is emitted where it stays: _new lays out what does not depend on code, _room says how
 * many bytes come before machine code. _write takes the block lowered->machine over, whatever comes of it, and makes it the image;
 * *out is sbx_malloc'ed. */
typedef struct sbx_image_writer sbx_image_writer;
sbx_status sbx_image_writer_new(const sbx_module *module, const sbx_compile_options *options, sbx_image_writer **out, sbx_error *err);
void sbx_image_writer_free(sbx_image_writer *w);
size_t sbx_image_writer_room(const sbx_image_writer *w);
sbx_status sbx_image_write(sbx_image_writer *w, const sbx_lowered *lowered, uint8_t **out, uint64_t *size);
/* Maps the descriptor read-only (after fstat; Linux: checks F_SEAL_WRITE|SHRINK|GROW unless allow_unsealed) and checks magic, build id, size,
 * and that every section, name, index and offset in the records stays inside its section (code is trusted: it is ours).
 * SBX_BAD_IMAGE otherwise. */
sbx_status sbx_image_open(int fd, bool allow_unsealed, sbx_image **out, sbx_error *err);
/* The same over a private copy of the bytes (in-process mode, tests); pages are copied, not mapped. */
sbx_status sbx_image_from_bytes(const uint8_t *bytes, uint64_t size, sbx_image **out, sbx_error *err);
/* The same for who only reads what the image says of itself: no machine code is mapped, and sbx_instance_new refuses it. */
sbx_status sbx_image_describe(const uint8_t *bytes, uint64_t size, sbx_image **out, sbx_error *err);
void sbx_image_retain(sbx_image *image);
void sbx_image_release(sbx_image *image);
sbx_name sbx_image_name_of(const sbx_image *image, sbx_image_name name);
/* A function type of the image as an sbx_functype that points into it. */
sbx_functype sbx_image_functype(const sbx_image *image, uint32_t type_index);

/* bytes in, image out: decode, validate, lower, write. */
sbx_status sbx_compile(const uint8_t *bytes, size_t size, const sbx_compile_options *options,
                       uint8_t **image, uint64_t *image_size, sbx_error *err);
/* Whether this build has the compiled tier for this machine; without it options.compiled answers SBX_UNSUPPORTED. */
bool sbx_compiled_tier(void);
#endif
