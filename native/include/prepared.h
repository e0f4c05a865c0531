/* Prepared calls: one function, one call engine, arguments as C values. A call is one entry here and no look-up. */
#ifndef SBX_PREPARED_H
#define SBX_PREPARED_H
#include "call_engine.h"

/* What an entry answers when there is no result to give; a guest may return the same, so sbx_prepared_outcome decides. Doubles: any NaN. */
#define SBX_PREPARED_ASK (-0x5B0DDBA11C0FFEE5ll)
/* Parameters that the entries know: any mix of integers and floats up to MIXED, integers alone up to ALIKE. */
enum { SBX_PREPARED_MIXED = 3, SBX_PREPARED_ALIKE = 6 };
/* An outcome that is no status of a call: it was not begun (the engine is taken or suspended, an argument is out of range). */
enum { SBX_PREPARED_NOT_BEGUN = 0x100 };

typedef struct sbx_prepared {
    sbx_call_engine *engine;
    sbx_function *function;
    sbx_instance *fresh;      /* every call begins with it as new (fresh.h), or NULL */
    uint32_t metered;         /* fuel is spent: each call has all there is */
    uint32_t params, result;  /* number of parameters; type of the one result, 0 for none */
    uint32_t narrow;          /* bit k: parameter k has 32 bits */
    uint32_t closed;          /* atomic: begin nothing */
    const void *thread;       /* atomic: whose call still holds the engine; NULL: nobody's */
} sbx_prepared;

/* Fills a record for a function of at most one result, neither parameter nor result a reference. False: no entry for its signature. */
bool sbx_prepared_init(sbx_prepared *prepared, sbx_call_engine *engine, sbx_function *function, bool metered);
/* What became of the calling thread's last call, when it answered SBX_PREPARED_ASK: SBX_OK: that is the result;
 * SBX_PREPARED_NOT_BEGUN; or the status of sbx_call_engine_call. Then the engine stays taken, so that nobody changes what it tells,
 * until sbx_prepared_release. */
uint32_t sbx_prepared_outcome(const sbx_prepared *prepared);
void sbx_prepared_release(sbx_prepared *prepared);
/* The same for a call that nobody will go on with: a suspended one is abandoned. */
void sbx_prepared_discard(sbx_prepared *prepared);
/* From now on no call is begun, or calls are again; whether one is under way. */
bool sbx_prepared_bar(sbx_prepared *prepared, bool closed);

/* The entries: sbx_prepared_PARAMS_RESULT, a letter each: i for i32 (-2^31 to 2^32-1) and i64, f for f32 and f64, v for none. */
#define SBX_PREPARED_SHAPES(X0, X1, X2, X3, X4, X5, X6)                                                              \
    X0(v) X1(i) X1(f) X2(i, i) X2(i, f) X2(f, i) X2(f, f)                                                            \
    X3(i, i, i) X3(i, i, f) X3(i, f, i) X3(i, f, f) X3(f, i, i) X3(f, i, f) X3(f, f, i) X3(f, f, f)                  \
    X4(i, i, i, i) X5(i, i, i, i, i) X6(i, i, i, i, i, i)
/* native/build_ffi.py declares the same ones to cffi. */
#define D_i int64_t
#define D_f double
#define DECLARE(name, ...) int64_t sbx_prepared_##name##_i(__VA_ARGS__); double sbx_prepared_##name##_f(__VA_ARGS__);
#define X0(a) DECLARE(a, sbx_prepared *)
#define X1(a) DECLARE(a, sbx_prepared *, D_##a)
#define X2(a, b) DECLARE(a##b, sbx_prepared *, D_##a, D_##b)
#define X3(a, b, c) DECLARE(a##b##c, sbx_prepared *, D_##a, D_##b, D_##c)
#define X4(a, b, c, d) DECLARE(a##b##c##d, sbx_prepared *, D_##a, D_##b, D_##c, D_##d)
#define X5(a, b, c, d, e) DECLARE(a##b##c##d##e, sbx_prepared *, D_##a, D_##b, D_##c, D_##d, D_##e)
#define X6(a, b, c, d, e, f) DECLARE(a##b##c##d##e##f, sbx_prepared *, D_##a, D_##b, D_##c, D_##d, D_##e, D_##f)
SBX_PREPARED_SHAPES(X0, X1, X2, X3, X4, X5, X6)
#undef D_i
#undef D_f
#undef DECLARE
#undef X0
#undef X1
#undef X2
#undef X3
#undef X4
#undef X5
#undef X6
#endif
