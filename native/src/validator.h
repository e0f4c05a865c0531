/* Internal to the validator: its scratch and the operations of the specification's validation algorithm
 * (appendix "Validation Algorithm"; the names are those of the appendix). */
#ifndef SBX_VALIDATOR_H
#define SBX_VALIDATOR_H
#include <string.h>

#include "decode.h"

/* A value type on the operand stack: its code, or SBX_BOTTOM for Unknown. SBX_REF_NULL_PREFIX and SBX_REF_PREFIX stand for
 * typed references of version 3.0, whatever their heap type: a body in which they occur is refused in the end, and they
 * pass wherever a reference may, so that only what is wrong in every version is called invalid. One byte suffices for version 2.0, and makes
 * comparing and copying long lists of types (a call or block may take a thousand) a matter of a few machine words. */
typedef uint8_t sbx_optype;

/* A function or block type with its types as bytes. */
typedef struct sbx_signature {
    const sbx_optype *params, *results;
    uint32_t param_count, result_count;
} sbx_signature;

/* ctrl_frame of the appendix. */
typedef struct sbx_control {
    sbx_signature type;   /* start_types, end_types */
    uint32_t height;      /* of the operand stack at the start of the block */
    uint32_t assigned;    /* length of the assignment log at the start of the block */
    uint8_t opcode;       /* block, loop, if, else; SBX_WASM_call for the function's own frame */
    uint8_t unreachable;  /* the rest of the block is dead */
} sbx_control;

/* What validate_simple.c does with an opcode. */
typedef enum sbx_rule_kind {
    SBX_RULE_GENERAL, SBX_RULE_LOCAL_GET, SBX_RULE_LOCAL_SET, SBX_RULE_LOCAL_TEE, SBX_RULE_GLOBAL_GET, SBX_RULE_GLOBAL_SET,
    SBX_RULE_INTEGER, SBX_RULE_FLOAT, SBX_RULE_LOAD, SBX_RULE_STORE, SBX_RULE_UNARY, SBX_RULE_BINARY, SBX_RULE_DROP,
    SBX_RULE_SELECT, SBX_RULE_BR_IF, SBX_RULE_CALL,
} sbx_rule_kind;
typedef struct sbx_rule {
    uint8_t kind;
    sbx_optype param, result; /* param: of all operands; of a store, what it stores */
    uint8_t extra;            /* loads and stores: the natural alignment's exponent; float constants: their bytes */
} sbx_rule;

struct sbx_validator {
    sbx_reader r;
    const sbx_module *m;
    const uint8_t *at;               /* first byte of the current instruction */
    /* vals */
    sbx_optype *stack;
    uint32_t height, capacity, max_height;
    uint32_t base;                   /* height of the innermost control frame */
    bool unreachable;                /* of the innermost control frame */
    /* ctrls */
    sbx_control *controls;
    uint32_t control_count, control_capacity;
    /* Locals, parameters first. Those from local_known on are looked up in the runs: a body that declares far more
     * locals than it has bytes is not worth, and must not cost, a table. */
    sbx_optype *local_types;
    uint8_t *local_state;            /* SBX_LOCAL_* */
    uint32_t *local_weight;
    uint32_t *assigned;              /* log: locals assigned since the blocks that are open began */
    uint32_t local_capacity, local_known, local_total, assigned_count;
    uint32_t *run_ends;              /* past the last local of each run, parameters not counted; for distant locals only */
    uint32_t run_capacity;
    uint32_t weight;                 /* of one use here: 8^min(loop depth, 7) */
    uint32_t loop_depth;
    bool is_leaf;
    const sbx_code *code;
    const sbx_signature *function;   /* type of the function that is being validated */
    uint32_t code_index;
    /* What of this body is of a later version, though it can be read: told at the end, when nothing worse is found. */
    sbx_error refusal;
    sbx_error error;
    /* By module: */
    sbx_signature *signatures;       /* of every function type */
    sbx_optype *signature_types;
    sbx_rule rules[256];             /* by opcode byte */
    const sbx_op_info *operations[256]; /* by opcode byte; NULL: prefixed, illegal, refused or switched off */
};

