/* The compiled tier's driver: prologue, one instruction after the other, epilogue, code out of line, calls between functions. */
#include "engine_state.h"
#include "x64.h"
#if defined(__x86_64__)
#include <cpuid.h>
#endif

enum { INT_PINS = 6, FLOAT_PINS = 7, WORTH = 3, ZERO_LOOP = 8, ALIGNMENT = 16, BUFFER_FLOOR = 65536 };

void sbx_x64_stubs(sbx_x64 *c);

uint32_t sbx_x64_cpu(void)
{
#if !defined(__x86_64__)
    return 0; /* never asked: the tier is refused elsewhere */
#else
    unsigned a, b = 0, c = 0, extended = 0, d;
    uint32_t found = 0;
    if (__get_cpuid(1, &a, &b, &c, &d))
        found |= (c & bit_POPCNT ? CPU_POPCNT : 0) | (c & bit_SSE4_1 ? CPU_SSE41 : 0);
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d))
        found |= (b & bit_BMI ? CPU_BMI1 : 0) | (b & bit_BMI2 ? CPU_BMI2 : 0);
    if (__get_cpuid(0x80000001, &a, &b, &extended, &d))
        found |= extended & bit_LZCNT ? CPU_LZCNT : 0;
    return found;
#endif
}

/* Locals. */

static bool needs_zero(const sbx_x64 *c, uint32_t local)
{
    return local >= c->type->params && (!c->code->local_state || c->code->local_state[local] & SBX_LOCAL_NEEDS_ZERO);
}

/* Gives registers to the most used locals of each class. */
static void choose_pins(sbx_x64 *c)
{
    static const uint8_t ints[INT_PINS] = {R12, R13, R9, R10, R11, R14};
    const uint32_t *weight = c->code->local_weight;
    uint32_t limit[2] = {INT_PINS - (c->options->metered ? 1u : 0u), FLOAT_PINS}, used[2] = {0, 0};
    uint32_t chosen[2][FLOAT_PINS];
    for (uint32_t i = 0; i < c->local_count && weight; i++) {
        uint8_t cls = c->local_class[i];
        if (weight[i] < WORTH || (used[cls] == limit[cls] && weight[i] <= weight[chosen[cls][limit[cls] - 1]]))
            continue;
        uint32_t at = used[cls] < limit[cls] ? used[cls]++ : limit[cls] - 1;
        for (; at && weight[chosen[cls][at - 1]] < weight[i]; at--)
            chosen[cls][at] = chosen[cls][at - 1];
        chosen[cls][at] = i;
    }
    c->saved_count = 0;
    for (uint8_t cls = 0; cls < 2; cls++)
        for (uint32_t i = 0; i < used[cls]; i++) {
            uint8_t reg = cls == CLASS_FLOAT ? XMM(8 + i) : ints[i];
            c->local_pin[chosen[cls][i]] = reg;
            c->saved[c->saved_count++] = reg;
        }
}

static void zero_slots(sbx_x64 *c, uint32_t first, uint32_t count)
{
    if (count <= ZERO_LOOP) {
        for (uint32_t i = first; i < first + count; i++) {
            x64_op(&c->b, 0xC7, W, 0, x64_slot(i));
            x64_u32(&c->b, 0);
        }
        return;
    }
    x64_op(&c->b, 0x33, 0, RAX, x64_reg(RAX));
    x64_op(&c->b, 0x8D, W, RDI, x64_slot(first));
    x64_move_constant(&c->b, RCX, count);
    x64_bytes(&c->b, "\xF3\x48\xAB", 3); /* rep stosq */
}

