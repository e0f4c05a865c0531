/* Operand access and the numeric operators of the specification (chapter 4.3) that C does not have as such. */
#ifndef SBX_NUMERIC_H
#define SBX_NUMERIC_H
#include <math.h>
#include <string.h>
#include "engine_state.h"

static inline u32 sbx_read32(const u16 *p) { u32 v; memcpy(&v, p, 4); return v; }
static inline u64 sbx_read64(const u16 *p) { u64 v; memcpy(&v, p, 8); return v; }
static inline u32 sbx_bits32(float x) { u32 v; memcpy(&v, &x, 4); return v; }
static inline u64 sbx_bits64(double x) { u64 v; memcpy(&v, &x, 8); return v; }
static inline float sbx_float32(u32 x) { float v; memcpy(&v, &x, 4); return v; }
static inline double sbx_float64(u64 x) { double v; memcpy(&v, &x, 8); return v; }
#define BITS32(x) sbx_bits32(x)
#define BITS64(x) sbx_bits64(x)
#define FLOAT32(x) sbx_float32(x)
#define FLOAT64(x) sbx_float64(x)

#define SLOT32(k) (*(const u32 *)&FP[PC[k]])
#define SLOT64(k) (FP[PC[k]])
#define SLOTF(k) (*(float *)&FP[PC[k]])
#define SLOTD(k) (*(double *)&FP[PC[k]])
#define IMM32(k) sbx_read32(PC + (k))
#define IMM64(k) sbx_read64(PC + (k))
#define IMMF(k) sbx_float32(sbx_read32(PC + (k)))
#define IMMD(k) sbx_float64(sbx_read64(PC + (k)))

#define LOAD(type, at) (__extension__({ type loaded; memcpy(&loaded, MEM + (at), sizeof loaded); loaded; }))
#define STORE(type, at, stored) do { type put = (stored); memcpy(MEM + (at), &put, sizeof put); } while (0)
/* A loop that zeroes a handful of slots must not become a call of memset in a hot handler. */
#define NOT_MEMSET(p) __asm__ volatile("" : "+r"(p) : : "memory")

#define CLZ32(x) ((x) ? (u32)__builtin_clz(x) : 32u)
#define CTZ32(x) ((x) ? (u32)__builtin_ctz(x) : 32u)
#define CLZ64(x) ((x) ? (u64)__builtin_clzll(x) : 64u)
#define CTZ64(x) ((x) ? (u64)__builtin_ctzll(x) : 64u)
/* Written out: the builtin calls libgcc where the processor's instruction may not be assumed. */
static inline u32 sbx_popcount32(u32 x)
{
    x -= x >> 1 & 0x55555555u;
    x = (x & 0x33333333u) + (x >> 2 & 0x33333333u);
    return ((x + (x >> 4)) & 0x0F0F0F0Fu) * 0x01010101u >> 24;
}
static inline u64 sbx_popcount64(u64 x)
{
    x -= x >> 1 & 0x5555555555555555u;
    x = (x & 0x3333333333333333u) + (x >> 2 & 0x3333333333333333u);
    return ((x + (x >> 4)) & 0x0F0F0F0F0F0F0F0Fu) * 0x0101010101010101u >> 56;
}
#define POPCNT32(x) sbx_popcount32(x)
#define POPCNT64(x) sbx_popcount64(x)

/* Statement expressions, so that an operator can trap: leave the handler through the cold twin. */
#define TRAP_IF(condition, cause) do { if (UNLIKELY(condition)) TRAP(cause); } while (0)
#define DIV_U(a, b) (__extension__({ TRAP_IF((b) == 0, DIVIDE_BY_ZERO); (a) / (b); }))
#define REM_U(a, b) (__extension__({ TRAP_IF((b) == 0, DIVIDE_BY_ZERO); (a) % (b); }))
#define DIV_S(a, b, s, u, min)                                                                     \
    (__extension__({                                                                               \
        TRAP_IF((b) == 0, DIVIDE_BY_ZERO);                                                         \
        TRAP_IF((s)(b) == -1 && (s)(a) == (min), INTEGER_OVERFLOW);                                \
        (u)((s)(a) / (s)(b));                                                                      \
    }))
#define REM_S(a, b, s, u)                                                                          \
    (__extension__({                                                                               \
        TRAP_IF((b) == 0, DIVIDE_BY_ZERO);                                                         \
        (s)(b) == -1 ? 0 : (u)((s)(a) % (s)(b));                                                   \
    }))
#define DIV_S32(a, b) DIV_S(a, b, s32, u32, INT32_MIN)
#define DIV_S64(a, b) DIV_S(a, b, s64, u64, INT64_MIN)
#define REM_S32(a, b) REM_S(a, b, s32, u32)
#define REM_S64(a, b) REM_S(a, b, s64, u64)

