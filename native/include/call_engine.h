/* The call engine: value stack, control stack and outcome of one thread's calls. Guest frames live here, never on the C stack. */
#ifndef SBX_CALL_ENGINE_H
#define SBX_CALL_ENGINE_H
#include "runtime.h"

typedef struct sbx_call_engine_options {
    uint64_t stack_slots;   /* value stack, in 8-byte slots; 0 = 131,072 (1 MiB) */
    uint32_t call_depth;    /* guest frames; 0 = 20,000 */
    uint32_t nesting;       /* guest -> host -> guest; 0 = 64 */
} sbx_call_engine_options;

/* The embedder's function that a suspended call waits for. */
typedef struct sbx_pending_call { const sbx_function *function; sbx_instance *caller; uint64_t *values; /* args in, results out */ } sbx_pending_call;

typedef struct sbx_backtrace_frame {
    const sbx_instance *instance;
    uint32_t function_index;
    uint32_t wasm_offset;       /* of the instruction in the module's bytes */
    sbx_name name;              /* from the name section; length 0 when unknown */
} sbx_backtrace_frame;

sbx_call_engine *sbx_call_engine_new(const sbx_call_engine_options *options); /* NULL: no memory */
void sbx_call_engine_free(sbx_call_engine *engine);

/* Calls `function`: values holds the parameters, one slot each, and takes the results. The number and types of the values are the
 * caller's duty (Python checks them against function->type). SBX_OK, or:
 *   SBX_TRAP (sbx_call_engine_trap), SBX_STACK_EXHAUSTED, SBX_EXIT, SBX_BUSY: the activation is gone, the engine is reusable;
 *   SBX_HOST_CALL, SBX_INTERRUPTED, SBX_OUT_OF_FUEL: suspended; resume or abandon. A new call on a suspended engine nests on top of it. */
sbx_status sbx_call_engine_call(sbx_call_engine *engine, sbx_function *function, uint64_t *values, size_t capacity, sbx_error *err);
/* Continues the innermost suspended activation. After SBX_HOST_CALL the results must have been written to pending->values. */
sbx_status sbx_call_engine_resume(sbx_call_engine *engine, uint64_t *values, size_t capacity, sbx_error *err);
/* Unwinds the innermost suspended activation without running it (host function failed, cancelled, deadline). */
void sbx_call_engine_abandon(sbx_call_engine *engine);
const sbx_pending_call *sbx_call_engine_pending(const sbx_call_engine *engine);
bool sbx_call_engine_suspended(const sbx_call_engine *engine);

/* Any thread: makes the running guest stop at its next instruction boundary with SBX_INTERRUPTED. Cleared by the engine when delivered,
 * or by clear. Host functions that block poll sbx_call_engine_interrupted. */
void sbx_call_engine_interrupt(sbx_call_engine *engine);
void sbx_call_engine_clear_interrupt(sbx_call_engine *engine);
bool sbx_call_engine_interrupted(const sbx_call_engine *engine);

/* Fuel: in wasm instructions; only metered images spend it. */
void sbx_call_engine_set_fuel(sbx_call_engine *engine, int64_t fuel);
int64_t sbx_call_engine_fuel(const sbx_call_engine *engine);
/* Charges a host function's or bulk operation's cost; false when spent. */
bool sbx_call_engine_charge(sbx_call_engine *engine, uint64_t amount);

/* For host functions in C. */
void sbx_call_engine_set_trap(sbx_call_engine *engine, uint32_t trap);
void sbx_call_engine_set_exit(sbx_call_engine *engine, uint32_t code);

uint32_t sbx_call_engine_trap(const sbx_call_engine *engine);
uint32_t sbx_call_engine_exit_code(const sbx_call_engine *engine);
/* Frames of the last trap (or of the suspended activation), innermost first; returns how many there were, writes at most capacity. */
size_t sbx_call_engine_backtrace(const sbx_call_engine *engine, sbx_backtrace_frame *frames, size_t capacity);

/* How this build's interpreter dispatches: "tail calls" or "loop". */
const char *sbx_dispatch(void);

/* Once per process: SIGSEGV and SIGBUS handlers for guard pages. Install after faulthandler. 0 or -errno. */
int sbx_install_fault_handler(void);
/* Per thread that runs guests: the alternate signal stack. 0 or -errno. */
int sbx_thread_enter(void);
void sbx_thread_leave(void);
#endif
