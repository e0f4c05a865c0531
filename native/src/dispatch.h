/* How handlers are reached: tail calls with the machine's state in registers, or a loop with the state in the engine. */
#ifndef SBX_DISPATCH_H
#define SBX_DISPATCH_H
#include "engine_state.h"

#define UNUSED __attribute__((unused))
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

#if SBX_TAIL_DISPATCH
#define PARAMS                                                                                     \
    UNUSED const u16 *pc, UNUSED u64 *fp, UNUSED u8 *mem, UNUSED u64 acc, UNUSED sbx_call_engine *ce, UNUSED sbx_instance *in,     \
        UNUSED float facc, UNUSED double dacc
#define ARGS pc, fp, mem, acc, ce, in, facc, dacc
#define PC pc
#define FP fp
#define MEM mem
#define ACC acc
#define FACC facc
#define DACC dacc
#define IN in
#define HANDLER(name) static __attribute__((section("sbx_ops"), hot)) void op_##name(PARAMS)
#define COLD(name) static __attribute__((section("sbx_ops"), noinline, cold)) void op_##name(PARAMS)
#ifdef __clang__
#define TAIL __attribute__((musttail)) return
#else
#define TAIL return
#endif
#define DISPATCH() TAIL ce->handlers[*pc](ARGS)
#define GO(name) return op_##name(ARGS)
#define SAVE() (ce->pc = pc, ce->fp = fp, ce->acc = acc, ce->facc = facc, ce->dacc = dacc, ce->instance = in)
#define LEAVE(outcome) do { SAVE(); ce->status = (outcome); return; } while (0)
/* The pc register must still name the instruction when a guard page answers: nothing moves across this. */
#define ACCESSED() __asm__ volatile("" : "+D"(pc) : : "memory")
#define GUARD(at, width) ((void)0)
#else
#define PC ce->pc
#define FP ce->fp
#define MEM ce->mem
#define ACC ce->acc
#define FACC ce->facc
#define DACC ce->dacc
#define IN ce->instance
#define HANDLER(name) static void op_##name(sbx_call_engine *ce)
#define COLD(name) static void op_##name(sbx_call_engine *ce)
#define DISPATCH() return
#define GO(name) do { op_##name(ce); return; } while (0)
#define SAVE() ((void)0)
#define LEAVE(outcome) do { ce->status = (outcome); ce->running = 0; return; } while (0)
#define ACCESSED() ((void)0)
/* No fault handler stands behind the loop: guarded memories are compared like the others. */
#define GUARD(at, width) CHECK(at, width)
#endif

#define NEXT(units) do { PC += (units); DISPATCH(); } while (0)
#define TRAP(cause) GO(trap_##cause)
#define CHECK(at, width) do { if (UNLIKELY((at) + (width) > IN->memory0->size)) TRAP(MEMORY_BOUNDS); } while (0)
#define CHARGE(k) do { s64 left = ce->fuel - PC[k]; if (UNLIKELY(left < 0)) GO(out_of_fuel); ce->fuel = left; } while (0)
#define BRANCH(k) do { PC += (k); PC += (s32)IMM32(0); DISPATCH(); } while (0)
#endif
