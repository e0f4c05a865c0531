/* The call engine's inside: what interp.c, call_engine.c, fault.c and backtrace.c share. Nobody else includes it. */
#ifndef SBX_ENGINE_STATE_H
#define SBX_ENGINE_STATE_H
#include <pthread.h>
#include "call_engine.h"
#include "ir_ops.h"

/* Tail calls between handlers need the optimiser; sanitizers and other builds run the portable loop over the same handlers. */
#if !defined(SBX_PORTABLE_DISPATCH) && defined(__x86_64__) && defined(__linux__) && defined(__OPTIMIZE__) && !defined(__SANITIZE_ADDRESS__)
#define SBX_TAIL_DISPATCH 1
#else
#define SBX_TAIL_DISPATCH 0
#endif

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int8_t s8;
typedef int16_t s16;
typedef int32_t s32;
typedef int64_t s64;

/* A return link. A call into another instance pushes a second one, {cross_return, the caller's instance}. */
typedef struct sbx_frame { const u16 *pc; u64 *fp; } sbx_frame;

#if SBX_TAIL_DISPATCH
typedef void (*sbx_handler)(const u16 *, u64 *, u8 *, u64, sbx_call_engine *, sbx_instance *, float, double);
#else
typedef void (*sbx_handler)(sbx_call_engine *);
#endif

/* One call of the embedder into the engine; suspended ones lie below the running one. */
typedef struct sbx_activation {
    sbx_frame *base;           /* control stack at entry */
    u64 *values;               /* value stack at entry: arguments, then results */
    sbx_function *function;
    sbx_store *store;          /* owned by this activation when it is the outermost in it; else NULL */
    /* Saved when suspended: */
    u32 status;
    const u16 *pc, *return_pc;
    u64 *fp;
    sbx_frame *csp;
    sbx_function *callee;      /* compiled tier: the host function that was interrupted, to be tried again */
    u64 *callee_fp;
    char *guest_base, *guest_sp; /* compiled tier: its stack at entry, and where it was suspended */
    u32 resume;
    u64 acc;
    float facc;
    double dacc;
    sbx_instance *instance;
    sbx_pending_call pending;
} sbx_activation;

enum { SBX_FRAME_SLACK = 4 };

struct sbx_call_engine {
    void *native_sp;           /* must stay first: interp.c's entry stores it at 0(engine) */
    sbx_frame *csp, *cs_limit; /* next free frame; the first frame that may not be taken */
    u64 *vs_limit;             /* the last place where a frame of any size still fits */
    s64 fuel;
    /* The machine's registers where the loop runs; saved here when an executor leaves. */
    const u16 *pc;
    u64 *fp;
    u8 *mem;
    u64 acc;
    double dacc;
    float facc;
    u32 status, trap, exit_code;
    sbx_instance *instance;
    /* Operands of the out-of-line call. */
    sbx_function *callee;
    u64 *callee_fp;
    const u16 *return_pc;
    sbx_pending_call pending;

    u32 running;               /* loop dispatch only */
    /* The compiled tier (machine.h). */
    char *guest_sp, *guest_stack, *guest_top; /* where it stands, the lowest place that may be used, where it begins */
    uintptr_t machine_limit;   /* atomic: below it rsp may not go; raised above every stack to interrupt */
    u32 resume;
    const u64 *trace_sp;
    bool trace_machine;
    const u8 *machine_code;    /* of the image that runs, for the fault handler */
    u32 (*host_entry)(sbx_call_engine *);
    u32 (*runtime_entry)(sbx_call_engine *, sbx_instance *, u32 op, u64 *values, u32 one, u32 two);
    u32 interrupt;             /* atomic: an interrupt is pending */
    u32 unread;                /* the last call did not end well, and what is told of it belongs to who made it (prepared.c) */
    uintptr_t busy;            /* atomic: a thread is inside; SBX_BUSY_CALL or the prepared call (prepared.c) */
    u32 depth, nesting;        /* activations in use, allowed */
    sbx_activation *activations;
    pthread_mutex_t table_lock;
    u64 *value_stack;
    sbx_frame *control_stack;
    void *stacks;
    size_t stacks_bytes;
    /* What backtrace walks. */
    const u16 *trace_pc;
    sbx_instance *trace_instance;
    sbx_frame *trace_top, *trace_base;
    /* The dispatch table lies in the engine, so that an interrupt is a matter of writing it: no check in any loop. Read-only otherwise. */
    _Alignas(4096) sbx_handler handlers[SBX_IR_COUNT];
};

extern const sbx_handler sbx_interpreter_table[SBX_IR_COUNT];
extern const u16 sbx_entry_code[2], sbx_cross_code[1];
/* Runs from the state in the engine until a handler leaves; the outcome is engine->status. */
void sbx_interpret(sbx_call_engine *engine);
enum { SBX_BUSY_CALL = 1 };
/* Takes an engine that nobody is inside of; false when somebody is. A full barrier. */
static inline bool sbx_engine_take(sbx_call_engine *engine, uintptr_t by)
{
    uintptr_t nobody = 0;
    return __atomic_compare_exchange_n(&engine->busy, &nobody, by, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}
static inline void sbx_engine_leave(sbx_call_engine *engine) { __atomic_store_n(&engine->busy, 0, __ATOMIC_RELEASE); }
/* sbx_call_engine_call for who has taken the engine. */
sbx_status sbx_call_taken(sbx_call_engine *engine, sbx_function *function, u64 *values, size_t capacity, sbx_error *err);
/* memory.fill and memory.copy (bulk.c): 0, a trap, or SBX_BULK_INTERRUPTED: the instruction is to be tried again. */
enum { SBX_BULK_INTERRUPTED = 0x101 };
u32 sbx_bulk_fill(sbx_call_engine *engine, const sbx_instance *in, const sbx_memory *memory, u64 *v);
u32 sbx_bulk_copy(sbx_call_engine *engine, const sbx_instance *in, const sbx_memory *target, const sbx_memory *source, u64 *v);
/* What a thread may still use of its native stack, in bytes. */
size_t sbx_native_stack_left(void);
/* Points the backtrace at where the engine stands. */
void sbx_trace_here(sbx_call_engine *engine, const sbx_activation *activation);

#if SBX_TAIL_DISPATCH
extern const char __start_sbx_ops[] __attribute__((visibility("hidden"))), __stop_sbx_ops[] __attribute__((visibility("hidden")));
void sbx_leave(void);
#endif
#endif
