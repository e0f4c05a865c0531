/* The lowering: validated bodies to interpreter code in one pass, with an abstract operand stack. Shared by lower*.c only, but for the end. */
#ifndef SBX_LOWER_H
#define SBX_LOWER_H
#include "code_map.h"
#include "ir_ops.h"
#include "body_reader.h"
#include "wasm_ops.h"

/* Classes of values: one accumulator each. Integers and references, f32, f64. */
enum { CLASS_X, CLASS_F, CLASS_D, CLASS_COUNT };
/* Operand forms of an operation, as in the generated selection tables. */
enum { FORM_SLOT, FORM_ACC, FORM_IMM };
#define NO_SLOT UINT32_MAX
#define NO_FIXUP UINT32_MAX
#define NO_ENTRY (-1)
#define NOTHING_OPEN SIZE_MAX

/* Where the value of an operand stack entry is now. Every entry also has a home: the temporary of its height. */
enum { AT_SLOT, AT_LOCAL, AT_CONST, AT_ACC };

typedef struct operand {
    uint8_t place, cls;
    uint32_t slot;   /* AT_SLOT, AT_LOCAL */
    uint32_t home;
    int32_t below;   /* AT_LOCAL: the next entry further down that is the same local, or NO_ENTRY */
    uint64_t bits;   /* AT_CONST */
} operand;

typedef struct label {
    uint8_t kind;
    bool targeted;            /* some branch reaches its end: a join of paths */
    uint32_t height;          /* of the operand stack below the parameters */
    sbx_block_type type;
    uint32_t start;           /* LABEL_LOOP: where branches go */
    uint32_t fixups;          /* chain of offset fields that wait for the end, linked through themselves */
    uint32_t else_fixup;
    uint32_t stub_epoch, stub_fixups; /* br_table: entries that need moves share one stub */
} label;

/* The last operation, while nothing stands behind it: its destination is open, and it can still be taken back. */
typedef struct pending {
    size_t start, end;
    uint8_t cls;
    uint32_t opcode;          /* of a comparison or an i32.add, which a branch or an access can take back; else 0 */
    operand left, right;
    uint32_t acc_slot_before; /* of CLASS_X */
} pending;

/* A condition for a branch: a comparison that was taken back, or the truth of a value. */
typedef struct condition { uint32_t compare; operand left, right; } condition;

typedef struct call_site { uint32_t field, function; } call_site;

typedef struct sbx_lowerer {
    const sbx_module *module;
    const sbx_compile_options *options;
    sbx_error *err;
    bool failed;              /* out of memory: emission goes on into nothing, checked once an instruction */

    uint16_t *code; size_t count, capacity;
    sbx_code_map map;
    call_site *calls; size_t call_count, call_capacity;

    /* Of the current function. */
    const uint8_t *at;        /* the next byte of the body */
    uint32_t wasm_start;
    size_t code_start;
    const sbx_functype *type;
    uint8_t *local_class; int32_t *local_head; uint32_t local_count, local_capacity;
    uint32_t temps;           /* slot of the first temporary */
    operand *stack; uint32_t height, stack_capacity;
    uint32_t flushed;         /* entries below are neither locals nor accumulators */
    label *labels; uint32_t depth, label_capacity;
    int32_t acc_owner[CLASS_COUNT];  /* the stack entry that lives in the accumulator, or NO_ENTRY */
    uint32_t acc_slot[CLASS_COUNT];  /* a slot known to hold the same as the accumulator, or NO_SLOT */
    pending last;
    uint64_t cost;            /* instructions since the last charge of fuel */
    bool unreachable;
    uint32_t stub_epoch;
    uint32_t *stubs; uint32_t stub_count, stub_capacity;
} sbx_lowerer;

/* Room for `wanted` elements; false, and the lowering fails, when there is no memory. */
static inline bool sbx_room(sbx_lowerer *l, void *buffer, size_t *capacity, size_t wanted, size_t size)
{
    if (!sbx_grow(buffer, capacity, wanted, size))
        l->failed = true;
    return !l->failed;
}

/* lower_emit.c */
void sbx_emit(sbx_lowerer *l, uint32_t unit);
void sbx_emit32(sbx_lowerer *l, uint32_t value);
void sbx_emit64(sbx_lowerer *l, uint64_t value);
void sbx_mark(sbx_lowerer *l, const uint8_t *instruction);
uint8_t sbx_class_of(sbx_valtype type);
void sbx_push_slot(sbx_lowerer *l, uint8_t cls);
void sbx_push_const(sbx_lowerer *l, uint8_t cls, uint64_t bits);
void sbx_push_local(sbx_lowerer *l, uint32_t local);
operand sbx_pop(sbx_lowerer *l);
void sbx_pop_to(sbx_lowerer *l, uint32_t height);
uint8_t sbx_form(const sbx_lowerer *l, const operand *o);
void sbx_emit_operand(sbx_lowerer *l, const operand *o, uint8_t form, char letter);
void sbx_to_slot(sbx_lowerer *l, operand *o);
void sbx_begin(sbx_lowerer *l);
bool sbx_made_last(const sbx_lowerer *l, const operand *popped);
void sbx_take_back(sbx_lowerer *l);
void sbx_prepare_result(sbx_lowerer *l, uint8_t cls);
void sbx_finish_result(sbx_lowerer *l, uint8_t cls, size_t start);
void sbx_materialise(sbx_lowerer *l, uint32_t index);
void sbx_materialise_top(sbx_lowerer *l, uint32_t n);
void sbx_flush(sbx_lowerer *l);
void sbx_spill_accumulators(sbx_lowerer *l);
void sbx_forget_accumulators(sbx_lowerer *l);
void sbx_slot_written(sbx_lowerer *l, uint32_t slot);
void sbx_move(sbx_lowerer *l, const operand *o, uint32_t slot);
void sbx_store_operand(sbx_lowerer *l, const operand *o, uint32_t slot);

/* lower.c: the operation for operand forms, operands exchanged where needed; returns the row's (perhaps other) opcode. */
uint32_t sbx_choose(sbx_lowerer *l, uint32_t opcode, operand *left, operand *right, uint8_t forms[2]);
uint32_t sbx_branch_op(uint32_t compare, const uint8_t forms[2], bool sense);
char sbx_letter(sbx_valtype type);
char sbx_compare_letter(uint32_t compare);

/* lower_control.c */
void sbx_lower_block(sbx_lowerer *l, uint32_t opcode);
void sbx_lower_else(sbx_lowerer *l);
void sbx_lower_end(sbx_lowerer *l);
void sbx_lower_br(sbx_lowerer *l, uint32_t depth);
void sbx_lower_br_if(sbx_lowerer *l, uint32_t depth);
void sbx_lower_br_table(sbx_lowerer *l);
void sbx_lower_return(sbx_lowerer *l);
void sbx_lower_call(sbx_lowerer *l, uint32_t function, const uint8_t *instruction);
void sbx_lower_call_indirect(sbx_lowerer *l, uint32_t type, uint32_t table, const uint8_t *instruction);
void sbx_dead(sbx_lowerer *l);
void sbx_emit_fuel(sbx_lowerer *l);

/* The interface. Functions must be lowered in order of their index; finish resolves the calls between them. */
sbx_lowerer *sbx_lowerer_new(const sbx_module *module, const sbx_compile_options *options, sbx_error *err);
void sbx_lowerer_free(sbx_lowerer *l);
sbx_status sbx_lower_body(sbx_lowerer *l, uint32_t code_index, sbx_lowered_function *out);
sbx_status sbx_lowerer_finish(sbx_lowerer *l, const sbx_lowered_function *functions);
#endif
