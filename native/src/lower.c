/* The lowering's top floor: one body after the other, one instruction after the other; numbers, variables, memory, tables. */
#include <string.h>
#include "lower.h"
#include "lower_select.h"

static uint32_t row(uint32_t opcode) { return opcode < 256 ? opcode : 256 + (opcode & 0xFF); }

char sbx_letter(sbx_valtype type)
{
    return type == SBX_I32 ? 'i' : type == SBX_F32 ? 'f' : type == SBX_F64 ? 'F' : 'I';
}

char sbx_compare_letter(uint32_t compare) { return sbx_letter(sbx_op_info_of(compare)->params[0]); }

static void exchange(operand *a, operand *b)
{
    operand swap = *a;
    *a = *b;
    *b = swap;
}

/* The forms of two operands of one class: not both immediates, and only one can be the accumulator. */
static void operand_forms(sbx_lowerer *l, operand *left, operand *right, uint8_t forms[2])
{
    forms[1] = sbx_form(l, right);
    if (left->place == AT_CONST && forms[1] == FORM_IMM)
        sbx_to_slot(l, left);
    forms[0] = sbx_form(l, left);
    if (forms[0] == FORM_ACC && forms[1] == FORM_ACC) {
        if (right->place == AT_ACC)
            forms[0] = FORM_SLOT;
        else
            forms[1] = FORM_SLOT;
    }
}

uint32_t sbx_choose(sbx_lowerer *l, uint32_t opcode, operand *left, operand *right, uint8_t forms[2])
{
    operand_forms(l, left, right, forms);
    if (!select_numeric[row(opcode)][forms[0]][forms[1]]) {
        uint8_t form = forms[0];
        forms[0] = forms[1];
        forms[1] = form;
        exchange(left, right);
        opcode = select_swap[opcode][0];
    }
    return opcode;
}

uint32_t sbx_branch_op(uint32_t compare, const uint8_t forms[2], bool sense)
{
    return select_branch[compare][forms[0]][forms[1]][!sense];
}

static void lower_two(sbx_lowerer *l, uint32_t opcode, const sbx_op_info *info, operand left, operand right, const uint8_t *instruction)
{
    uint8_t cls = sbx_class_of(info->result), forms[2];
    sbx_prepare_result(l, cls);
    opcode = sbx_choose(l, opcode, &left, &right, forms);
    if (info->traps)
        sbx_mark(l, instruction);
    size_t start = l->count;
    char letter = sbx_letter(info->params[0]);
    sbx_emit(l, select_numeric[row(opcode)][forms[0]][forms[1]]);
    sbx_emit_operand(l, &left, forms[0], letter);
    sbx_emit_operand(l, &right, forms[1], letter);
    sbx_finish_result(l, cls, start);
    if (info->kind == SBX_KIND_COMPARE || opcode == SBX_WASM_i32_add) {
        l->last.opcode = opcode;
        l->last.left = left;
        l->last.right = right;
    }
}

/* eqz of a comparison that still stands last is the opposite comparison; any other eqz compares with zero. */
static void lower_test(sbx_lowerer *l, uint32_t opcode)
{
    operand left = sbx_pop(l), right = {.place = AT_CONST, .cls = CLASS_X, .home = left.home + 1};
    uint32_t compare = opcode == SBX_WASM_i32_eqz ? SBX_WASM_i32_eq : SBX_WASM_i64_eq;
    if (opcode == SBX_WASM_i32_eqz && sbx_made_last(l, &left) && select_swap[l->last.opcode][1]) {
        sbx_take_back(l);
        compare = select_swap[l->last.opcode][1];
        left = l->last.left;
        right = l->last.right;
    }
    lower_two(l, compare, sbx_op_info_of(compare), left, right, NULL);
}

static void lower_one(sbx_lowerer *l, uint32_t opcode, const sbx_op_info *info, const uint8_t *instruction)
{
    operand o = sbx_pop(l);
    uint8_t cls = sbx_class_of(info->result);
    sbx_prepare_result(l, cls);
    if (o.place == AT_CONST)
        sbx_to_slot(l, &o);
    char letter = sbx_letter(info->params[0]);
    uint8_t form = sbx_form(l, &o);
    if (info->traps)
        sbx_mark(l, instruction);
    size_t start = l->count;
    sbx_emit(l, select_numeric[row(opcode)][form][0]);
    sbx_emit_operand(l, &o, form, letter);
    sbx_finish_result(l, cls, start);
}

