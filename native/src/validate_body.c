/* Validation of function bodies: the loop over instructions, locals, numbers and memory access, and what is learned for
 * the executors on the way (specification 3.3, 3.4.1 and the appendix "Validation Algorithm"). */
#include "validator.h"

enum { ANALYSED_LOCALS_SLACK = 8 };

/* Type of a local beyond local_known: found by bisection of the runs' ends. */
static __attribute__((noinline)) sbx_optype distant_local_type(const sbx_validator *v, uint32_t index)
{
    uint32_t low = 0, high = v->code->run_count;
    index -= v->function->param_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (v->run_ends[middle] <= index)
            low = middle + 1;
        else
            high = middle;
    }
    return (sbx_optype)v->code->runs[low].type;
}

static inline bool validate_local(sbx_validator *v, uint8_t opcode)
{
    uint32_t index;
    sbx_optype type;
    if (!sbx_read_u32(&v->r, &index))
        return false;
    if (SBX_LIKELY(index < v->local_known)) {
        uint8_t *state = &v->local_state[index];
        type = v->local_types[index];
        uint32_t weight = v->local_weight[index] + v->weight;
        v->local_weight[index] = SBX_LIKELY(weight >= v->weight) ? weight : UINT32_MAX;
        if (*state & SBX_LOCAL_ASSIGNED) {
        } else if (opcode == SBX_WASM_local_get) {
            *state |= SBX_LOCAL_NEEDS_ZERO;
            if (SBX_UNLIKELY(type == SBX_REF_PREFIX)) /* version 3.0: a reference that is not null has no default */
                return SBX_INVALIDATE(v, "uninitialized local %u", index);
        } else {
            *state |= SBX_LOCAL_ASSIGNED;
            v->assigned[v->assigned_count++] = index;
        }
    } else if (index < v->local_total) {
        type = distant_local_type(v, index);
    } else {
        return SBX_INVALIDATE(v, "unknown local %u", index);
    }
    if (opcode != SBX_WASM_local_get && !sbx_pop(v, type))
        return false;
    if (opcode != SBX_WASM_local_set)
        sbx_push(v, type);
    return true;
}

static bool validate_global(sbx_validator *v, uint8_t opcode)
{
    uint32_t index;
    if (!sbx_read_u32(&v->r, &index))
        return false;
    if (index >= v->m->global_count)
        return SBX_INVALIDATE(v, "unknown global %u", index);
    const sbx_globaltype *global = &v->m->globals[index];
    if (opcode == SBX_WASM_global_get) {
        sbx_push(v, (sbx_optype)global->type);
        return true;
    }
    if (!global->is_mutable)
        return SBX_INVALIDATE(v, "immutable global %u", index);
    return sbx_pop(v, (sbx_optype)global->type);
}

/* select without types: two numbers of one type (3.3.4). */
static bool validate_select(sbx_validator *v)
{
    sbx_optype a, b;
    if (!sbx_pop(v, SBX_I32) || !sbx_pop_any(v, &b) || !sbx_pop_any(v, &a))
        return false;
    if ((a != SBX_BOTTOM && !sbx_is_number(a)) || (b != SBX_BOTTOM && !sbx_is_number(b)))
        return SBX_INVALIDATE(v, "type mismatch: select without a type takes numbers only");
    if (a != b && a != SBX_BOTTOM && b != SBX_BOTTOM)
        return SBX_INVALIDATE(v, "type mismatch: select between %s and %s", sbx_valtype_name(a), sbx_valtype_name(b));
    sbx_push(v, a == SBX_BOTTOM ? b : a);
    return true;
}

/* memarg: alignment exponent, offset (5.4.6). With bit 6 a memory index stands between them: version 3.0's encoding, which
 * is checked here and refused in the end. The offset is 64 bits wide there, too: larger ones are invalid, not malformed. */
static __attribute__((noinline)) bool validate_wide_memarg(sbx_validator *v, const sbx_op_info *info)
{
    uint32_t flags, memory = 0;
    uint64_t offset;
    if (!sbx_read_u32(&v->r, &flags))
        return false;
    if (flags >= 0x80)
        return SBX_REJECT(&v->r, SBX_MALFORMED, v->at, "malformed memop flags 0x%x", flags);
    if ((flags & 0x40 && !sbx_read_u32(&v->r, &memory)) || !sbx_read_u64(&v->r, &offset))
        return false;
    if (memory >= v->m->memory_count)
        return SBX_INVALIDATE(v, "unknown memory %u", memory);
    if ((flags & 0x3F) >= 32 || 1u << (flags & 0x3F) > info->width)
        return SBX_INVALIDATE(v, "alignment must not be larger than natural: 2^%u for %s", flags & 0x3F, info->name);
    if (offset > UINT32_MAX)
        return SBX_INVALIDATE(v, "offset out of range: %llu", (unsigned long long)offset);
    if (flags & 0x40) /* even of memory 0: the executors' reader does not know this form */
        sbx_refuse(&v->refusal, (uint64_t)(v->at - v->r.base), SBX_FEATURE_MULTI_MEMORY, "memory access with a memory index");
    return true;
}

