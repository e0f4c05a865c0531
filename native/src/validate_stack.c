/* The operand stack and the control stack of the validation algorithm (specification, appendix "Validation Algorithm"). */
#include "validator.h"

enum { FIRST_STACK = 1024, FIRST_CONTROLS = 64 };

static bool out_of_memory(sbx_validator *v)
{
    return SBX_REJECT(&v->r, SBX_NO_MEMORY, v->at, "out of memory while validating");
}

bool sbx_grow_stack(sbx_validator *v, uint32_t more)
{
    uint64_t need = (uint64_t)v->height + more;
    /* An instruction reserves a little more than it pushes; the exact check is at the end of the body. */
    if (!sbx_check_limit(&v->error, (uint64_t)(v->at - v->r.base), "operands", need, SBX_MAX_OPERANDS + 8))
        return false;
    uint64_t capacity = v->capacity ? (uint64_t)v->capacity * 2 : FIRST_STACK;
    if (capacity < need)
        capacity = need;
    sbx_optype *stack = sbx_realloc(v->stack, capacity);
    if (!stack)
        return out_of_memory(v);
    v->stack = stack;
    v->capacity = (uint32_t)capacity;
    return true;
}

const char *sbx_current_name(const sbx_validator *v)
{
    uint32_t opcode = *v->at, number;
    sbx_error quiet;
    sbx_reader ahead = {v->r.base, v->at + 1, v->r.end, &quiet};
    sbx_error_clear(&quiet);
    if (opcode >= 0xFB && opcode <= 0xFE && sbx_read_u32(&ahead, &number) && number < 256)
        opcode = opcode << 8 | number;
    const char *name = sbx_op_info_of(opcode)->name;
    return name ? name : "instruction";
}

bool sbx_type_mismatch(sbx_validator *v, sbx_optype expected)
{
    const char *name = sbx_current_name(v);
    const char *wanted = expected == SBX_BOTTOM ? "a value" : sbx_valtype_name(expected);
    if (v->height <= v->base)
        return SBX_INVALIDATE(v, "type mismatch: %s expected %s, but the stack is empty", name, wanted);
    return SBX_INVALIDATE(v, "type mismatch: %s expected %s, found %s", name, wanted, sbx_valtype_name(v->stack[v->height - 1]));
}

/* The subtyping of version 3.0, as far as heap types do not matter: non-null below nullable. */
bool sbx_pop_subtype(sbx_validator *v, sbx_optype expected)
{
    sbx_optype found = v->stack[v->height - 1];
    bool fits = sbx_is_reference(expected) ? sbx_is_typed_ref(found) : expected == SBX_REF_NULL_PREFIX && found == SBX_REF_PREFIX;
    if (!fits)
        return sbx_type_mismatch(v, expected);
    v->height--;
    return true;
}

/* High bit set in every byte of x that is not zero. */
static inline uint64_t nonzero_bytes(uint64_t x)
{
    const uint64_t low = 0x7F7F7F7F7F7F7F7Full;
    return (((x & low) + low) | x) & ~low;
}

/* True when every found type is the expected one, Unknown or a typed reference; eight at a time. (A typed reference may
 * be wrong here, but is refused in the end.) */
static bool all_match(const sbx_optype *found, const sbx_optype *expected, uint32_t count)
{
    const uint64_t nullable = 0x0101010101010101ull * SBX_REF_NULL_PREFIX, plain = 0x0101010101010101ull * SBX_REF_PREFIX;
    uint64_t wrong = 0;
    uint32_t i = 0;
    if (count >= 16 && memcmp(found, expected, count) == 0)
        return true;
    for (; i + 8 <= count; i += 8) {
        uint64_t a, b;
        memcpy(&a, found + i, 8);
        memcpy(&b, expected + i, 8);
        wrong |= nonzero_bytes(a ^ b) & nonzero_bytes(a) & nonzero_bytes(a ^ nullable) & nonzero_bytes(a ^ plain);
    }
    for (; i < count; i++)
        wrong |= found[i] != expected[i] && found[i] != SBX_BOTTOM && !sbx_is_typed_ref(found[i]);
    return !wrong;
}

/* Cold: pops one by one up to the value that does not match. */
static __attribute__((cold, noinline)) bool report_mismatch(sbx_validator *v, const sbx_optype *types, uint32_t count)
{
    while (count-- > 0)
        if (!sbx_pop(v, types[count]))
            return false;
    return SBX_INVALIDATE(v, "type mismatch");
}

bool sbx_match_types(sbx_validator *v, const sbx_optype *types, uint32_t count)
{
    uint32_t present = v->height - v->base;
    uint32_t checked = present < count ? present : count;
    if (!count) /* `types` may be NULL */
        return true;
    if ((checked < count && !v->unreachable) || !all_match(v->stack + (v->height - checked), types + (count - checked), checked))
        return report_mismatch(v, types, count);
    return true;
}

bool sbx_pop_types(sbx_validator *v, const sbx_optype *types, uint32_t count)
{
    if (!sbx_match_types(v, types, count))
        return false;
    uint32_t present = v->height - v->base;
    v->height -= present < count ? present : count;
    return true;
}

bool sbx_push_types(sbx_validator *v, const sbx_optype *types, uint32_t count)
{
    if (!sbx_reserve(v, count))
        return false;
    if (count)
        memcpy(v->stack + v->height, types, count);
    v->height += count;
    if (v->height > v->max_height)
        v->max_height = v->height;
    return true;
}

/* push_ctrl */
bool sbx_push_control(sbx_validator *v, uint8_t opcode, sbx_signature type)
{
    if (v->control_count == v->control_capacity) {
        uint32_t capacity = v->control_capacity ? v->control_capacity * 2 : FIRST_CONTROLS;
        sbx_control *controls = sbx_realloc(v->controls, capacity * sizeof *controls);
        if (!controls)
            return out_of_memory(v);
        v->controls = controls;
        v->control_capacity = capacity;
    }
    /* The function's own frame does not count as nesting. */
    if (!sbx_check_limit(&v->error, (uint64_t)(v->at - v->r.base), "nesting", v->control_count, v->m->limits->nesting))
        return false;
    v->controls[v->control_count++] = (sbx_control){
        .type = type, .height = v->height, .assigned = v->assigned_count, .opcode = opcode,
    };
    v->base = v->height;
    v->unreachable = false;
    return sbx_push_types(v, type.params, type.param_count);
}

/* pop_ctrl: the block's results are popped, and nothing else may be left. */
bool sbx_pop_control(sbx_validator *v, sbx_control *out)
{
    *out = v->controls[v->control_count - 1];
    if (!sbx_pop_types(v, out->type.results, out->type.result_count))
        return false;
    if (v->height != v->base)
        return SBX_INVALIDATE(v, "type mismatch: %u values too many at the end of the block", v->height - v->base);
    v->control_count--;
    if (v->control_count) {
        v->base = v->controls[v->control_count - 1].height;
        v->unreachable = v->controls[v->control_count - 1].unreachable;
    }
    return true;
}

/* unreachable(): the stack of the block is dropped and becomes polymorphic. */
void sbx_set_unreachable(sbx_validator *v)
{
    v->height = v->base;
    v->unreachable = true;
    v->controls[v->control_count - 1].unreachable = true;
}