static void begin_locals(sbx_x64 *c)
{
    uint32_t run = 0;
    for (uint32_t i = 0; i < c->local_count; i++) {
        uint8_t pin = c->local_pin[i];
        bool zero = needs_zero(c, i);
        if (pin != NO_REG || !zero) {
            zero_slots(c, i - run, run);
            run = 0;
        } else {
            run++;
        }
        if (pin != NO_REG && i < c->type->params)
            x64_load64(&c->b, pin, x64_slot(i));
        else if (pin != NO_REG && zero)
            x64_op(&c->b, pin < XMM0 ? 0x33 : OP(0, 0x0F, 0x57), 0, pin, x64_reg(pin));
    }
    zero_slots(c, c->local_count - run, run);
}

/* Frames. */

static void prologue(sbx_x64 *c)
{
    uint32_t floats = 0;
    for (uint32_t i = 0; i < c->saved_count; i++)
        if (c->saved[i] < XMM0)
            x64_push(&c->b, c->saved[i]);
        else
            floats++;
    if (floats)
        x64_alu_constant(&c->b, 5, W, x64_reg(RSP), (int32_t)floats * 8);
    for (uint32_t i = 0; i < floats; i++)
        x64_store64(&c->b, x64_mem(RSP, (int32_t)i * 8), XMM(8 + i));
    if (!c->code->is_leaf) { /* leaves need what lies behind the limits */
        size_t back = c->b.size;
        x64_load64(&c->b, SCRATCH, x64_mem(INSTANCE, offsetof(sbx_instance, engine)));
        x64_op(&c->b, 0x3B, W, RSP, x64_mem(SCRATCH, offsetof(sbx_call_engine, machine_limit)));
        x64_cold_path(c, COLD_POLL, 0, x64_jcc(&c->b, CC_B, 0), back);
        x64_op(&c->b, 0x3B, W, FRAME, x64_mem(SCRATCH, offsetof(sbx_call_engine, vs_limit)));
        x64_cold_path(c, COLD_POLL, 0, x64_jcc(&c->b, CC_A, 0), back);
    }
    begin_locals(c);
}

void x64_epilogue(sbx_x64 *c)
{
    uint32_t floats = 0;
    for (uint32_t i = 0; i < c->saved_count; i++)
        floats += c->saved[i] >= XMM0;
    for (uint32_t i = 0; i < floats; i++)
        x64_load64(&c->b, XMM(8 + i), x64_mem(RSP, (int32_t)i * 8));
    if (floats)
        x64_alu_constant(&c->b, 0, W, x64_reg(RSP), (int32_t)floats * 8);
    for (uint32_t i = c->saved_count - floats; i--;)
        x64_pop(&c->b, c->saved[i]);
    x64_byte(&c->b, 0xC3);
}

static void emit_cold(sbx_x64 *c)
{
    for (size_t i = 0; i < c->cold_count && !c->b.failed; i++) {
        const x64_cold *cold = &c->colds[i];
        x64_patch(&c->b, cold->jump, c->b.size);
        if (cold->kind == COLD_TRUNCATE) {
            x64_cold_truncate(c, cold);
            continue;
        }
        if (cold->kind == COLD_TRAP)
            x64_move_constant(&c->b, RAX, cold->value);
        else if (cold->kind == COLD_FUEL)
            x64_alu_constant(&c->b, 0, W, x64_reg(FUEL), (int32_t)cold->value);
        x64_mark(c, cold->instruction);
        x64_call(&c->b, cold->kind == COLD_TRAP ? c->stubs.trap : cold->kind == COLD_FUEL ? c->stubs.fuel
                        : cold->kind == COLD_POLL ? c->stubs.poll : c->stubs.call);
        if (cold->kind != COLD_TRAP)
            x64_patch(&c->b, x64_jmp(&c->b, 0), cold->back);
    }
    c->cold_count = 0;
}

/* Instructions. */

static void local_get(sbx_x64 *c, const x64_row *row)
{
    (void)row;
    x64_push_local(c, sbx_leb_u32(&c->at));
}

