/* The compiled tier for x86-64: validated bodies to machine code in one pass. Shared by x64_*.c only, but for the end.
 *
 * Registers: rbx instance, rbp value frame, r15 base of memory 0, rsp the guest's control stack; r9-r14 and xmm8-14 hold pinned locals
 * (r14 counts fuel in metered code); rax rdx r8 rsi rdi and xmm0-6 hold operands; rcx, xmm7 and xmm15 are scratch. Pins are saved by the callee.
 * The frame in memory is the interpreter's: parameters, locals, a home for each height of the operand stack. */
#ifndef SBX_X64_H
#define SBX_X64_H
#include "body_reader.h"
#include "code_map.h"
#include "x64_emit.h"

enum { CLASS_INT, CLASS_FLOAT };
enum { SCRATCH = RCX, XSCRATCH = XMM(7), XSCRATCH2 = XMM(15), FRAME = RBP, INSTANCE = RBX, MEMORY = R15, FUEL = R14 };
enum { IN_HOME, IN_LOCAL, IN_CONST, IN_REG };
#define X64_NO_ENTRY (-1)
#define X64_NO_FIXUP SIZE_MAX

/* Runtime entry points at the start of the machine section (x64_stubs.c). */
typedef struct x64_stubs { size_t enter, leave, trap, poll, fuel, call, runtime; } x64_stubs;

/* An operand. Two machine words, for it is copied with every instruction. */
typedef struct x64_entry {
    uint8_t place, cls, reg;
    uint32_t home;
    union {
        uint64_t bits;       /* IN_CONST */
        struct { uint32_t local; int32_t below; }; /* IN_LOCAL; below: the next entry down that is the same local */
    };
} x64_entry;

typedef struct x64_label {
    uint8_t kind;
    bool targeted, in_register; /* the single result travels in rax or xmm0 */
    uint32_t height;
    sbx_block_type type;
    size_t start, fixups, else_fixup, stub, stub_epoch; /* br_table: entries of one label share a stub */
} x64_label;

/* Code out of line, emitted behind the function. */
typedef struct x64_cold { uint8_t kind; uint32_t value; size_t jump, back; const uint8_t *instruction; } x64_cold;
enum { COLD_TRAP, COLD_POLL, COLD_FUEL, COLD_CALL, COLD_TRUNCATE /* value: the float register, | 32 for f64, | 64 when the least i64 is valid */ };

/* A call of a function that comes later. */
typedef struct x64_call_site { uint32_t field, function; } x64_call_site;

/* How an instruction is compiled: one indirect call to what its row says. */
typedef struct x64_row x64_row;
typedef struct sbx_x64 sbx_x64;
typedef void x64_emitter(sbx_x64 *c, const x64_row *row);
struct x64_row {
    x64_emitter *emit;
    uint32_t op;      /* OP(): the machine instruction */
    uint8_t opcode;   /* the instruction; its row is rows[opcode] */
    uint8_t flags;    /* W */
    uint8_t extra;    /* what else the emitter wants to know */
    uint8_t cost;     /* fuel; filled in by sbx_x64_new */
};

struct sbx_x64 {
    const sbx_module *module;
    const sbx_compile_options *options;
    sbx_error *err;
    x64_buffer b;                        /* b.failed: no memory, whatever for */
    x64_stubs stubs;
    uint32_t cpu;                        /* CPU_* */
    sbx_code_map map;
    x64_call_site *calls; size_t call_count, call_capacity;
    x64_cold *colds; size_t cold_count, cold_capacity;
    const sbx_lowered_function *functions; /* those before the current one are known */
    /* Of the current function. */
    uint32_t index;
    const sbx_code *code;
    const sbx_functype *type;
    const uint8_t *at, *instruction;
    size_t start;
    uint8_t *local_class, *local_pin; int32_t *local_head; uint32_t local_count;
    size_t class_capacity, pin_capacity, head_capacity;
    uint32_t temps, height, flushed, depth;
    x64_entry *stack; size_t stack_capacity;
    x64_label *labels; size_t label_capacity;
    int32_t owner[32];                   /* the entry that lives in a register, for those in `owned` */
    uint32_t owned, locked;              /* sets of registers; locked: operands of the current instruction */
    uint8_t saved[16]; uint32_t saved_count; /* pins in use, in the order of pushing */
    uint64_t cost;
    bool unreachable;
    uint8_t hint; bool hint_tee; uint32_t hint_local; const uint8_t *hint_end; /* see x64_hint */
    x64_row rows[256];                   /* by opcode byte */
};

enum { CPU_POPCNT = 1, CPU_LZCNT = 2, CPU_BMI1 = 4, CPU_SSE41 = 8, CPU_BMI2 = 16 };

/* The stack. */