/* Memory accesses. */

/* Address forms beyond an operand's: the sum of two, as in the generated tables. */
enum { ADDRESS_SUM = 3, SUM_SLOTS = 3, SUM_ACC_SLOT, SUM_SLOT_IMM, SUM_ACC_IMM };

typedef struct address { operand base, index; uint64_t offset; uint8_t form; } address;

/* A popped address. An i32.add that stands last is done by the access itself, where guard pages need no compare. */
static address take_address(sbx_lowerer *l, operand base, uint64_t offset)
{
    address a = {.base = base, .offset = offset};
    if (!l->options->explicit_bounds && sbx_made_last(l, &base) && l->last.opcode == SBX_WASM_i32_add) {
        uint8_t forms[2];
        sbx_take_back(l);
        a.base = l->last.left;
        a.index = l->last.right;
        sbx_choose(l, SBX_WASM_i32_add, &a.base, &a.index, forms);
        a.form = forms[1] == FORM_IMM ? SUM_SLOT_IMM + forms[0] : SUM_SLOTS + forms[0];
        return a;
    }
    if (base.place == AT_CONST) {
        if (base.bits + offset <= UINT32_MAX) {
            a.offset += base.bits;
            a.form = FORM_IMM;
            return a;
        }
        sbx_to_slot(l, &a.base);
    }
    a.form = sbx_form(l, &a.base);
    return a;
}

static void emit_address(sbx_lowerer *l, const address *a)
{
    if (a->form == FORM_SLOT || a->form == SUM_SLOTS || a->form == SUM_SLOT_IMM)
        sbx_emit(l, a->base.slot);
    if (a->form == SUM_SLOTS || a->form == SUM_ACC_SLOT)
        sbx_emit(l, a->index.slot);
    else if (a->form == SUM_SLOT_IMM || a->form == SUM_ACC_IMM)
        sbx_emit32(l, (uint32_t)a->index.bits);
    sbx_emit32(l, (uint32_t)a->offset);
}

static void lower_load(sbx_lowerer *l, uint32_t opcode, const sbx_op_info *info, const uint8_t *instruction)
{
    sbx_leb_u32(&l->at);
    uint64_t offset = sbx_leb_u64(&l->at);
    address a = take_address(l, sbx_pop(l), offset);
    uint8_t cls = sbx_class_of(info->result);
    sbx_prepare_result(l, cls);
    sbx_mark(l, instruction);
    size_t start = l->count;
    sbx_emit(l, select_load[opcode][l->options->explicit_bounds][a.form]);
    emit_address(l, &a);
    sbx_finish_result(l, cls, start);
}

static void lower_store(sbx_lowerer *l, uint32_t opcode, const sbx_op_info *info, const uint8_t *instruction)
{
    sbx_leb_u32(&l->at);
    uint64_t offset = sbx_leb_u64(&l->at);
    operand value = sbx_pop(l);
    address a = take_address(l, sbx_pop(l), offset);
    char letter = sbx_letter(info->params[1]);
    if (value.place == AT_CONST && value.cls != CLASS_X) { /* constants are stored as integers */
        opcode = value.cls == CLASS_F ? SBX_WASM_i32_store : SBX_WASM_i64_store;
        letter = value.cls == CLASS_F ? 'i' : 'I';
    }
    uint8_t form = sbx_form(l, &value);
    if (form == FORM_ACC && a.form >= ADDRESS_SUM) {
        form = FORM_SLOT;
    } else if (form == FORM_ACC && a.form == FORM_ACC && value.cls == CLASS_X) {
        if (value.place == AT_ACC)
            a.form = FORM_SLOT;
        else
            form = FORM_SLOT;
    }
    sbx_begin(l);
    sbx_mark(l, instruction);
    sbx_emit(l, select_store[opcode][l->options->explicit_bounds][a.form][form]);
    emit_address(l, &a);
    sbx_emit_operand(l, &value, form, letter);
}

/* Variables. */