static void local_set(sbx_x64 *c, const x64_row *row)
{
    uint32_t local = sbx_leb_u32(&c->at);
    bool tee = row->opcode == SBX_WASM_local_tee;
    x64_entry e = x64_take(c);
    if (e.place == IN_LOCAL && e.local == local) {
        if (tee)
            x64_push_local(c, local);
        return;
    }
    x64_detach_local(c, local);
    if (c->local_pin[local] != NO_REG)
        x64_into(c, c->local_pin[local], &e);
    else
        x64_write(c, &e, local);
    if (!tee)
        return;
    if (e.place == IN_REG) /* the register is nearer than a slot */
        x64_push_reg(c, e.reg);
    else
        x64_push_local(c, local);
}

static void integer_constant(sbx_x64 *c, const x64_row *row)
{
    int64_t value = sbx_leb_s64(&c->at);
    x64_push_const(c, CLASS_INT, row->opcode == SBX_WASM_i32_const ? (uint32_t)value : (uint64_t)value);
}

static void float_constant(sbx_x64 *c, const x64_row *row)
{
    uint64_t bits = 0;
    memcpy(&bits, c->at, row->extra);
    c->at += row->extra;
    x64_push_const(c, CLASS_FLOAT, bits);
}

static void ref_null(sbx_x64 *c, const x64_row *row)
{
    (void)row;
    sbx_leb_s64(&c->at);
    x64_push_const(c, CLASS_INT, 0);
}

static void nop(sbx_x64 *c, const x64_row *row) { (void)c, (void)row; }
static void drop(sbx_x64 *c, const x64_row *row) { (void)row, x64_take(c); }

static void bulk(sbx_x64 *c, uint32_t opcode)
{
    uint32_t one = sbx_leb_u32(&c->at), two;
    switch (opcode) {
    case SBX_WASM_memory_init: case SBX_WASM_memory_copy: case SBX_WASM_table_init: case SBX_WASM_table_copy:
        two = sbx_leb_u32(&c->at);
        x64_runtime(c, opcode, 3, one, two, -1);
        break;
    case SBX_WASM_memory_fill: case SBX_WASM_table_fill: x64_runtime(c, opcode, 3, one, 0, -1); break;
    case SBX_WASM_data_drop: case SBX_WASM_elem_drop: x64_runtime(c, opcode, 0, one, 0, -1); break;
    case SBX_WASM_memory_size: case SBX_WASM_table_size: case SBX_WASM_ref_func: x64_runtime(c, opcode, 0, one, 0, CLASS_INT); break;
    case SBX_WASM_memory_grow: case SBX_WASM_table_get: x64_runtime(c, opcode, 1, one, 0, CLASS_INT); break;
    case SBX_WASM_table_set: x64_runtime(c, opcode, 2, one, 0, -1); break;
    default: x64_runtime(c, opcode, 2, one, 0, CLASS_INT); /* table.grow */
    }
}

/* Whatever no row is for: tables, memories, prefixed instructions. */
static void other(sbx_x64 *c, const x64_row *row)
{
    uint32_t opcode = row->opcode == SBX_PREFIX_FC ? SBX_PREFIX_FC << 8 | sbx_leb_u32(&c->at) : row->opcode;
    const sbx_op_info *info = sbx_op_info_of(opcode);
    if (info->kind == SBX_KIND_UNARY)
        x64_runtime(c, opcode, info->param_count, 0, 0, x64_class(info->result));
    else
        bulk(c, opcode);
}

static const x64_row plain_rows[] = {
    {.opcode = SBX_WASM_nop, .emit = nop}, {.opcode = SBX_WASM_drop, .emit = drop},
    {.opcode = SBX_WASM_local_get, .emit = local_get}, {.opcode = SBX_WASM_local_set, .emit = local_set}, {.opcode = SBX_WASM_local_tee, .emit = local_set},
    {.opcode = SBX_WASM_i32_const, .emit = integer_constant}, {.opcode = SBX_WASM_i64_const, .emit = integer_constant},
    {.opcode = SBX_WASM_f32_const, .emit = float_constant, .extra = 4}, {.opcode = SBX_WASM_f64_const, .emit = float_constant, .extra = 8},
    {.opcode = SBX_WASM_ref_null, .emit = ref_null},
    {.emit = NULL},
};

