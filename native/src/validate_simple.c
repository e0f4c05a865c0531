/* Validation of the commonest instructions in their commonest forms: nine in ten of what compilers emit. Nothing is
 * reported here: at the first instruction that is rare, odd or wrong the general rules take over, and word the error. */
#include "validator.h"

enum { LONGEST = 16 }; /* bytes of the longest form that is read here without asking for the end */

/* At most four bytes of LEB128: anything longer is for the general rules, which know the upper bits' constraints. */
static inline bool short_leb(const uint8_t **at, uint32_t *value)
{
    const uint8_t *p = *at;
    uint32_t sum = p[0] & 0x7F;
    int n = 0;
    for (; p[n] & 0x80; sum |= (uint32_t)(p[n] & 0x7F) << 7 * n)
        if (++n == 4)
            return false;
    *at = p + n + 1;
    *value = sum;
    return true;
}

/* Where the instruction's immediates are, and the operand stack: `top` above the last operand, `floor` below the block's first. */
typedef struct cursor {
    const uint8_t *at;
    sbx_optype *top, *floor;
} cursor;

static inline bool operands(const cursor *s, ptrdiff_t count) { return s->top - s->floor >= count; }
static inline bool on_top(const cursor *s, sbx_optype type) { return operands(s, 1) && s->top[-1] == type; }

static inline bool push(cursor *s, sbx_optype type)
{
    *s->top++ = type;
    return true;
}

static inline bool local_index(const sbx_validator *v, cursor *s, uint32_t *index)
{
    *index = *s->at++;
    return *index < 0x80 && *index < v->local_known;
}

static inline bool count_use(sbx_validator *v, uint32_t local)
{
    uint32_t weight = v->local_weight[local] + v->weight;
    if (SBX_UNLIKELY(weight < v->weight))
        return false;
    v->local_weight[local] = weight;
    return true;
}

static inline bool local_get(sbx_validator *v, cursor *s)
{
    uint32_t local;
    if (!local_index(v, s, &local))
        return false;
    if (!(v->local_state[local] & SBX_LOCAL_ASSIGNED)) {
        if (v->local_types[local] == SBX_REF_PREFIX)
            return false;
        v->local_state[local] |= SBX_LOCAL_NEEDS_ZERO;
    }
    return count_use(v, local) && push(s, v->local_types[local]);
}

static inline bool local_set(sbx_validator *v, cursor *s, bool tee)
{
    uint32_t local;
    if (!local_index(v, s, &local) || !on_top(s, v->local_types[local]) || !count_use(v, local))
        return false;
    if (!(v->local_state[local] & SBX_LOCAL_ASSIGNED)) {
        v->local_state[local] |= SBX_LOCAL_ASSIGNED;
        v->assigned[v->assigned_count++] = local;
    }
    s->top -= !tee;
    return true;
}

static inline bool global(const sbx_validator *v, cursor *s, bool set)
{
    uint32_t index;
    if (!short_leb(&s->at, &index) || index >= v->m->global_count)
        return false;
    const sbx_globaltype *type = &v->m->globals[index];
    if (!set)
        return push(s, (sbx_optype)type->type);
    bool fits = type->is_mutable && on_top(s, (sbx_optype)type->type);
    s->top -= fits;
    return fits;
}

static inline bool memarg(cursor *s, const sbx_rule *rule)
{
    uint32_t offset;
    return *s->at++ <= rule->extra && short_leb(&s->at, &offset);
}

static inline bool load(cursor *s, const sbx_rule *rule)
{
    if (!on_top(s, SBX_I32) || !memarg(s, rule))
        return false;
    s->top[-1] = rule->result;
    return true;
}

static inline bool store(cursor *s, const sbx_rule *rule)
{
    if (!operands(s, 2) || s->top[-1] != rule->param || s->top[-2] != SBX_I32 || !memarg(s, rule))
        return false;
    s->top -= 2;
    return true;
}

static inline bool unary(cursor *s, const sbx_rule *rule)
{
    if (!on_top(s, rule->param))
        return false;
    s->top[-1] = rule->result;
    return true;
}

static inline bool binary(cursor *s, const sbx_rule *rule)
{
    if (!operands(s, 2) || s->top[-1] != rule->param || s->top[-2] != rule->param)
        return false;
    s->top--;
    s->top[-1] = rule->result;
    return true;
}

static inline bool select_number(cursor *s)
{
    if (!operands(s, 3) || s->top[-1] != SBX_I32 || s->top[-2] != s->top[-3] || !sbx_is_number(s->top[-2]))
        return false;
    s->top -= 2;
    return true;
}

static inline bool integer(cursor *s, const sbx_rule *rule)
{
    uint32_t ignored;
    return short_leb(&s->at, &ignored) && push(s, rule->result);
}

/* To a label that takes no values. */
static inline bool br_if(const sbx_validator *v, cursor *s)
{
    uint32_t label;
    if (!on_top(s, SBX_I32) || !short_leb(&s->at, &label) || label >= v->control_count)
        return false;
    const sbx_control *frame = &v->controls[v->control_count - 1 - label];
    s->top--;
    return !(frame->opcode == SBX_WASM_loop ? frame->type.param_count : frame->type.result_count);
}

