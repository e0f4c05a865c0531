/* The compiled tier at run time: what the stubs and the call engine agree on. */
#ifndef SBX_MACHINE_H
#define SBX_MACHINE_H
#include "engine_state.h"

/* How a suspended machine activation goes on. */
enum { SBX_RESUME_NONE, SBX_RESUME_ALL /* every register was pushed */, SBX_RESUME_HOST /* the pins; results are at the frame */,
       SBX_RESUME_RUNTIME /* the pins and the operation's operands; it is tried again */, SBX_RESUME_COUNT };
enum { SBX_PINS_BYTES = 6 * 8 + 7 * 8, SBX_RUNTIME_BYTES = SBX_PINS_BYTES + 4 * 8, SBX_RUNTIME_OUT_OF_FUEL = 0x100 };

/* At the start of a machine section: places in it. */
typedef struct sbx_machine_header {
    uint32_t enter, finished, trap, cross; /* stubs; return addresses of the outermost call and of calls into other instances */
    uint32_t all_bytes;                    /* what SBX_RESUME_ALL has pushed */
    uint32_t poll, fuel, call, runtime, stubs_end; /* the stubs that functions call, for the checker; where they end */
    uint32_t reserved[2];
} sbx_machine_header;

/* Runs, or resumes, the innermost activation of an engine in machine code; the outcome is engine->status. */
void sbx_machine_run(sbx_call_engine *engine, const sbx_function *function);
/* Wires the engine's entry points for the stubs. */
void sbx_machine_init(sbx_call_engine *engine);
/* Notes how far below the innermost frame the stack was left. */
void sbx_machine_trace(sbx_call_engine *engine);
size_t sbx_machine_backtrace(const sbx_call_engine *engine, sbx_backtrace_frame *frames, size_t capacity);
bool sbx_machine_take_fault(void *context, const void *address);
#endif