static void add_rows(sbx_x64 *c, const x64_row *rows)
{
    for (; rows->emit; rows++)
        c->rows[rows->opcode] = *rows;
}

static void fill_rows(sbx_x64 *c)
{
    for (uint32_t opcode = 0; opcode < 256; opcode++) {
        uint8_t kind = sbx_op_info_of(opcode)->kind;
        bool test = kind == SBX_KIND_TEST, number = kind == SBX_KIND_UNARY || kind == SBX_KIND_BINARY;
        x64_emitter *emit = test || kind == SBX_KIND_COMPARE ? x64_condition : number ? x64_by_runtime : other;
        c->rows[opcode] = (x64_row){.opcode = (uint8_t)opcode, .emit = emit, .extra = test};
    }
    add_rows(c, plain_rows);
    add_rows(c, x64_integer_rows);
    add_rows(c, x64_float_rows);
    add_rows(c, x64_memory_rows);
    add_rows(c, x64_control_rows);
    for (uint32_t opcode = 0; opcode < 256; opcode++)
        c->rows[opcode].cost = !sbx_costs_nothing(opcode);
}

/* One instruction, and those before it that only get locals: a third of all. */
static inline void instruction(sbx_x64 *c)
{
    const uint8_t *at = c->at;
    for (; *at == SBX_WASM_local_get; c->cost++) {
        at++;
        x64_push_local(c, sbx_leb_u32(&at));
    }
    const x64_row *row = &c->rows[*at];
    c->at = at + 1;
    c->cost += row->cost;
    c->instruction = at;
    c->locked = 0;
    c->hint = NO_REG;
    row->emit(c, row);
}

/* Functions. */

static bool reserve(sbx_x64 *c)
{
    size_t locals = c->local_count ? c->local_count : 1;
    return x64_grow(c, &c->local_class, &c->class_capacity, locals, 1) && x64_grow(c, &c->local_pin, &c->pin_capacity, locals, 1) &&
           x64_grow(c, &c->local_head, &c->head_capacity, locals, sizeof *c->local_head) &&
           x64_grow(c, &c->stack, &c->stack_capacity, (size_t)c->code->max_height + 4, sizeof *c->stack) &&
           x64_grow(c, &c->labels, &c->label_capacity, 16, sizeof *c->labels);
}

static void begin_function(sbx_x64 *c)
{
    uint32_t n = 0;
    for (; n < c->type->params; n++)
        c->local_class[n] = x64_class(c->type->types[n]);
    for (uint32_t r = 0; r < c->code->run_count; r++)
        for (uint32_t i = 0; i < c->code->runs[r].count; i++)
            c->local_class[n++] = x64_class(c->code->runs[r].type);
    for (uint32_t i = 0; i < n; i++) {
        c->local_head[i] = X64_NO_ENTRY;
        c->local_pin[i] = NO_REG;
    }
    while (c->b.size % ALIGNMENT)
        x64_byte(&c->b, 0xCC);
    c->start = c->map.code = c->b.size;
    c->map.wasm = c->code->offset;
    c->at = c->instruction = c->module->bytes + c->code->offset;
    c->temps = c->local_count;
    c->height = c->flushed = c->depth = 0;
    c->cold_count = 0;
    c->unreachable = false;
    c->cost = 0;
    c->owned = 0;
    choose_pins(c);
    prologue(c);
    c->labels[c->depth++] = (x64_label){.kind = LABEL_FUNCTION, .type = {.result_count = c->type->results, .results = c->type->types + c->type->params},
                                        .in_register = c->type->results == 1, .fixups = X64_NO_FIXUP, .else_fixup = X64_NO_FIXUP};
}