/* Of a function with at most one result. */
static inline bool call(sbx_validator *v, cursor *s)
{
    uint32_t function;
    if (!short_leb(&s->at, &function) || function >= v->m->function_count)
        return false;
    const sbx_signature *type = &v->signatures[v->m->functions[function]];
    uint32_t n = type->param_count;
    if (!operands(s, n) || type->result_count > 1)
        return false;
    for (; n && s->top[-1] == type->params[n - 1]; n--)
        s->top--;
    if (n)
        return false;
    v->is_leaf = false;
    return !type->result_count || push(s, type->results[0]);
}

static inline bool simple(sbx_validator *v, const sbx_rule *rule, cursor *s)
{
    switch ((sbx_rule_kind)rule->kind) {
    case SBX_RULE_GENERAL: return false;
    case SBX_RULE_LOCAL_GET: return local_get(v, s);
    case SBX_RULE_LOCAL_SET: return local_set(v, s, false);
    case SBX_RULE_LOCAL_TEE: return local_set(v, s, true);
    case SBX_RULE_GLOBAL_GET: return global(v, s, false);
    case SBX_RULE_GLOBAL_SET: return global(v, s, true);
    case SBX_RULE_INTEGER: return integer(s, rule);
    case SBX_RULE_FLOAT: s->at += rule->extra; return push(s, rule->result);
    case SBX_RULE_LOAD: return load(s, rule);
    case SBX_RULE_STORE: return store(s, rule);
    case SBX_RULE_UNARY: return unary(s, rule);
    case SBX_RULE_BINARY: return binary(s, rule);
    case SBX_RULE_DROP: s->top--; return s->top >= s->floor;
    case SBX_RULE_SELECT: return select_number(s);
    case SBX_RULE_BR_IF: return br_if(v, s);
    case SBX_RULE_CALL: return call(v, s);
    }
    __builtin_unreachable(); /* rule_of makes no others */
}

void sbx_validate_simple(sbx_validator *v, const uint8_t *end)
{
    const uint8_t *pos = v->r.pos;
    sbx_optype *stack = v->stack, *roof = stack + v->capacity - SBX_SPARE, *top = stack + v->height, *highest = stack + v->max_height;
    if (end > v->r.end - LONGEST)
        end = v->r.end - LONGEST;
    while (pos < end && top < roof) {
        cursor s = {pos + 1, top, stack + v->base}; /* a copy: what is not simple must find nothing moved */
        if (!simple(v, &v->rules[*pos], &s))
            break;
        pos = s.at;
        top = s.top;
        if (top > highest)
            highest = top;
    }
    v->r.pos = pos;
    v->height = (uint32_t)(top - stack);
    v->max_height = (uint32_t)(highest - stack);
}

static sbx_rule_kind rule_of(const sbx_validator *v, uint32_t opcode, const sbx_op_info *info)
{
    switch ((sbx_op_kind)info->kind) {
    case SBX_KIND_VARIABLE:
        return opcode == SBX_WASM_local_get ? SBX_RULE_LOCAL_GET : opcode == SBX_WASM_local_set ? SBX_RULE_LOCAL_SET
             : opcode == SBX_WASM_local_tee ? SBX_RULE_LOCAL_TEE : opcode == SBX_WASM_global_get ? SBX_RULE_GLOBAL_GET : SBX_RULE_GLOBAL_SET;
    case SBX_KIND_CONST: return info->imm == SBX_IMM_I32 || info->imm == SBX_IMM_I64 ? SBX_RULE_INTEGER : SBX_RULE_FLOAT;
    case SBX_KIND_LOAD: return v->m->memory_count ? SBX_RULE_LOAD : SBX_RULE_GENERAL;
    case SBX_KIND_STORE: return v->m->memory_count ? SBX_RULE_STORE : SBX_RULE_GENERAL;
    case SBX_KIND_UNARY: case SBX_KIND_TEST: return SBX_RULE_UNARY;
    case SBX_KIND_BINARY: case SBX_KIND_COMPARE: return SBX_RULE_BINARY;
    case SBX_KIND_PARAMETRIC:
        return opcode == SBX_WASM_drop ? SBX_RULE_DROP : opcode == SBX_WASM_select ? SBX_RULE_SELECT : SBX_RULE_GENERAL;
    case SBX_KIND_CONTROL:
        return opcode == SBX_WASM_br_if ? SBX_RULE_BR_IF : opcode == SBX_WASM_call ? SBX_RULE_CALL : SBX_RULE_GENERAL;
    default: return SBX_RULE_GENERAL;
    }
}

void sbx_make_rules(sbx_validator *v)
{
    for (uint32_t opcode = 0; opcode < 256; opcode++) {
        const sbx_op_info *info = v->operations[opcode];
        sbx_rule *rule = &v->rules[opcode];
        *rule = (sbx_rule){.kind = SBX_RULE_GENERAL};
        if (!info)
            continue;
        rule->kind = (uint8_t)rule_of(v, opcode, info);
        rule->param = info->params[info->kind == SBX_KIND_STORE];
        rule->result = info->result;
        rule->extra = info->imm == SBX_IMM_F32 ? 4 : info->imm == SBX_IMM_F64 ? 8 : info->width ? (uint8_t)__builtin_ctz(info->width) : 0;
    }
}
