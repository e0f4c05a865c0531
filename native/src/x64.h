/* The compiled tier for x86-64: validated bodies to machine code in one pass. Shared by x64_*.c only, but for the end.
 *
 * Registers: rbx instance, rbp value frame, r15 base of memory 0, rsp the guest's control stack; r9-r14 and xmm8-14 hold pinned locals
 * (r14 counts fuel in metered code); rax rdx r8 rsi rdi and xmm0-6 hold operands; rcx, xmm7 and xmm15 are scratch. Pins are saved by the callee.
 * The frame in memory is the interpreter's: parameters, locals, a home for each height of the operand stack. */
#ifndef SBX_X64_H
#define SBX_X64_H
#include "body_reader.h"
#include "image.h"
#include "x64_emit.h"

enum { CLASS_INT, CLASS_FLOAT };
enum { SCRATCH = RCX, XSCRATCH = XMM(7), XSCRATCH2 = XMM(15), FRAME = RBP, INSTANCE = RBX, MEMORY = R15, FUEL = R14 };
enum { IN_HOME, IN_LOCAL, IN_CONST, IN_REG };
#define X64_NO_ENTRY (-1)
#define X64_NO_FIXUP SIZE_MAX

/* Runtime entry points at the start of the machine section (x64_stubs.c). */
typedef struct x64_stubs { size_t enter, leave, trap, poll, fuel, call, runtime; } x64_stubs;

typedef struct x64_entry {
    uint8_t place, cls, reg;
    uint32_t local;
    int32_t below;           /* IN_LOCAL: the next entry down that is the same local */
    uint32_t home;
    uint64_t bits;
} x64_entry;

typedef struct x64_label {
    uint8_t kind;
    bool targeted, in_register; /* the single result travels in rax or xmm0 */
    uint32_t height, param_count, result_count;
    const sbx_valtype *params, *results;
    sbx_valtype single;
    size_t start, fixups, else_fixup, stub, stub_epoch; /* br_table: entries of one label share a stub */
} x64_label;

/* Code out of line, emitted behind the function. */
typedef struct x64_cold { uint8_t kind; uint32_t value; size_t jump, back; const uint8_t *instruction; } x64_cold;
enum { COLD_TRAP, COLD_POLL, COLD_FUEL, COLD_CALL, COLD_TRUNCATE /* value: the float register, | 32 for f64, | 64 when the least i64 is valid */ };

typedef struct x64_call_site { size_t field; uint32_t function; } x64_call_site;

typedef struct sbx_x64 {
    const sbx_module *module;
    const sbx_compile_options *options;
    sbx_error *err;
    bool failed;
    x64_buffer b;
    x64_stubs stubs;
    uint32_t cpu;                        /* CPU_* */
    uint8_t *map; size_t map_bytes, map_capacity;
    x64_call_site *calls; size_t call_count, call_capacity;
    x64_cold *colds; size_t cold_count, cold_capacity;
    /* Of the current function. */
    const sbx_code *code;
    const sbx_functype *type;
    const uint8_t *at, *instruction;
    size_t start, map_code, map_wasm;
    uint8_t *local_class, *local_pin; int32_t *local_head; uint32_t local_count;
    size_t class_capacity, pin_capacity, head_capacity;
    uint32_t temps, height, flushed, depth;
    x64_entry *stack; size_t stack_capacity;
    x64_label *labels; size_t label_capacity;
    int32_t owner[32];
    uint32_t locked;
    uint8_t saved[16]; uint32_t saved_count; /* pins in use, in the order of pushing */
    uint64_t cost;
    bool unreachable;
    int64_t hint_local; bool hint_tee; const uint8_t *hint_end;
} sbx_x64;

enum { CPU_POPCNT = 1, CPU_LZCNT = 2, CPU_BMI1 = 4, CPU_SSE41 = 8, CPU_BMI2 = 16 };

/* The stack. */

static inline x64_entry *x64_push_entry(sbx_x64 *c, uint8_t place, uint8_t cls)
{
    x64_entry *e = &c->stack[c->height];
    *e = (x64_entry){.place = place, .cls = cls, .reg = NO_REG, .below = X64_NO_ENTRY, .home = c->temps + c->height};
    c->height++;
    return e;
}

static inline void x64_push_home(sbx_x64 *c, uint8_t cls) { x64_push_entry(c, IN_HOME, cls); }
static inline void x64_push_const(sbx_x64 *c, uint8_t cls, uint64_t bits) { x64_push_entry(c, IN_CONST, cls)->bits = bits; }