/* low < x < high must hold; the bounds are the nearest representable values outside the range. */
#define TRUNC(u, s, x, low, high)                                                                  \
    (__extension__({                                                                               \
        TRAP_IF((x) != (x), INVALID_CONVERSION);                                                   \
        TRAP_IF(!((x) > (low) && (x) < (high)), INTEGER_OVERFLOW);                                 \
        (u)(s)(x);                                                                                 \
    }))
#define TRUNC_SAT(u, s, x, low, high, min, max) \
    ((x) != (x) ? 0 : (u)((x) <= (low) ? (s)(min) : (x) >= (high) ? (s)(max) : (s)(x)))

#define F32_ABS(x) sbx_float32(sbx_bits32(x) & 0x7FFFFFFFu)
#define F64_ABS(x) sbx_float64(sbx_bits64(x) & 0x7FFFFFFFFFFFFFFFu)
#define F32_NEG(x) sbx_float32(sbx_bits32(x) ^ 0x80000000u)
#define F64_NEG(x) sbx_float64(sbx_bits64(x) ^ 0x8000000000000000u)
#define F32_COPYSIGN(x, y) sbx_float32((sbx_bits32(x) & 0x7FFFFFFFu) | (sbx_bits32(y) & 0x80000000u))
#define F64_COPYSIGN(x, y) sbx_float64((sbx_bits64(x) & 0x7FFFFFFFFFFFFFFFu) | (sbx_bits64(y) & 0x8000000000000000u))
/* Adding zero quiets a signalling NaN, as the specification wants of an arithmetic result. */
#define F32_CEIL(x) ((x) != (x) ? (x) + 0.0f : ceilf(x))
#define F32_FLOOR(x) ((x) != (x) ? (x) + 0.0f : floorf(x))
#define F32_TRUNC(x) ((x) != (x) ? (x) + 0.0f : truncf(x))
#define F32_NEAREST(x) ((x) != (x) ? (x) + 0.0f : rintf(x))
#define F64_CEIL(x) ((x) != (x) ? (x) + 0.0 : ceil(x))
#define F64_FLOOR(x) ((x) != (x) ? (x) + 0.0 : floor(x))
#define F64_TRUNC(x) ((x) != (x) ? (x) + 0.0 : trunc(x))
#define F64_NEAREST(x) ((x) != (x) ? (x) + 0.0 : rint(x))
#if defined(__x86_64__)
/* The instruction itself: sqrt() would be a call for errno's sake. */
static inline float sbx_sqrtf(float x) { __asm__("sqrtss %0, %0" : "+x"(x)); return x; }
static inline double sbx_sqrt(double x) { __asm__("sqrtsd %0, %0" : "+x"(x)); return x; }
#define F32_SQRT(x) sbx_sqrtf(x)
#define F64_SQRT(x) sbx_sqrt(x)
#else
#define F32_SQRT(x) sqrtf(x)
#define F64_SQRT(x) sqrt(x)
#endif
/* Of two NaNs the processor answers the first, and a compiler may exchange the operands of + and *: the order is kept, so that both
 * executors give the same bits. */
#if defined(__x86_64__)
static inline float sbx_addf(float a, float b) { __asm__("addss %1, %0" : "+x"(a) : "xm"(b)); return a; }
static inline double sbx_add(double a, double b) { __asm__("addsd %1, %0" : "+x"(a) : "xm"(b)); return a; }
static inline float sbx_mulf(float a, float b) { __asm__("mulss %1, %0" : "+x"(a) : "xm"(b)); return a; }
static inline double sbx_mul(double a, double b) { __asm__("mulsd %1, %0" : "+x"(a) : "xm"(b)); return a; }
#define F32_ADD(a, b) sbx_addf(a, b)
#define F64_ADD(a, b) sbx_add(a, b)
#define F32_MUL(a, b) sbx_mulf(a, b)
#define F64_MUL(a, b) sbx_mul(a, b)
#else
#define F32_ADD(a, b) ((a) + (b))
#define F64_ADD(a, b) ((a) + (b))
#define F32_MUL(a, b) ((a) * (b))
#define F64_MUL(a, b) ((a) * (b))
#endif
/* min and max: NaN wins; -0 is smaller than +0. */
#define F32_MIN(a, b) ((a) != (a) || (b) != (b) ? F32_ADD(a, b) : (a) == (b) ? sbx_float32(sbx_bits32(a) | sbx_bits32(b)) : (a) < (b) ? (a) : (b))
#define F64_MIN(a, b) ((a) != (a) || (b) != (b) ? F64_ADD(a, b) : (a) == (b) ? sbx_float64(sbx_bits64(a) | sbx_bits64(b)) : (a) < (b) ? (a) : (b))
#define F32_MAX(a, b) ((a) != (a) || (b) != (b) ? F32_ADD(a, b) : (a) == (b) ? sbx_float32(sbx_bits32(a) & sbx_bits32(b)) : (a) > (b) ? (a) : (b))
#define F64_MAX(a, b) ((a) != (a) || (b) != (b) ? F64_ADD(a, b) : (a) == (b) ? sbx_float64(sbx_bits64(a) & sbx_bits64(b)) : (a) > (b) ? (a) : (b))
#endif
