/* Types of the specification: value, function, table, memory and global types, limits, names, values. */
#ifndef SBX_TYPES_H
#define SBX_TYPES_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SBX_LIKELY(x) __builtin_expect(!!(x), 1)
#define SBX_UNLIKELY(x) __builtin_expect(!!(x), 0)

/* The binary format's code in the low byte; the upper bits are room for heap types of typed references. */
typedef uint32_t sbx_valtype;
enum {
    SBX_I32 = 0x7F, SBX_I64 = 0x7E, SBX_F32 = 0x7D, SBX_F64 = 0x7C, SBX_V128 = 0x7B,
    SBX_FUNCREF = 0x70, SBX_EXTERNREF = 0x6F,
    SBX_BOTTOM = 0, /* validator only: the unknown type */
};

enum { SBX_EXTERN_FUNC, SBX_EXTERN_TABLE, SBX_EXTERN_MEMORY, SBX_EXTERN_GLOBAL, SBX_EXTERN_TAG };

/* Features that a module may use; the mask is part of the compile cache's key.
 * Those after SATURATING are refused by name in this version. */
#define SBX_FEATURE_LIST(X)                                                                        \
    X(MUTABLE_GLOBAL, "mutable-global")                                                            \
    X(SIGN_EXTENSION, "sign-extension")                                                            \
    X(SATURATING, "nontrapping-float-to-int")                                                      \
    X(MULTI_VALUE, "multi-value")                                                                  \
    X(BULK_MEMORY, "bulk-memory")                                                                  \
    X(REFERENCE_TYPES, "reference-types")                                                          \
    X(SIMD, "simd")                                                                                \
    X(RELAXED_SIMD, "relaxed-simd")                                                                \
    X(TAIL_CALL, "tail-call")                                                                      \
    X(EXTENDED_CONST, "extended-const")                                                            \
    X(MULTI_MEMORY, "multi-memory")                                                                \
    X(MEMORY64, "memory64")                                                                        \
    X(THREADS, "threads")                                                                          \
    X(FUNCTION_REFERENCES, "function-references")                                                  \
    X(GC, "gc")                                                                                    \
    X(EXCEPTIONS, "exceptions")
typedef enum sbx_feature {
#define X(name, text) SBX_FEATURE_##name,
    SBX_FEATURE_LIST(X)
#undef X
    SBX_FEATURE_COUNT
} sbx_feature;
#define SBX_FEATURE_BIT(name) (1u << SBX_FEATURE_##name)
/* WebAssembly 2.0 without SIMD. */
#define SBX_FEATURES_SUPPORTED                                                                     \
    (SBX_FEATURE_BIT(MUTABLE_GLOBAL) | SBX_FEATURE_BIT(SIGN_EXTENSION) | SBX_FEATURE_BIT(SATURATING) | \
     SBX_FEATURE_BIT(MULTI_VALUE) | SBX_FEATURE_BIT(BULK_MEMORY) | SBX_FEATURE_BIT(REFERENCE_TYPES))
const char *sbx_feature_name(uint32_t feature);

#define SBX_PAGE_SIZE 65536u
#define SBX_MAX_PAGES32 65536u

typedef struct sbx_name { const uint8_t *bytes; uint32_t length; } sbx_name;

typedef struct sbx_functype {
    uint32_t params, results;
    const sbx_valtype *types; /* the parameters, then the results */
} sbx_functype;

typedef struct sbx_limits { uint64_t min, max; uint8_t has_max, shared, is64; } sbx_limits;
typedef struct sbx_tabletype { sbx_valtype element; sbx_limits limits; } sbx_tabletype;
typedef struct sbx_memorytype { sbx_limits limits; } sbx_memorytype;
typedef struct sbx_globaltype { sbx_valtype type; uint8_t is_mutable; } sbx_globaltype;

/* A value at rest (globals, arguments, results): 16 bytes so that v128 fits.
 * i32 and f32 are zero-extended to 64 bits; a null reference is 0;
 * funcref is a `sbx_function *`, externref an opaque non-zero number of the embedder. */
typedef union sbx_value { uint64_t u64; int64_t i64; uint32_t u32; int32_t i32; float f32; double f64; uint64_t v128[2]; } sbx_value;

static inline bool sbx_is_reference(sbx_valtype t) { return t == SBX_FUNCREF || t == SBX_EXTERNREF; }
static inline bool sbx_is_number(sbx_valtype t) { return t >= SBX_F64 && t <= SBX_I32; }
bool sbx_functype_equal(const sbx_functype *a, const sbx_functype *b);
const char *sbx_valtype_name(sbx_valtype t); /* "i32", "funcref", … */
#endif