static inline void x64_push_reg(sbx_x64 *c, uint8_t reg)
{
    x64_push_entry(c, IN_REG, reg >= XMM0)->reg = reg;
    c->owner[reg] = (int32_t)c->height - 1;
}

static inline void x64_push_local(sbx_x64 *c, uint32_t local)
{
    x64_entry *e = x64_push_entry(c, IN_LOCAL, c->local_class[local]);
    e->local = local;
    e->below = c->local_head[local];
    c->local_head[local] = (int32_t)c->height - 1;
}

/* Pops; a register stays reserved until the next instruction. */
static inline x64_entry x64_take(sbx_x64 *c)
{
    x64_entry e = c->stack[--c->height];
    if (e.place == IN_LOCAL) {
        c->local_head[e.local] = e.below;
    } else if (e.place == IN_REG) {
        c->owner[e.reg] = X64_NO_ENTRY;
        c->locked |= 1u << e.reg;
    }
    if (c->flushed > c->height)
        c->flushed = c->height;
    return e;
}

/* True when the value is in a register now, which must not be written. */
static inline bool x64_is_in_reg(const sbx_x64 *c, const x64_entry *e, uint8_t *reg)
{
    *reg = e->place == IN_REG ? e->reg : e->place == IN_LOCAL ? c->local_pin[e->local] : NO_REG;
    return *reg != NO_REG;
}

/* x64_operand.c */
bool x64_grow(sbx_x64 *c, void *buffer, size_t *capacity, size_t wanted, size_t size);
void x64_mark(sbx_x64 *c, const uint8_t *instruction);
void x64_cold_path(sbx_x64 *c, uint8_t kind, uint32_t value, size_t jump, size_t back);
void x64_trap_if(sbx_x64 *c, uint8_t cc, uint32_t cause);
uint8_t x64_class(sbx_valtype type);
x64_rm x64_slot(uint32_t slot);
uint8_t x64_alloc(sbx_x64 *c, uint8_t cls);
void x64_claim(sbx_x64 *c, uint8_t reg);
void x64_pop_to(sbx_x64 *c, uint32_t height);
uint8_t x64_in_reg(sbx_x64 *c, const x64_entry *e);
uint8_t x64_in_temp(sbx_x64 *c, const x64_entry *e);
void x64_into(sbx_x64 *c, uint8_t reg, const x64_entry *e);
x64_rm x64_as_rm(sbx_x64 *c, const x64_entry *e);
void x64_write(sbx_x64 *c, const x64_entry *e, uint32_t slot);
void x64_materialise_top(sbx_x64 *c, uint32_t n);
void x64_flush(sbx_x64 *c);
void x64_spill_all(sbx_x64 *c);
void x64_detach_local(sbx_x64 *c, uint32_t local);
uint8_t x64_hint(sbx_x64 *c, uint8_t cls);
void x64_finish(sbx_x64 *c, uint8_t reg);

/* x64_numeric.c, x64_float.c, x64_memory.c, x64_control.c */
bool x64_numeric(sbx_x64 *c, uint32_t opcode, const sbx_op_info *info);
bool x64_float(sbx_x64 *c, uint32_t opcode, const sbx_op_info *info);
void x64_test_nonzero(sbx_x64 *c, const x64_entry *e);
uint8_t x64_compare(sbx_x64 *c, uint32_t opcode, const x64_entry *left, const x64_entry *right);
uint8_t x64_setcc(sbx_x64 *c, uint8_t cc);
void x64_access(sbx_x64 *c, uint32_t opcode, const sbx_op_info *info);
void x64_runtime(sbx_x64 *c, uint32_t opcode, uint32_t params, uint32_t one, uint32_t two, int result);
void x64_control(sbx_x64 *c, uint32_t opcode);
void x64_cold_truncate(sbx_x64 *c, const x64_cold *cold);
void x64_condition(sbx_x64 *c, uint32_t opcode, const sbx_op_info *info);
void x64_charge(sbx_x64 *c);
void x64_epilogue(sbx_x64 *c);

/* The interface; functions in order of their index. The processor's CPU_* are what code is made for: part of the build id. */
uint32_t sbx_x64_cpu(void);
sbx_x64 *sbx_x64_new(const sbx_module *module, const sbx_compile_options *options, sbx_error *err);
void sbx_x64_free(sbx_x64 *c);
sbx_status sbx_x64_body(sbx_x64 *c, uint32_t code_index, sbx_lowered_function *out);
sbx_status sbx_x64_finish(sbx_x64 *c, const sbx_lowered_function *functions);
#endif
