/* A decoded module (specification 2.0, chapter 2): what the decoder produces, the validator checks and the lowering reads. */
#ifndef SBX_MODULE_H
#define SBX_MODULE_H
#include "arena.h"
#include "status.h"
#include "types.h"

/* Hard limits on modules, each refused with SBX_MODULE_LIMIT that names it. Defaults (0 = default) are in decode.c.
 * Python sees the same struct through sandbox.cdef.h. */
typedef struct sbx_module_limits {
    uint64_t module_bytes;   /* 256 MiB */
    uint32_t types;          /* 1,000,000 */
    uint32_t functions;      /* 1,000,000, imports included */
    uint32_t imports;        /* 100,000 */
    uint32_t exports;        /* 1,000,000 */
    uint32_t globals;        /* 1,000,000 */
    uint32_t tables;         /* 100,000 */
    uint32_t segments;       /* 100,000 data and 10,000,000 element segments are what browsers allow; ours: 1,000,000 each */
    uint32_t params;         /* 1,000 */
    uint32_t results;        /* 1,000 */
    uint32_t locals;         /* 50,000 a function, parameters included */
    uint32_t body_bytes;     /* 7,654,321 */
    uint32_t nesting;        /* 65,536 nested blocks */
} sbx_module_limits;

typedef struct sbx_compile_options {
    uint32_t features;        /* mask of SBX_FEATURE_BIT; 0 = SBX_FEATURES_SUPPORTED */
    uint8_t metered;          /* count fuel */
    uint8_t explicit_bounds;  /* no guard pages: every access is compared */
    uint8_t keep_debug_names; /* function names of the name section, for backtraces (default on from Python) */
    uint8_t compiled;         /* machine code in place of interpreter code; SBX_UNSUPPORTED where this build has no compiled tier */
    sbx_module_limits limits;
} sbx_compile_options;

/* A constant expression as bytes of the module: offset and length include the final `end`.
 * Decoded once into (opcode, immediate) for the single-instruction forms that WebAssembly 2.0 allows. */
typedef struct sbx_const_expr {
    uint32_t offset, length;  /* within the module's bytes */
    uint8_t opcode;           /* i32.const 0x41 … f64.const 0x44, global.get 0x23, ref.null 0xD0, ref.func 0xD2 */
    uint64_t bits;            /* value zero-extended, or index, or reference type */
} sbx_const_expr;

typedef struct sbx_import {
    sbx_name module, name;
    uint8_t kind; /* SBX_EXTERN_* */
    uint32_t offset;
    union { uint32_t type_index; sbx_tabletype table; sbx_memorytype memory; sbx_globaltype global; } u;
} sbx_import;

typedef struct sbx_export { sbx_name name; uint8_t kind; uint32_t index; uint32_t offset; } sbx_export;

typedef struct sbx_global_def { sbx_globaltype type; sbx_const_expr init; uint32_t offset; } sbx_global_def;

enum { SBX_SEGMENT_ACTIVE, SBX_SEGMENT_PASSIVE, SBX_SEGMENT_DECLARATIVE };

typedef struct sbx_element_segment {
    uint8_t mode;
    sbx_valtype type;
    uint32_t table;
    sbx_const_expr offset;     /* active only */
    uint32_t count;
    /* Each initialiser: a function index, or UINT32_MAX for null, or, with has_expressions and global.get,
     * 0x80000000 | global index. */
    const uint32_t *inits;
    uint32_t file_offset;
} sbx_element_segment;
#define SBX_INIT_NULL UINT32_MAX
#define SBX_INIT_GLOBAL 0x80000000u

typedef struct sbx_data_segment {
    uint8_t mode;
    uint32_t memory;
    sbx_const_expr offset;     /* active only */
    const uint8_t *bytes;      /* into the module's bytes */
    uint32_t length;
    uint32_t file_offset;
} sbx_data_segment;

/* One run of the locals declaration. */
typedef struct sbx_local_run { uint32_t count; sbx_valtype type; } sbx_local_run;

enum {
    SBX_LOCAL_ASSIGNED = 1,
    SBX_LOCAL_NEEDS_ZERO = 2,  /* it may be read before it is set on some path */
};

