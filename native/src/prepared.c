/* Prepared calls: the entries by signature, and who may learn what became of a call that gave no result. */
#include "prepared.h"
#include <math.h>
#include <string.h>
#include "engine_state.h"
#include "fresh.h"

/* Of this thread's last call that answered SBX_PREPARED_ASK without holding the engine; its address names the thread. */
static __thread u32 last_outcome;

static bool is_float(sbx_valtype type) { return type == SBX_F32 || type == SBX_F64; }
static bool is_number(sbx_valtype type) { return is_float(type) || type == SBX_I32 || type == SBX_I64; }

bool sbx_prepared_init(sbx_prepared *p, sbx_call_engine *engine, sbx_function *function, bool metered)
{
    const sbx_functype *type = function->type;
    *p = (sbx_prepared){.engine = engine, .function = function, .metered = metered, .params = type->params};
    if (type->params > SBX_PREPARED_ALIKE || type->results > 1)
        return false;
    bool floats = false;
    for (u32 i = 0; i < type->params + type->results; i++) {
        if (!is_number(type->types[i]))
            return false;
        if (i < type->params) {
            floats |= is_float(type->types[i]);
            p->narrow |= (u32)(type->types[i] == SBX_I32 || type->types[i] == SBX_F32) << i;
        }
    }
    if (type->results)
        p->result = type->types[type->params];
    return type->params <= SBX_PREPARED_MIXED || !floats;
}

u32 sbx_prepared_outcome(const sbx_prepared *p) { (void)p; return last_outcome; }

void sbx_prepared_release(sbx_prepared *p)
{
    if (!__atomic_exchange_n(&p->thread, NULL, __ATOMIC_ACQ_REL))
        return;
    sbx_engine_leave(p->engine);
}

void sbx_prepared_discard(sbx_prepared *p)
{
    if (!__atomic_load_n(&p->thread, __ATOMIC_ACQUIRE))
        return;
    sbx_call_engine_abandon(p->engine);
    p->engine->unread = 0;
    sbx_prepared_release(p);
}

/* Whoever takes the engine looks at `closed` behind the barrier: one of the two sees the other. */
bool sbx_prepared_bar(sbx_prepared *p, bool closed)
{
    __atomic_store_n(&p->closed, closed, __ATOMIC_SEQ_CST);
    return __atomic_load_n(&p->engine->busy, __ATOMIC_SEQ_CST) == (uintptr_t)p;
}

static bool take_int(const sbx_prepared *p, u64 *values, u32 k, s64 value)
{
    values[k] = (u64)value;
    return !(p->narrow >> k & 1) || (u64)value + (1ull << 31) < (1ull << 31) + (1ull << 32);
}

static bool take_double(const sbx_prepared *p, u64 *values, u32 k, double value)
{
    if (!(p->narrow >> k & 1)) {
        memcpy(&values[k], &value, sizeof value);
        return true;
    }
    float single = (float)value;
    values[k] = 0;
    memcpy(&values[k], &single, sizeof single);
    return !isinf(single) || isinf(value);
}

/* True with the result in values[0]. The engine is left, but for a call that has begun and not ended well. */
static bool call(sbx_prepared *p, u64 *values, bool in_range)
{
    sbx_call_engine *engine = p->engine;
    last_outcome = SBX_PREPARED_NOT_BEGUN;
    if (__atomic_load_n(&p->thread, __ATOMIC_RELAXED) == &last_outcome)
        sbx_prepared_discard(p); /* an exception (KeyboardInterrupt) came before this thread could ask */
    if (!in_range || !sbx_engine_take(engine, (uintptr_t)p))
        return false;
    if (__builtin_expect(engine->depth | engine->unread | __atomic_load_n(&p->closed, __ATOMIC_RELAXED), 0)) {
        sbx_engine_leave(engine);
        return false;
    }
    if (p->metered)
        engine->fuel = INT64_MAX;
    if (p->fresh && sbx_fresh_begin(p->fresh, NULL)) { /* who tries again will be told why */
        sbx_engine_leave(engine);
        return false;
    }
    sbx_status status = sbx_call_taken(engine, p->function, values, SBX_PREPARED_ALIKE, NULL);
    if (__builtin_expect(status == SBX_OK, 1)) {
        if (p->fresh && sbx_fresh_end(p->fresh))
            p->closed = 1;
        last_outcome = SBX_OK;
        sbx_engine_leave(engine);
        return true;
    }
    if (status == SBX_BUSY) { /* the store is: not begun */
        sbx_engine_leave(engine);
        return false;
    }
    engine->unread = 1;
    last_outcome = status;
    __atomic_store_n(&p->thread, &last_outcome, __ATOMIC_RELEASE);
    return false;
}

static s64 as_int(const sbx_prepared *p, const u64 *values)
{
    return p->result == SBX_I32 ? (s32)values[0] : p->result ? (s64)values[0] : 0;
}

static double as_double(const sbx_prepared *p, const u64 *values)
{
    double wide;
    float single;
    memcpy(&wide, values, sizeof wide);
    memcpy(&single, values, sizeof single);
    return p->result == SBX_F32 ? single : wide;
}

#define D_i s64
#define D_f double
#define T_i take_int
#define T_f take_double
#define ENTRY(name, params, taken)                                                                 \
    s64 sbx_prepared_##name##_i params                                                             \
    {                                                                                              \
        u64 v[SBX_PREPARED_ALIKE];                                                                 \
        return call(p, v, taken) ? as_int(p, v) : SBX_PREPARED_ASK;                                \
    }                                                                                              \
    double sbx_prepared_##name##_f params                                                          \
    {                                                                                              \
        u64 v[SBX_PREPARED_ALIKE];                                                                 \
        return call(p, v, taken) ? as_double(p, v) : NAN;                                          \
    }
#define P sbx_prepared *p
#define X0(v) ENTRY(v, (P), true)
#define X1(a) ENTRY(a, (P, D_##a A), T_##a(p, v, 0, A))
#define X2(a, b) ENTRY(a##b, (P, D_##a A, D_##b B), T_##a(p, v, 0, A) && T_##b(p, v, 1, B))
#define X3(a, b, c) ENTRY(a##b##c, (P, D_##a A, D_##b B, D_##c C), T_##a(p, v, 0, A) && T_##b(p, v, 1, B) && T_##c(p, v, 2, C))
#define X4(a, b, c, d) ENTRY(a##b##c##d, (P, s64 A, s64 B, s64 C, s64 D),                          \
                             T_i(p, v, 0, A) && T_i(p, v, 1, B) && T_i(p, v, 2, C) && T_i(p, v, 3, D))
#define X5(a, b, c, d, e) ENTRY(a##b##c##d##e, (P, s64 A, s64 B, s64 C, s64 D, s64 E),             \
                                T_i(p, v, 0, A) && T_i(p, v, 1, B) && T_i(p, v, 2, C) && T_i(p, v, 3, D) && T_i(p, v, 4, E))
#define X6(a, b, c, d, e, f) ENTRY(a##b##c##d##e##f, (P, s64 A, s64 B, s64 C, s64 D, s64 E, s64 F), \
                                   T_i(p, v, 0, A) && T_i(p, v, 1, B) && T_i(p, v, 2, C) && T_i(p, v, 3, D) && T_i(p, v, 4, E) && \
                                   T_i(p, v, 5, F))
SBX_PREPARED_SHAPES(X0, X1, X2, X3, X4, X5, X6)
