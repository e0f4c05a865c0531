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

static inline bool local_index(const sbx_validator *v, const uint8_t *pos, uint32_t *index)
{
    *index = pos[1];
    return *index < 0x80 && *index < v->local_known;
}

static inline bool count_use(sbx_validator *v, uint32_t local)
{
    uint32_t weight = v->local_weight[local] + v->weight;
    if (SBX_UNLIKELY(weight < v->weight))
        return false;
    v->local_weight[local] = weight;
    v->any_use = true;
    return true;
}

static inline void assign(sbx_validator *v, uint32_t local)
{
    if (v->local_state[local] & SBX_LOCAL_ASSIGNED)
        return;
    v->local_state[local] |= SBX_LOCAL_ASSIGNED;
    v->assigned[v->assigned_count++] = local;
}

/* The types that a branch to a label takes: none is the only simple case. */
static inline bool label_without_values(const sbx_validator *v, uint32_t label)
{
    if (label >= v->control_count)
        return false;
    const sbx_control *frame = &v->controls[v->control_count - 1 - label];
    return !(frame->opcode == SBX_WASM_loop ? frame->type.param_count : frame->type.result_count);
}

/* A call of a function with at most one result: the top of the stack after it, or NULL when the stack does not match. */
static inline sbx_optype *apply_call(sbx_validator *v, uint32_t function, sbx_optype *top)
{
    if (function >= v->m->function_count)
        return NULL;
    const sbx_signature *type = &v->signatures[v->m->functions[function]];
    uint32_t n = type->param_count;
    if (n > (size_t)(top - v->stack) - v->base || type->result_count > 1)
        return NULL;
    for (uint32_t i = 1; i <= n; i++)
        if (*--top != type->params[n - i])
            return NULL;
    v->is_leaf = false;
    if (type->result_count)
        *top++ = type->results[0];
    return top;
}

void sbx_validate_simple(sbx_validator *v, const uint8_t *end)
{
    const uint8_t *pos = v->r.pos;
    sbx_optype *const stack = v->stack, *const floor = stack + v->base, *const roof = stack + v->capacity - SBX_SPARE;
    sbx_optype *top = stack + v->height, *highest = stack + v->max_height, *after;
    uint32_t index;
    if (end > v->r.end - LONGEST)
        end = v->r.end - LONGEST;
    while (pos < end) {
        const sbx_rule *rule = &v->rules[*pos];
        const uint8_t *next = pos + 1;
        sbx_optype pushed;
        switch ((sbx_rule_kind)rule->kind) {
        case SBX_RULE_LOCAL_GET:
            if (!local_index(v, pos, &index) || top >= roof)
                goto out;
            pushed = v->local_types[index];
            if (!(v->local_state[index] & SBX_LOCAL_ASSIGNED)) {
                if (pushed == SBX_REF_PREFIX)
                    goto out;
                v->local_state[index] |= SBX_LOCAL_NEEDS_ZERO;
            }
            if (!count_use(v, index))
                goto out;
            next++;
            goto push;
        case SBX_RULE_LOCAL_SET: case SBX_RULE_LOCAL_TEE:
            if (!local_index(v, pos, &index) || top == floor || top[-1] != v->local_types[index] || !count_use(v, index))
                goto out;
            assign(v, index);
            top -= rule->kind == SBX_RULE_LOCAL_SET;
            next++;
            break;
        case SBX_RULE_INTEGER:
            if (!short_leb(&next, &index) || top >= roof)
                goto out;
            pushed = rule->result;
            goto push;
        case SBX_RULE_FLOAT:
            if (top >= roof)
                goto out;
            pushed = rule->result;
            next += rule->extra;
            goto push;
        case SBX_RULE_LOAD:
            if (top == floor || top[-1] != SBX_I32 || *next++ > rule->extra || !short_leb(&next, &index))
                goto out;
            top[-1] = rule->result;
            break;
        case SBX_RULE_STORE:
            if (top - floor < 2 || top[-1] != rule->param || top[-2] != SBX_I32 || *next++ > rule->extra || !short_leb(&next, &index))
                goto out;
            top -= 2;
            break;
        case SBX_RULE_UNARY:
            if (top == floor || top[-1] != rule->param)
                goto out;
            top[-1] = rule->result;
            break;
        case SBX_RULE_BINARY:
            if (top - floor < 2 || top[-1] != rule->param || top[-2] != rule->param)
                goto out;
            top--;
            top[-1] = rule->result;
            break;
        case SBX_RULE_GLOBAL_GET:
            if (!short_leb(&next, &index) || index >= v->m->global_count || top >= roof)
                goto out;
            pushed = (sbx_optype)v->m->globals[index].type;
            goto push;
        case SBX_RULE_GLOBAL_SET:
            if (!short_leb(&next, &index) || index >= v->m->global_count || !v->m->globals[index].is_mutable || top == floor
                || top[-1] != v->m->globals[index].type)
                goto out;
            top--;
            break;
        case SBX_RULE_DROP:
            if (top == floor)
                goto out;
            top--;
            break;
        case SBX_RULE_SELECT:
            if (top - floor < 3 || top[-1] != SBX_I32 || top[-2] != top[-3] || !sbx_is_number(top[-2]))
                goto out;
            top -= 2;
            break;
        case SBX_RULE_BR_IF:
            if (top == floor || top[-1] != SBX_I32 || !short_leb(&next, &index) || !label_without_values(v, index))
                goto out;
            top--;
            break;
        case SBX_RULE_CALL:
            if (!short_leb(&next, &index) || top >= roof || !(after = apply_call(v, index, top)))
                goto out;
            top = after;
            highest = top > highest ? top : highest;
            break;
        case SBX_RULE_GENERAL:
            goto out;
        default:
            __builtin_unreachable();
        }
        pos = next;
        continue;
    push:
        *top++ = pushed;
        highest = top > highest ? top : highest;
        pos = next;
    }
out:
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