static void lower_local_set(sbx_lowerer *l, uint32_t local, bool tee)
{
    operand o = sbx_pop(l);
    sbx_begin(l);
    if (o.place != AT_LOCAL || o.slot != local) {
        while (l->local_head[local] != NO_ENTRY)
            sbx_materialise(l, (uint32_t)l->local_head[local]);
        sbx_store_operand(l, &o, local);
    }
    if (tee)
        sbx_push_local(l, local);
}

static void lower_global_get(sbx_lowerer *l, uint32_t index)
{
    static const uint16_t ops[2][CLASS_COUNT] = {
        {SBX_IR_global_get_own_x, SBX_IR_global_get_own_f, SBX_IR_global_get_own_F},
        {SBX_IR_global_get_imp_x, SBX_IR_global_get_imp_f, SBX_IR_global_get_imp_F}};
    uint32_t imported = l->module->imported_globals;
    uint8_t cls = sbx_class_of(l->module->globals[index].type);
    sbx_prepare_result(l, cls);
    size_t start = l->count;
    sbx_emit(l, ops[index < imported][cls]);
    sbx_emit32(l, index < imported ? index : index - imported);
    sbx_finish_result(l, cls, start);
}

static void lower_global_set(sbx_lowerer *l, uint32_t index)
{
    static const uint16_t ops[2][CLASS_COUNT][3] = {
        {{SBX_IR_global_set_own_xs, SBX_IR_global_set_own_xa, SBX_IR_global_set_own_xi},
         {SBX_IR_global_set_own_fs, SBX_IR_global_set_own_fa, 0}, {SBX_IR_global_set_own_Fs, SBX_IR_global_set_own_Fa, 0}},
        {{SBX_IR_global_set_imp_xs, SBX_IR_global_set_imp_xa, SBX_IR_global_set_imp_xi},
         {SBX_IR_global_set_imp_fs, SBX_IR_global_set_imp_fa, 0}, {SBX_IR_global_set_imp_Fs, SBX_IR_global_set_imp_Fa, 0}}};
    uint32_t imported = l->module->imported_globals;
    operand o = sbx_pop(l);
    sbx_begin(l);
    if (o.place == AT_CONST && o.cls != CLASS_X)
        sbx_to_slot(l, &o);
    uint8_t form = sbx_form(l, &o);
    sbx_emit(l, ops[index < imported][o.cls][form]);
    sbx_emit32(l, index < imported ? index : index - imported);
    sbx_emit_operand(l, &o, form, 'I');
}

static void lower_select(sbx_lowerer *l)
{
    static const uint16_t integers[2][2][2] = {
        {{SBX_IR_select_x_sss, SBX_IR_select_x_ssi}, {SBX_IR_select_x_sis, SBX_IR_select_x_sii}},
        {{SBX_IR_select_x_ass, SBX_IR_select_x_asi}, {SBX_IR_select_x_ais, SBX_IR_select_x_aii}}};
    static const uint16_t floats[2][2] = {{SBX_IR_select_f_sss, SBX_IR_select_f_ass}, {SBX_IR_select_F_sss, SBX_IR_select_F_ass}};
    operand c = sbx_pop(l), values[2];
    values[1] = sbx_pop(l);
    values[0] = sbx_pop(l);
    uint8_t cls = values[0].cls, forms[2];
    if (c.place == AT_CONST)
        sbx_to_slot(l, &c);
    for (int i = 0; i < 2; i++) {
        forms[i] = cls == CLASS_X && values[i].place == AT_CONST ? sbx_form(l, &values[i]) : FORM_SLOT;
        if (forms[i] == FORM_SLOT)
            sbx_to_slot(l, &values[i]);
    }
    sbx_prepare_result(l, cls);
    uint8_t form = sbx_form(l, &c);
    size_t start = l->count;
    sbx_emit(l, cls == CLASS_X ? integers[form][forms[0] == FORM_IMM][forms[1] == FORM_IMM] : floats[cls - 1][form]);
    sbx_emit_operand(l, &c, form, 'i');
    sbx_emit_operand(l, &values[0], forms[0], 'I');
    sbx_emit_operand(l, &values[1], forms[1], 'I');
    sbx_finish_result(l, cls, start);
}

