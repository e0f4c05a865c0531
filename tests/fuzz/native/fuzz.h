/* What the fuzz targets share: randomness, growing bytes, the walk over a module, the generator, the mutator, the observer. */
#ifndef FZ_FUZZ_H
#define FZ_FUZZ_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "types.h"
#include "wasm_ops.h"

/* Randomness: SplitMix64, so that a seed gives the same everywhere. */
typedef struct fz_rng { uint64_t state; } fz_rng;
uint64_t fz_next(fz_rng *rng);
uint32_t fz_below(fz_rng *rng, uint32_t bound); /* [0, bound); 0 for a bound of 0 */
bool fz_chance(fz_rng *rng, uint32_t percent);
/* A number with an interesting value more often than not, as raw bits of the type. */
uint64_t fz_number(fz_rng *rng, sbx_valtype type);

/* Bytes that grow; running out of memory ends the process. */
typedef struct fz_bytes { uint8_t *data; size_t size, room; } fz_bytes;
void fz_put(fz_bytes *out, uint8_t byte);
void fz_append(fz_bytes *out, const void *data, size_t size);
void fz_unsigned(fz_bytes *out, uint64_t value); /* LEB128 */
void fz_signed(fz_bytes *out, int64_t value);
void fz_opcode(fz_bytes *out, uint32_t opcode);  /* as in wasm_ops.h */
void fz_const(fz_bytes *out, sbx_valtype type, uint64_t bits); /* the const instruction */
/* A section, or anything else that begins with its size. */
void fz_sized(fz_bytes *out, const fz_bytes *inner);
void fz_free(fz_bytes *bytes);

/* The walk: a cursor over bytes that need not be a module; every reader answers false at the end or at nonsense. */
typedef struct fz_cursor { const uint8_t *at, *end; } fz_cursor;
bool fz_read_unsigned(fz_cursor *c, uint64_t *out);
bool fz_read_u32(fz_cursor *c, uint32_t *out);
bool fz_skip(fz_cursor *c, uint64_t bytes);
/* The next section: its number and what it holds. */
bool fz_section(fz_cursor *c, uint8_t *id, fz_cursor *contents);
/* The next instruction with its immediates; the cursor stands behind it. */
bool fz_instruction(fz_cursor *c, uint32_t *opcode);

/* What a function body may name: of a module that is being made, or of one that was read. */
enum { FZ_TYPES = 48, FZ_FUNCTIONS = 64, FZ_GLOBALS = 32, FZ_TABLES = 4, FZ_SEGMENTS = 8, FZ_ARITY = 24 };
typedef struct fz_signature { uint32_t params, results; uint8_t types[FZ_ARITY]; } fz_signature;
typedef struct fz_global { uint8_t type, is_mutable; } fz_global;
typedef struct fz_environment {
    fz_rng *rng;
    bool may_add_types;
    uint32_t type_count, function_count, imported_functions, global_count, table_count, element_count, data_count;
    fz_signature types[FZ_TYPES];
    uint32_t functions[FZ_FUNCTIONS]; /* type index */
    fz_global globals[FZ_GLOBALS];
    uint8_t tables[FZ_TABLES];        /* element type */
    uint8_t elements[FZ_SEGMENTS];    /* element type */
    bool has_memory, refers;          /* refers: ref.func may name any function */
    int32_t budget;                   /* the global that bounds calls, or -1 */
} fz_environment;
/* What can be understood of a module's sections before its code; false when that is too little to make a body for it. */
bool fz_environment_read(fz_environment *env, const uint8_t *bytes, size_t size);
/* A valid body of a function of this type, without its size. */
void fz_body(fz_environment *env, uint32_t type_index, fz_bytes *out);
/* The index of a type, which is added when there is none; FZ_TYPES when there is no room. */
uint32_t fz_type_index(fz_environment *env, const fz_signature *signature);

/* The generator: a valid module that ends by itself, as long as its exported global "B" is filled before each call. */
void fz_module(uint64_t seed, fz_bytes *out);
/* Appends to each arithmetic float instruction what makes its NaNs one NaN; a module that cannot be read is copied as it is. */
void fz_canonical(const uint8_t *bytes, size_t size, fz_bytes *out);
/* A changed module: structure first, bytes seldom. `donor` may be NULL. */
void fz_mutate(fz_rng *rng, const uint8_t *bytes, size_t size, const uint8_t *donor, size_t donor_size, fz_bytes *out);
#endif