typedef struct sbx_code {
    uint32_t offset;           /* of the first instruction, in the module's bytes (after the locals) */
    uint32_t end;              /* one past the final `end` */
    uint32_t local_count;      /* declared locals, without the parameters */
    uint32_t run_count;
    const sbx_local_run *runs;
    /* Filled in by the validator: */
    uint32_t max_height;       /* operand stack, in values */
    uint8_t is_leaf;           /* no call of any kind */
    /* By local, parameters first, until the validator's next body: uses, one per local.get/set/tee weighted by 8^min(loop depth, 7),
     * saturating; SBX_LOCAL_*. NULL, which says the same less precisely, for bodies that declare more locals than they have bytes. */
    const uint32_t *local_weight;
    const uint8_t *local_state;
} sbx_code;

typedef struct sbx_custom_section { sbx_name name; uint32_t offset, length; /* of the payload */ } sbx_custom_section;

typedef struct sbx_module {
    const uint8_t *bytes; size_t size;  /* the caller's; must outlive the module */
    sbx_arena *arena;
    uint32_t features;
    const sbx_module_limits *limits;    /* every field set */

    uint32_t type_count;   const sbx_functype *types;
    uint32_t import_count; const sbx_import *imports;
    /* Index spaces: imports first, then the module's own definitions. */
    uint32_t imported_functions, imported_tables, imported_memories, imported_globals;
    uint32_t function_count; const uint32_t *functions;       /* type index of every function of the index space */
    uint32_t table_count;    const sbx_tabletype *tables;     /* the whole index space */
    uint32_t memory_count;   const sbx_memorytype *memories;  /* the whole index space */
    uint32_t global_count;   const sbx_globaltype *globals;   /* the whole index space */
    const sbx_global_def *global_defs;                        /* own globals: global_count - imported_globals */
    uint32_t export_count;   const sbx_export *exports;
    uint32_t element_count;  sbx_element_segment *elements;
    uint32_t data_count;     sbx_data_segment *data;
    bool has_data_count;     uint32_t declared_data_count;
    bool has_start;          uint32_t start;
    uint32_t section_offsets[14];                             /* by section id: where its contents begin, 0 when absent */
    uint32_t code_count;     sbx_code *code;                  /* own functions, in order */
    uint64_t code_bytes;                                      /* length of the code section's payload */
    uint32_t custom_count;   const sbx_custom_section *customs;
    sbx_name *function_names;  /* from the name section, by function index; NULL when absent; a broken name section is ignored */
    sbx_name module_name;
    uint8_t *declared_refs;  /* bit set per function index: may be the target of ref.func (specification 3.4.10, C.refs) */
    /* What the decoder saw of invalid things that the fields above cannot carry, and of a later version's that it could
     * still read; sbx_validate_module reports them: malformed comes before invalid, invalid before unsupported. */
    const sbx_error *deferred, *refused; /* NULL when there is nothing */
    uint32_t tag_count;                  /* only to check exports: tags are refused */
} sbx_module;

/* Operand stack of one function, in values; higher is refused with SBX_MODULE_LIMIT ("operands"). */
#define SBX_MAX_OPERANDS 1048576u
/* Memories of one module ("memories"); for now, of those with more than one only such pass as trap when instantiated. */
#define SBX_MAX_MEMORIES 100u

/* Decodes the binary format (specification chapter 5): SBX_MALFORMED, SBX_UNSUPPORTED or SBX_MODULE_LIMIT with an offset.
 * Element and data segments, names and code point into `bytes`. Does not look into function bodies beyond their locals. */
sbx_status sbx_decode_module(const uint8_t *bytes, size_t size, const sbx_compile_options *options,
                             sbx_arena *arena, sbx_module **out, sbx_error *err);
/* Validates everything but function bodies (specification chapter 3). */
sbx_status sbx_validate_module(sbx_module *module, sbx_error *err);
/* Decodes and validates one body (index into module->code), and fills in the analysis fields of its sbx_code.
 * Both malformed and invalid bodies are reported here. Reentrant: different bodies may be done by different threads,
 * each with its own scratch. */
typedef struct sbx_validator sbx_validator; /* reusable scratch */
sbx_validator *sbx_validator_new(const sbx_module *module);
void sbx_validator_free(sbx_validator *v);
sbx_status sbx_validate_body(sbx_validator *v, uint32_t code_index, sbx_error *err);
#endif