/* Run-time operations: n arguments at home, one or no result in the first's place (and in the integer accumulator). */
static void lower_runtime(sbx_lowerer *l, uint32_t op, uint32_t n, uint32_t immediates, bool result, const uint8_t *instruction)
{
    uint32_t first = sbx_leb_u32(&l->at), second = immediates > 1 ? sbx_leb_u32(&l->at) : 0;
    sbx_materialise_top(l, n);
    sbx_pop_to(l, l->height - n);
    sbx_begin(l);
    if (result)
        sbx_prepare_result(l, CLASS_X);
    uint32_t base = l->temps + l->height;
    sbx_mark(l, instruction);
    sbx_emit(l, op);
    sbx_emit(l, base);
    sbx_emit32(l, first); /* of two: the segment before the memory or table, the destination before the source */
    if (immediates > 1)
        sbx_emit32(l, second);
    l->last.end = NOTHING_OPEN;
    if (result) {
        sbx_slot_written(l, base);
        sbx_push_slot(l, CLASS_X);
        l->acc_slot[CLASS_X] = base;
    }
}

static void lower_prefixed(sbx_lowerer *l, uint32_t opcode, const uint8_t *instruction)
{
    switch (opcode) {
    case SBX_WASM_memory_init: lower_runtime(l, SBX_IR_memory_init, 3, 2, false, instruction); break;
    case SBX_WASM_data_drop: lower_runtime(l, SBX_IR_data_drop, 0, 1, false, instruction); break;
    case SBX_WASM_memory_copy: lower_runtime(l, SBX_IR_memory_copy, 3, 2, false, instruction); break;
    case SBX_WASM_memory_fill: lower_runtime(l, SBX_IR_memory_fill, 3, 1, false, instruction); break;
    case SBX_WASM_table_init: lower_runtime(l, SBX_IR_table_init, 3, 2, false, instruction); break;
    case SBX_WASM_elem_drop: lower_runtime(l, SBX_IR_elem_drop, 0, 1, false, instruction); break;
    case SBX_WASM_table_copy: lower_runtime(l, SBX_IR_table_copy, 3, 2, false, instruction); break;
    case SBX_WASM_table_grow: lower_runtime(l, SBX_IR_table_grow, 2, 1, true, instruction); break;
    case SBX_WASM_table_size: lower_runtime(l, SBX_IR_table_size, 0, 1, true, instruction); break;
    case SBX_WASM_table_fill: lower_runtime(l, SBX_IR_table_fill, 3, 1, false, instruction); break;
    default: lower_one(l, opcode, sbx_op_info_of(opcode), instruction);
    }
}

static void lower_constant(sbx_lowerer *l, uint32_t opcode)
{
    uint64_t bits = 0;
    switch (opcode) {
    case SBX_WASM_i32_const: sbx_push_const(l, CLASS_X, (uint32_t)sbx_leb_s64(&l->at)); return;
    case SBX_WASM_i64_const: sbx_push_const(l, CLASS_X, (uint64_t)sbx_leb_s64(&l->at)); return;
    case SBX_WASM_f32_const:
        memcpy(&bits, l->at, 4);
        l->at += 4;
        sbx_push_const(l, CLASS_F, bits);
        return;
    default:
        memcpy(&bits, l->at, 8);
        l->at += 8;
        sbx_push_const(l, CLASS_D, bits);
    }
}