static inline bool validate_memarg(sbx_validator *v, const sbx_op_info *info)
{
    const uint8_t *p = v->r.pos;
    if (SBX_LIKELY(v->r.end - p >= 2 && p[0] < 4 && p[1] < 0x80 && 1u << p[0] <= info->width && v->m->memory_count)) {
        v->r.pos = p + 2;
        return true;
    }
    return validate_wide_memarg(v, info);
}

static inline bool skip_constant(sbx_validator *v, const sbx_op_info *info)
{
    int32_t i32;
    int64_t i64;
    const uint8_t *bytes;
    switch (info->imm) {
    case SBX_IMM_I32: return sbx_read_s32(&v->r, &i32);
    case SBX_IMM_I64: return sbx_read_s64(&v->r, &i64);
    case SBX_IMM_F32: return sbx_read_bytes(&v->r, 4, &bytes);
    default: return sbx_read_bytes(&v->r, 8, &bytes);
    }
}

static __attribute__((noinline)) bool validate_prefixed(sbx_validator *v)
{
    uint32_t opcode;
    const sbx_op_info *info;
    v->r.pos = v->at;
    if (*v->at == SBX_CALL_REF || *v->at == SBX_REF_AS_NON_NULL)
        return sbx_validate_later(v, *v->at);
    return sbx_read_opcode(&v->r, v->m, &opcode, &info) && sbx_validate_rare(v, opcode, info);
}

static inline bool validate_instruction(sbx_validator *v, uint8_t opcode, const sbx_op_info *info)
{
    sbx_optype ignored;
    switch (info->kind) {
    case SBX_KIND_VARIABLE:
        return opcode <= SBX_WASM_local_tee ? validate_local(v, opcode) : validate_global(v, opcode);
    case SBX_KIND_CONST:
        return skip_constant(v, info) && sbx_apply(v, info);
    case SBX_KIND_LOAD: case SBX_KIND_STORE:
        return validate_memarg(v, info) && sbx_apply(v, info);
    case SBX_KIND_UNARY: case SBX_KIND_BINARY: case SBX_KIND_COMPARE: case SBX_KIND_TEST:
        return sbx_apply(v, info);
    case SBX_KIND_CONTROL:
        return sbx_validate_control(v, opcode);
    case SBX_KIND_PARAMETRIC:
        if (opcode == SBX_WASM_drop)
            return sbx_pop_any(v, &ignored);
        if (opcode == SBX_WASM_select)
            return validate_select(v);
        return sbx_validate_rare(v, opcode, info);
    default:
        return sbx_validate_rare(v, opcode, info);
    }
}

static bool validate_instructions(sbx_validator *v)
{
    const uint8_t *end = v->r.base + v->code->end;
    while (v->control_count) {
        if (!sbx_reserve(v, SBX_SPARE))
            return false;
        sbx_validate_simple(v, end);
        v->at = v->r.pos;
        if (SBX_UNLIKELY(v->at >= end))
            return sbx_body_ran_out(v->m, v->code_index, &v->r);
        uint8_t opcode = *v->r.pos++;
        const sbx_op_info *info = v->operations[opcode];
        if (!(SBX_LIKELY(info) ? validate_instruction(v, opcode, info) : validate_prefixed(v)))
            return false;
    }
    v->at = v->r.pos;
    if (!sbx_check_limit(&v->error, v->code->offset, "operands", v->max_height, SBX_MAX_OPERANDS))
        return false;
    if (v->r.pos != end)
        return SBX_REJECT(&v->r, SBX_MALFORMED, v->at, "section size mismatch: %s the end of function body %u",
                          v->r.pos < end ? "bytes after" : "an instruction runs over", v->code_index);
    return true;
}

static bool grow_locals(sbx_validator *v, uint32_t count)
{
    if (count <= v->local_capacity)
        return true;
    uint32_t capacity = count + count / 2;
    sbx_free(v->local_weight);
    /* One block: the weights, the log, the types, the states. */
    v->local_weight = sbx_malloc((size_t)capacity * (2 * sizeof(uint32_t) + 2));
    v->local_capacity = v->local_weight ? capacity : 0;
    if (!v->local_weight)
        return SBX_REJECT(&v->r, SBX_NO_MEMORY, v->r.pos, "out of memory while validating");
    v->assigned = v->local_weight + capacity;
    v->local_types = (sbx_optype *)(v->assigned + capacity);
    v->local_state = v->local_types + capacity;
    return true;
}

static bool list_run_ends(sbx_validator *v)
{
    const sbx_code *code = v->code;
    if (code->run_count > v->run_capacity) {
        sbx_free(v->run_ends);
        v->run_ends = sbx_malloc(code->run_count * sizeof *v->run_ends);
        v->run_capacity = v->run_ends ? code->run_count : 0;
        if (!v->run_ends)
            return SBX_REJECT(&v->r, SBX_NO_MEMORY, v->r.pos, "out of memory while validating");
    }
    uint32_t end = 0;
    for (uint32_t i = 0; i < code->run_count; i++)
        v->run_ends[i] = end += code->runs[i].count;
    return true;
}