static inline void x64_push_const(sbx_x64 *c, uint8_t cls, uint64_t bits)
{
    uint32_t height = c->height++;
    c->stack[height] = (x64_entry){.place = IN_CONST, .cls = cls, .reg = NO_REG, .home = c->temps + height, .bits = bits};
}

static inline void x64_push_home(sbx_x64 *c, uint8_t cls)
{
    uint32_t height = c->height++;
    c->stack[height] = (x64_entry){.place = IN_HOME, .cls = cls, .reg = NO_REG, .home = c->temps + height};
}

static inline void x64_push_reg(sbx_x64 *c, uint8_t reg)
{
    uint32_t height = c->height++;
    c->stack[height] = (x64_entry){.place = IN_REG, .cls = reg >= XMM0, .reg = reg, .home = c->temps + height};
    c->owner[reg] = (int32_t)height;
    c->owned |= 1u << reg;
}

static inline void x64_push_local(sbx_x64 *c, uint32_t local)
{
    uint32_t height = c->height++;
    int32_t *head = &c->local_head[local];
    c->stack[height] = (x64_entry){.place = IN_LOCAL, .cls = c->local_class[local], .reg = NO_REG, .home = c->temps + height,
                                   .local = local, .below = *head};
    *head = (int32_t)height;
}

/* Pops; a register stays reserved until the next instruction. */
static inline x64_entry x64_take(sbx_x64 *c)
{
    x64_entry e = c->stack[--c->height];
    if (e.place == IN_LOCAL) {
        c->local_head[e.local] = e.below;
    } else if (e.place == IN_REG) {
        c->owned &= ~(1u << e.reg);
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

/* Room for `wanted` elements; false, and the compilation fails, when there is no memory. */
static inline bool x64_grow(sbx_x64 *c, void *buffer, size_t *capacity, size_t wanted, size_t size)
{
    if (SBX_LIKELY(wanted <= *capacity) || sbx_grow(buffer, capacity, wanted, size))
        return true;
    c->b.failed = true;
    return false;
}

static inline uint8_t x64_class(sbx_valtype type) { return type == SBX_F32 || type == SBX_F64 ? CLASS_FLOAT : CLASS_INT; }
static inline x64_rm x64_slot(uint32_t slot) { return x64_mem(FRAME, (int32_t)slot * 8); }

/* x64_operand.c */
void x64_mark(sbx_x64 *c, const uint8_t *instruction);
void x64_cold_path(sbx_x64 *c, uint8_t kind, uint32_t value, size_t jump, size_t back);
void x64_trap_if(sbx_x64 *c, uint8_t cc, uint32_t cause);
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
uint8_t x64_hinted(sbx_x64 *c, uint8_t cls);
void x64_set_hinted(sbx_x64 *c);

/* When the next instruction sets a pinned local, its register can be the destination: that register, or NO_REG. */
static inline uint8_t x64_hint(sbx_x64 *c, uint8_t cls)
{
    return *c->at == SBX_WASM_local_set || *c->at == SBX_WASM_local_tee ? x64_hinted(c, cls) : NO_REG;
}

/* The result is in `reg`: pushes it, or has set the local that the hint named. */
static inline void x64_finish(sbx_x64 *c, uint8_t reg)
{
    if (reg == c->hint)
        x64_set_hinted(c);
    else
        x64_push_reg(c, reg);
}

/* The instructions of each file; no emitter ends a list. */
extern const x64_row x64_integer_rows[], x64_float_rows[], x64_memory_rows[], x64_control_rows[];

/* x64_numeric.c, x64_memory.c, x64_control.c */
void x64_test_nonzero(sbx_x64 *c, const x64_entry *e);
uint8_t x64_compare(sbx_x64 *c, uint32_t opcode, const x64_entry *left, const x64_entry *right);
uint8_t x64_setcc(sbx_x64 *c, uint8_t cc);
void x64_runtime(sbx_x64 *c, uint32_t opcode, uint32_t params, uint32_t one, uint32_t two, int result);
void x64_cold_truncate(sbx_x64 *c, const x64_cold *cold);
void x64_condition(sbx_x64 *c, const x64_row *row);
void x64_by_runtime(sbx_x64 *c, const x64_row *row);
void x64_charge(sbx_x64 *c);
void x64_epilogue(sbx_x64 *c);

/* The interface; functions in order of their index. The processor's CPU_* are what code is made for: part of the build id. */
uint32_t sbx_x64_cpu(void);
/* Machine code is emitted behind `lead` bytes of a block, which _take hands over. */
sbx_x64 *sbx_x64_new(const sbx_module *module, const sbx_compile_options *options, size_t lead, sbx_error *err);
void sbx_x64_free(sbx_x64 *c);
sbx_status sbx_x64_body(sbx_x64 *c, uint32_t code_index, sbx_lowered_function *out);
sbx_status sbx_x64_finish(sbx_x64 *c);
uint8_t *sbx_x64_take(sbx_x64 *c);
#endif