sbx_status sbx_x64_body(sbx_x64 *c, uint32_t code_index, sbx_lowered_function *out)
{
    const sbx_module *m = c->module;
    uint32_t function = m->imported_functions + code_index;
    c->index = code_index;
    c->functions = out - code_index;
    c->code = &m->code[code_index];
    c->type = &m->types[m->functions[function]];
    c->local_count = c->type->params + c->code->local_count;
    uint32_t frame;
    sbx_status status = sbx_frame_slots(m, code_index, &frame, c->err);
    if (status)
        return status;
    if (!reserve(c))
        return sbx_fail(c->err, SBX_NO_MEMORY, c->code->offset, "out of memory while compiling function %u", function);
    size_t map_start = c->map.size, bound = sbx_code_bound(m, code_index);
    begin_function(c);
    while (c->depth && !c->b.failed) {
        instruction(c);
        if (c->b.size > bound)
            return sbx_code_unbounded(m, code_index, c->err);
    }
    emit_cold(c);
    if (c->b.failed || c->b.size > INT32_MAX || c->map.size > UINT32_MAX)
        return sbx_fail(c->err, SBX_NO_MEMORY, c->code->offset, "out of memory while compiling function %u", function);
    *out = (sbx_lowered_function){.machine_offset = (uint32_t)c->start, .machine_bytes = (uint32_t)(c->b.size - c->start),
                                  .frame_slots = frame, .map_offset = (uint32_t)map_start,
                                  .map_length = (uint32_t)(c->map.size - map_start), .machine_saved = c->saved_count};
    return SBX_OK;
}

sbx_x64 *sbx_x64_new(const sbx_module *module, const sbx_compile_options *options, size_t lead, sbx_error *err)
{
    sbx_x64 *c = sbx_calloc(1, sizeof *c);
    if (!c) {
        sbx_fail(err, SBX_NO_MEMORY, SBX_NO_OFFSET, "out of memory");
        return NULL;
    }
    c->module = module;
    c->options = options;
    c->err = err;
    c->cpu = sbx_x64_cpu();
    c->b.lead = lead;
    /* Room for what most modules need, maps included: pages are taken when they are written, and a buffer that never moves costs least. */
    bool checks = options->metered || options->explicit_bounds;
    if (x64_room(&c->b, module->code_bytes * (checks ? 16 : 9) / 4 + BUFFER_FLOOR))
        sbx_populate(c->b.bytes - lead, lead + c->b.capacity, lead + module->code_bytes * 3 / 2);
    if (x64_grow(c, &c->map.bytes, &c->map.capacity, module->code_bytes / 4 + BUFFER_FLOOR, 1))
        sbx_populate(c->map.bytes, c->map.capacity, module->code_bytes / 5);
    fill_rows(c);
    sbx_x64_stubs(c);
    return c;
}

uint8_t *sbx_x64_take(sbx_x64 *c)
{
    uint8_t *block = c->b.bytes ? c->b.bytes - c->b.lead : NULL;
    c->b.bytes = NULL;
    return block;
}

void sbx_x64_free(sbx_x64 *c)
{
    if (!c)
        return;
    sbx_free(sbx_x64_take(c));
    sbx_free(c->map.bytes);
    sbx_free(c->calls);
    sbx_free(c->colds);
    sbx_free(c->local_class);
    sbx_free(c->local_pin);
    sbx_free(c->local_head);
    sbx_free(c->stack);
    sbx_free(c->labels);
    sbx_free(c);
}

sbx_status sbx_x64_finish(sbx_x64 *c)
{
    if (c->b.failed)
        return sbx_fail(c->err, SBX_NO_MEMORY, SBX_NO_OFFSET, "out of memory while compiling");
    for (size_t i = 0; i < c->call_count; i++)
        x64_patch(&c->b, c->calls[i].field, c->functions[c->calls[i].function].machine_offset);
    return SBX_OK;
}