/* Expands the locals' types, as many as the size of the body warrants; parameters always. */
static bool open_locals(sbx_validator *v)
{
    const sbx_code *code = v->code;
    uint32_t params = v->function->param_count, size = code->end - code->offset;
    if (!sbx_check_limit(&v->error, code->offset, "locals", (uint64_t)params + code->local_count, v->m->limits->locals))
        return false;
    v->local_total = params + code->local_count;
    uint32_t known = code->local_count < ANALYSED_LOCALS_SLACK + size ? code->local_count : ANALYSED_LOCALS_SLACK + size;
    v->local_known = params + known;
    if (!grow_locals(v, v->local_known ? v->local_known : 1))
        return false;
    if (params)
        memcpy(v->local_types, v->function->params, params);
    memset(v->local_state, SBX_LOCAL_ASSIGNED, params);
    memset(v->local_state + params, 0, known);
    memset(v->local_weight, 0, v->local_known * sizeof *v->local_weight);
    uint32_t filled = params;
    for (uint32_t i = 0; i < code->run_count; i++) {
        const sbx_local_run *run = &code->runs[i];
        uint32_t count = run->count < v->local_known - filled ? run->count : v->local_known - filled;
        memset(v->local_types + filled, (int)run->type, count);
        filled += count;
    }
    return v->local_known == v->local_total || list_run_ends(v);
}

static bool open_body(sbx_validator *v, uint32_t code_index)
{
    const sbx_module *m = v->m;
    sbx_error_clear(&v->error);
    sbx_error_clear(&v->refusal);
    v->code_index = code_index;
    v->code = &m->code[code_index];
    v->function = &v->signatures[m->functions[m->imported_functions + code_index]];
    v->r.pos = v->at = m->bytes + v->code->offset;
    v->height = v->max_height = v->base = 0;
    v->control_count = v->assigned_count = v->loop_depth = 0;
    v->weight = 1;
    v->is_leaf = true;
    sbx_signature frame = *v->function;
    frame.params = NULL, frame.param_count = 0; /* they are locals, not operands */
    return open_locals(v) && sbx_push_control(v, SBX_WASM_call, frame);
}

/* Writes down what was learned. The tables by local are left out for bodies that declare more locals than they have bytes:
 * their size must not be out of proportion to the module's. */
static void close_body(const sbx_validator *v, sbx_code *code)
{
    bool tables = v->local_total <= code->end - code->offset + ANALYSED_LOCALS_SLACK;
    code->max_height = v->max_height;
    code->is_leaf = v->is_leaf;
    code->local_weight = tables ? v->local_weight : NULL;
    code->local_state = tables ? v->local_state : NULL;
}

sbx_status sbx_validate_body(sbx_validator *v, uint32_t code_index, sbx_error *err)
{
    bool ok = open_body(v, code_index) && validate_instructions(v);
    if (ok && v->refusal.status != SBX_OK) {
        v->error = v->refusal;
        ok = false;
    }
    if (ok) {
        close_body(v, &v->m->code[code_index]);
        return SBX_OK;
    }
    if (err && err->status == SBX_OK)
        *err = v->error;
    return (sbx_status)v->error.status;
}

/* The module's function types, as bytes. */
static bool copy_signatures(sbx_validator *v)
{
    const sbx_module *m = v->m;
    size_t total = 0;
    for (uint32_t i = 0; i < m->type_count; i++)
        total += (size_t)m->types[i].params + m->types[i].results;
    v->signatures = sbx_malloc((m->type_count ? m->type_count : 1) * sizeof *v->signatures);
    sbx_optype *next = v->signature_types = sbx_malloc(total);
    if (!v->signatures || !next)
        return false;
    for (uint32_t i = 0; i < m->type_count; i++) {
        const sbx_functype *type = &m->types[i];
        v->signatures[i] = (sbx_signature){next, next + type->params, type->params, type->results};
        for (uint32_t k = 0; k < type->params + type->results; k++)
            *next++ = (sbx_optype)type->types[k];
    }
    return true;
}

sbx_validator *sbx_validator_new(const sbx_module *module)
{
    sbx_validator *v = sbx_calloc(1, sizeof *v);
    if (!v)
        return NULL;
    v->m = module;
    v->r = (sbx_reader){module->bytes, module->bytes, module->bytes + module->size, &v->error};
    for (uint32_t opcode = 0; opcode < 256; opcode++) {
        const sbx_op_info *info = sbx_op_info_of(opcode);
        bool on = info->feature == SBX_FEATURE_COUNT || module->features >> info->feature & 1;
        if (info->kind != SBX_KIND_ILLEGAL && info->kind != SBX_KIND_REFUSED && on)
            v->operations[opcode] = info;
    }
    sbx_make_rules(v);
    if (!copy_signatures(v)) {
        sbx_validator_free(v);
        return NULL;
    }
    return v;
}

void sbx_validator_free(sbx_validator *v)
{
    if (!v)
        return;
    sbx_free(v->stack);
    sbx_free(v->controls);
    sbx_free(v->local_weight);
    sbx_free(v->run_ends);
    sbx_free(v->signatures);
    sbx_free(v->signature_types);
    sbx_free(v);
}