static void lower_other(sbx_lowerer *l, uint32_t opcode, const uint8_t *instruction)
{
    switch (opcode) {
    case SBX_WASM_unreachable:
        sbx_mark(l, instruction);
        sbx_emit(l, SBX_IR_unreachable);
        sbx_dead(l);
        break;
    case SBX_WASM_nop: break;
    case SBX_WASM_block: case SBX_WASM_loop: case SBX_WASM_if: sbx_lower_block(l, opcode); break;
    case SBX_WASM_else: sbx_lower_else(l); break;
    case SBX_WASM_end: sbx_lower_end(l); break;
    case SBX_WASM_br: sbx_lower_br(l, sbx_leb_u32(&l->at)); break;
    case SBX_WASM_br_if: sbx_lower_br_if(l, sbx_leb_u32(&l->at)); break;
    case SBX_WASM_br_table: sbx_lower_br_table(l); break;
    case SBX_WASM_return: sbx_lower_return(l); break;
    case SBX_WASM_call: sbx_lower_call(l, sbx_leb_u32(&l->at), instruction); break;
    case SBX_WASM_call_indirect: {
        uint32_t type = sbx_leb_u32(&l->at);
        sbx_lower_call_indirect(l, type, sbx_leb_u32(&l->at), instruction);
        break;
    }
    case SBX_WASM_drop: sbx_pop(l); break;
    case SBX_WASM_select_t: sbx_pass_immediates(&l->at, SBX_IMM_TYPES); /* fall through */
    case SBX_WASM_select: lower_select(l); break;
    case SBX_WASM_local_get: sbx_push_local(l, sbx_leb_u32(&l->at)); break;
    case SBX_WASM_local_set: lower_local_set(l, sbx_leb_u32(&l->at), false); break;
    case SBX_WASM_local_tee: lower_local_set(l, sbx_leb_u32(&l->at), true); break;
    case SBX_WASM_global_get: lower_global_get(l, sbx_leb_u32(&l->at)); break;
    case SBX_WASM_global_set: lower_global_set(l, sbx_leb_u32(&l->at)); break;
    case SBX_WASM_table_get: lower_runtime(l, SBX_IR_table_get, 1, 1, true, instruction); break;
    case SBX_WASM_table_set: lower_runtime(l, SBX_IR_table_set, 2, 1, false, instruction); break;
    case SBX_WASM_memory_size: lower_runtime(l, SBX_IR_memory_size, 0, 1, true, instruction); break;
    case SBX_WASM_memory_grow: lower_runtime(l, SBX_IR_memory_grow, 1, 1, true, instruction); break;
    case SBX_WASM_ref_null: sbx_leb_s64(&l->at); sbx_push_const(l, CLASS_X, 0); break;
    case SBX_WASM_ref_is_null: lower_test(l, SBX_WASM_i64_eqz); break;
    case SBX_WASM_ref_func: lower_runtime(l, SBX_IR_ref_func, 0, 1, true, instruction); break;
    }
}

static void lower_instruction(sbx_lowerer *l)
{
    if (*l->at == SBX_WASM_local_get) { /* a third of all instructions */
        l->at++;
        l->cost++;
        sbx_push_local(l, sbx_leb_u32(&l->at));
        return;
    }
    const uint8_t *instruction = l->at;
    uint32_t opcode = sbx_read_opcode(&l->at);
    const sbx_op_info *info = sbx_op_info_of(opcode);
    l->cost += !sbx_costs_nothing(opcode);
    switch (info->kind) {
    case SBX_KIND_UNARY: lower_one(l, opcode, info, instruction); break;
    case SBX_KIND_TEST: lower_test(l, opcode); break;
    case SBX_KIND_BINARY: case SBX_KIND_COMPARE: {
        operand right = sbx_pop(l), left = sbx_pop(l);
        lower_two(l, opcode, info, left, right, instruction);
        break;
    }
    case SBX_KIND_CONST: lower_constant(l, opcode); break;
    case SBX_KIND_LOAD: lower_load(l, opcode, info, instruction); break;
    case SBX_KIND_STORE: lower_store(l, opcode, info, instruction); break;
    default:
        if (opcode >= 0xFC00)
            lower_prefixed(l, opcode, instruction);
        else
            lower_other(l, opcode, instruction);
    }
}

/* Functions. */

static bool reserve(sbx_lowerer *l, const sbx_code *code)
{
    size_t locals = (size_t)l->type->params + code->local_count, capacity = l->local_capacity, class_capacity = capacity;
    if (!sbx_room(l, &l->local_class, &class_capacity, locals, 1) ||
        !sbx_room(l, &l->local_head, &capacity, locals, sizeof *l->local_head))
        return false;
    l->local_capacity = (uint32_t)(capacity < class_capacity ? capacity : class_capacity);
    l->local_count = (uint32_t)locals;
    capacity = l->stack_capacity;
    if (!sbx_room(l, &l->stack, &capacity, (size_t)code->max_height + 4, sizeof *l->stack))
        return false;
    l->stack_capacity = (uint32_t)capacity;
    capacity = l->label_capacity;
    if (!sbx_room(l, &l->labels, &capacity, 16, sizeof *l->labels))
        return false;
    l->label_capacity = (uint32_t)capacity;
    return true;
}