/* Records an error at the current instruction; returns false. */
#define SBX_INVALIDATE(v, ...) SBX_REJECT(&(v)->r, SBX_INVALID, (v)->at, __VA_ARGS__)

/* validate_stack.c */
bool sbx_grow_stack(sbx_validator *v, uint32_t more);
/* "type mismatch: INSTRUCTION expected A, found B" for the operand stack's top; returns false. */
bool sbx_type_mismatch(sbx_validator *v, sbx_optype expected);
/* pop_val(expect) when the top of the stack is neither that type nor Unknown. */
bool sbx_pop_subtype(sbx_validator *v, sbx_optype expected);
bool sbx_pop_types(sbx_validator *v, const sbx_optype *types, uint32_t count);
bool sbx_push_types(sbx_validator *v, const sbx_optype *types, uint32_t count);
/* Checks that the top of the stack has these types, and leaves the stack as it is. */
bool sbx_match_types(sbx_validator *v, const sbx_optype *types, uint32_t count);
bool sbx_push_control(sbx_validator *v, uint8_t opcode, sbx_signature type);
bool sbx_pop_control(sbx_validator *v, sbx_control *out);
void sbx_set_unreachable(sbx_validator *v);
/* "NAME" of the current instruction, for messages. */
const char *sbx_current_name(const sbx_validator *v);

/* validate_control.c: blocks, branches, calls */
bool sbx_validate_control(sbx_validator *v, uint8_t opcode);
/* ref.as_non_null and call_ref of version 3.0: typed, then refused at the end of the body. */
enum { SBX_CALL_REF = 0x14, SBX_REF_AS_NON_NULL = 0xD4 };
bool sbx_validate_later(sbx_validator *v, uint8_t opcode);
/* Room that the general rules find on the stack, for what an instruction pushes beyond a list of types. */
enum { SBX_SPARE = 4 };
/* validate_simple.c: passes instructions, up to the first at or behind `end` or that the general rules must look at. */
void sbx_validate_simple(sbx_validator *v, const uint8_t *end);
void sbx_make_rules(sbx_validator *v);
/* validate_ops.c: everything rare: tables, references, bulk memory, prefixed instructions */
bool sbx_validate_rare(sbx_validator *v, uint32_t opcode, const sbx_op_info *info);

static inline bool sbx_is_typed_ref(sbx_optype t) { return t == SBX_REF_NULL_PREFIX || t == SBX_REF_PREFIX; }

/* Room for `more` values is made once an instruction, before these are used. */
static inline bool sbx_reserve(sbx_validator *v, uint32_t more)
{
    return SBX_LIKELY(v->capacity - v->height >= more) || sbx_grow_stack(v, more);
}

static inline void sbx_push(sbx_validator *v, sbx_optype type)
{
    v->stack[v->height++] = type;
    if (v->height > v->max_height)
        v->max_height = v->height;
}

/* pop_val(): Unknown when the block is dead and its operands are used up. */
static inline bool sbx_pop_any(sbx_validator *v, sbx_optype *out)
{
    if (SBX_LIKELY(v->height > v->base)) {
        *out = v->stack[--v->height];
        return true;
    }
    *out = SBX_BOTTOM;
    return v->unreachable || sbx_type_mismatch(v, SBX_BOTTOM);
}

/* pop_val(expect) */
static inline bool sbx_pop(sbx_validator *v, sbx_optype expected)
{
    if (SBX_LIKELY(v->height > v->base)) {
        sbx_optype found = v->stack[v->height - 1];
        if (SBX_UNLIKELY(found != expected && found != SBX_BOTTOM))
            return sbx_pop_subtype(v, expected);
        v->height--;
        return true;
    }
    return v->unreachable || sbx_type_mismatch(v, expected);
}

/* Pops what the table says, pushes its result. The stack has room for one more. */
static inline bool sbx_apply(sbx_validator *v, const sbx_op_info *info)
{
    for (uint32_t i = info->param_count; i-- > 0;)
        if (!sbx_pop(v, info->params[i]))
            return false;
    if (info->result_count)
        sbx_push(v, info->result);
    return true;
}
#endif