static void begin_locals(sbx_lowerer *l, const sbx_code *code)
{
    uint32_t n = 0, params = l->type->params, first = UINT32_MAX, last = 0;
    for (; n < params; n++)
        l->local_class[n] = sbx_class_of(l->type->types[n]);
    for (uint32_t r = 0; r < code->run_count; r++)
        for (uint32_t i = 0; i < code->runs[r].count; i++)
            l->local_class[n++] = sbx_class_of(code->runs[r].type);
    for (uint32_t i = 0; i < n; i++) {
        l->local_head[i] = NO_ENTRY;
        if (i >= params && (!code->local_state || code->local_state[i] & SBX_LOCAL_NEEDS_ZERO)) {
            first = i < first ? i : first;
            last = i;
        }
    }
    if (first != UINT32_MAX) {
        sbx_emit(l, SBX_IR_zero);
        sbx_emit(l, first);
        sbx_emit(l, last - first + 1);
    }
}

static void begin_function(sbx_lowerer *l, const sbx_code *code)
{
    l->code_start = l->map.code = l->count;
    l->wasm_start = code->offset;
    l->map.wasm = code->offset;
    l->at = l->module->bytes + code->offset;
    l->temps = l->local_count;
    l->height = l->flushed = l->depth = 0;
    l->unreachable = false;
    l->cost = 0;
    l->last = (pending){.end = NOTHING_OPEN};
    for (int c = 0; c < CLASS_COUNT; c++) {
        l->acc_owner[c] = NO_ENTRY;
        l->acc_slot[c] = NO_SLOT;
    }
    begin_locals(l, code);
    l->labels[l->depth++] = (label){.kind = LABEL_FUNCTION, .fixups = NO_FIXUP, .else_fixup = NO_FIXUP,
                                    .type = {.result_count = l->type->results, .results = l->type->types + l->type->params}};
}

sbx_status sbx_lower_body(sbx_lowerer *l, uint32_t code_index, sbx_lowered_function *out)
{
    const sbx_module *m = l->module;
    const sbx_code *code = &m->code[code_index];
    uint32_t function = m->imported_functions + code_index;
    l->type = &m->types[m->functions[function]];
    uint32_t frame;
    sbx_status status = sbx_frame_slots(m, code_index, &frame, l->err);
    if (status)
        return status;
    if (!reserve(l, code))
        return sbx_fail(l->err, SBX_NO_MEMORY, code->offset, "out of memory while lowering function %u", function);
    size_t map_start = l->map.size, bound = sbx_code_bound(m, code_index);
    begin_function(l, code);
    while (l->depth && !l->failed) {
        if (l->unreachable)
            sbx_pass_dead_code(&l->at);
        lower_instruction(l);
        if (l->count > bound)
            return sbx_code_unbounded(m, code_index, l->err);
    }
    if (l->failed || l->count > INT32_MAX || l->map.size > UINT32_MAX)
        return sbx_fail(l->err, SBX_NO_MEMORY, code->offset, "out of memory while lowering function %u", function);
    *out = (sbx_lowered_function){.code_offset = (uint32_t)l->code_start, .code_units = (uint32_t)(l->count - l->code_start),
                                  .frame_slots = frame, .map_offset = (uint32_t)map_start,
                                  .map_length = (uint32_t)(l->map.size - map_start)};
    return SBX_OK;
}

sbx_lowerer *sbx_lowerer_new(const sbx_module *module, const sbx_compile_options *options, sbx_error *err)
{
    sbx_lowerer *l = sbx_calloc(1, sizeof *l);
    if (!l) {
        sbx_fail(err, SBX_NO_MEMORY, SBX_NO_OFFSET, "out of memory");
        return NULL;
    }
    l->module = module;
    l->options = options;
    l->err = err;
    return l;
}

void sbx_lowerer_free(sbx_lowerer *l)
{
    if (!l)
        return;
    sbx_free(l->code);
    sbx_free(l->map.bytes);
    sbx_free(l->calls);
    sbx_free(l->local_class);
    sbx_free(l->local_head);
    sbx_free(l->stack);
    sbx_free(l->labels);
    sbx_free(l->stubs);
    sbx_free(l);
}

sbx_status sbx_lowerer_finish(sbx_lowerer *l, const sbx_lowered_function *functions)
{
    for (size_t i = 0; i < l->call_count; i++) {
        const call_site *site = &l->calls[i];
        int32_t distance = (int32_t)((int64_t)functions[site->function].code_offset - site->field);
        memcpy(l->code + site->field, &distance, 4);
    }
    return SBX_OK;
}
