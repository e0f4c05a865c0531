/* Entry, leave, trap, poll, call and run-time stubs of the compiled tier, emitted at the start of every machine section. */
#include "engine_state.h"
#include "machine.h"
#include "x64.h"

#define E(field) x64_mem(RCX, offsetof(sbx_call_engine, field))
#define I(field) x64_mem(INSTANCE, offsetof(sbx_instance, field))

static const uint8_t native_saved[] = {RBP, RBX, R12, R13, R14, R15};
static const uint8_t pins[] = {R9, R10, R11, R12, R13}; /* and r14, where it is one */
enum { FLOAT_PINS = 7, FIRST_FLOAT_PIN = 8, ALL_FLOATS = 16 };

static void save_floats(x64_buffer *b, uint8_t first, uint8_t n)
{
    x64_alu_constant(b, 5, W, x64_reg(RSP), n * 8);
    for (uint8_t i = 0; i < n; i++)
        x64_store64(b, x64_mem(RSP, i * 8), XMM(first + i));
}

static void restore_floats(x64_buffer *b, uint8_t first, uint8_t n)
{
    for (uint8_t i = 0; i < n; i++)
        x64_load64(b, XMM(first + i), x64_mem(RSP, i * 8));
    x64_alu_constant(b, 0, W, x64_reg(RSP), n * 8);
}

/* All pins, also those that C functions keep: a suspended call comes back through another entry. */
static void save_pins(sbx_x64 *c)
{
    x64_buffer *b = &c->b;
    for (size_t i = 0; i < sizeof pins; i++)
        x64_push(b, pins[i]);
    x64_push(b, c->options->metered ? RCX : R14); /* as many words either way */
    save_floats(b, FIRST_FLOAT_PIN, FLOAT_PINS);
}

static void restore_pins(sbx_x64 *c)
{
    x64_buffer *b = &c->b;
    restore_floats(b, FIRST_FLOAT_PIN, FLOAT_PINS);
    x64_pop(b, c->options->metered ? RCX : R14);
    for (size_t i = sizeof pins; i--;)
        x64_pop(b, pins[i]);
}

/* Every register that an interrupted guest may be using; r14 stays out of it where it counts fuel. */
static bool saved_by_all(const sbx_x64 *c, uint8_t reg)
{
    return reg != RBX && reg != RSP && reg != RBP && reg != MEMORY && !(reg == FUEL && c->options->metered);
}

static void save_all(sbx_x64 *c)
{
    for (uint8_t reg = 0; reg < 16; reg++)
        if (saved_by_all(c, reg))
            x64_push(&c->b, reg);
    save_floats(&c->b, 0, ALL_FLOATS);
}

static void restore_all(sbx_x64 *c)
{
    restore_floats(&c->b, 0, ALL_FLOATS);
    for (uint8_t reg = 16; reg-- > 0;)
        if (saved_by_all(c, reg))
            x64_pop(&c->b, reg);
    x64_byte(&c->b, 0xC3);
}

static void load_engine(x64_buffer *b) { x64_load64(b, RCX, I(engine)); }
static void store32(x64_buffer *b, x64_rm to, uint32_t value) { x64_op(b, 0xC7, 0, 0, to); x64_u32(b, value); }
static void jump_to(x64_buffer *b, size_t target) { x64_patch(b, x64_jmp(b, 0), target); }

/* With the status in eax and the engine in rcx: back to C. */
static void emit_leave(sbx_x64 *c)
{
    x64_buffer *b = &c->b;
    c->stubs.leave = b->size;
    x64_op(b, 0x89, 0, RAX, E(status));
    x64_store64(b, E(guest_sp), RSP);
    x64_store64(b, E(fp), RBP);
    x64_store64(b, E(instance), RBX);
    if (c->options->metered)
        x64_store64(b, E(fuel), FUEL);
    x64_load64(b, RSP, E(native_sp));
    x64_alu_constant(b, 0, W, x64_reg(RSP), 8);
    for (size_t i = sizeof native_saved; i--;)
        x64_pop(b, native_saved[i]);
    x64_byte(b, 0xC3);
}

static void leave_with(sbx_x64 *c, uint32_t status, uint32_t resume)
{
    if (resume)
        store32(&c->b, E(resume), resume);
    x64_move_constant(&c->b, RAX, status);
    jump_to(&c->b, c->stubs.leave);
}

/* void enter(sbx_call_engine *engine, const void *target): calls the target on the guest's stack, or resumes where `resume` says. */
static void emit_enter(sbx_x64 *c, sbx_machine_header *header, size_t resumes[SBX_RESUME_COUNT])
{
    x64_buffer *b = &c->b;
    header->enter = (uint32_t)b->size;
    for (size_t i = 0; i < sizeof native_saved; i++)
        x64_push(b, native_saved[i]);
    x64_alu_constant(b, 5, W, x64_reg(RSP), 8);
    x64_move(b, RCX, RDI);
    x64_store64(b, E(native_sp), RSP);
    x64_load64(b, INSTANCE, E(instance));
    x64_load64(b, FRAME, E(fp));
    x64_load64(b, MEMORY, E(mem));
    if (c->options->metered)
        x64_load64(b, FUEL, E(fuel));
    x64_load64(b, RSP, E(guest_sp));
    x64_op(b, 0x8B, 0, RAX, E(resume));
    store32(b, E(resume), 0);
    for (uint32_t kind = 1; kind < SBX_RESUME_COUNT; kind++) {
        x64_alu_constant(b, 7, 0, x64_reg(RAX), (int32_t)kind);
        resumes[kind] = x64_jcc(b, CC_E, 0);
    }
    x64_op(b, 0xFF, 0, 2, x64_reg(RSI));
    header->finished = (uint32_t)b->size;
    load_engine(b);
    x64_store64(b, E(acc), RAX);
    x64_store64(b, E(dacc), XMM(0));
    x64_move_constant(b, RAX, SBX_OK);
    emit_leave(c);
}

/* With the cause in eax; the return address names the site. */
static void emit_trap(sbx_x64 *c, sbx_machine_header *header)
{
    header->trap = (uint32_t)c->b.size;
    c->stubs.trap = c->b.size;
    load_engine(&c->b);
    x64_op(&c->b, 0x89, 0, RAX, E(trap));
    leave_with(c, SBX_TRAP, 0);
}

/* The check against the limit failed: an interrupt, or no room on a stack. */
static void emit_poll(sbx_x64 *c)
{
    x64_buffer *b = &c->b;
    c->stubs.poll = b->size;
    load_engine(b);
    x64_alu_constant(b, 7, 0, E(interrupt), 0);
    size_t interrupted = x64_jcc(b, CC_NE, 0);
    store32(b, E(trap), SBX_TRAP_STACK);
    leave_with(c, SBX_STACK_EXHAUSTED, 0);
    x64_patch(b, interrupted, b->size);
    save_all(c);
    load_engine(b);
    leave_with(c, SBX_INTERRUPTED, SBX_RESUME_ALL);
}

static void emit_fuel(sbx_x64 *c)
{
    c->stubs.fuel = c->b.size;
    save_all(c);
    load_engine(&c->b);
    leave_with(c, SBX_OUT_OF_FUEL, SBX_RESUME_ALL);
}

static void reload_memory(x64_buffer *b)
{
    x64_load64(b, RDX, I(memory0));
    x64_op(b, 0x85, W, RDX, x64_reg(RDX));
    size_t none = x64_jcc(b, CC_E, 0);
    x64_load64(b, MEMORY, x64_mem(RDX, offsetof(sbx_memory, base)));
    x64_patch(b, none, b->size);
}

/* To C on the native stack, with what C must know of the guest; rdi, rsi … are set. Result in eax. */
static void call_c(sbx_x64 *c)
{
    x64_buffer *b = &c->b;
    x64_store64(b, E(guest_sp), RSP);
    x64_store64(b, E(fp), RBP);
    x64_store64(b, E(instance), RBX);
    if (c->options->metered)
        x64_store64(b, E(fuel), FUEL);
    x64_load64(b, RSP, E(native_sp));
}

static void back_from_c(sbx_x64 *c)
{
    load_engine(&c->b);
    x64_load64(&c->b, RSP, E(guest_sp));
    if (c->options->metered)
        x64_load64(&c->b, FUEL, E(fuel));
    x64_op(&c->b, 0x85, 0, RAX, x64_reg(RAX));
}

/* With an sbx_function in rax and its values at rbp: functions of other instances, in C, of the embedder. */
static void emit_call(sbx_x64 *c, sbx_machine_header *header, const size_t resumes[SBX_RESUME_COUNT])
{
    x64_buffer *b = &c->b;
    c->stubs.call = b->size;
    x64_alu_constant(b, 7, 0, x64_mem(RAX, offsetof(sbx_function, kind)), SBX_FUNCTION_WASM);
    size_t native = x64_jcc(b, CC_NE, 0);
    x64_push(b, INSTANCE);
    load_engine(b);
    x64_load64(b, INSTANCE, x64_mem(RAX, offsetof(sbx_function, instance)));
    x64_store64(b, I(engine), RCX);
    reload_memory(b);
    x64_op(b, 0xFF, 0, 2, x64_mem(RAX, offsetof(sbx_function, machine)));
    header->cross = (uint32_t)b->size;
    x64_pop(b, INSTANCE);
    reload_memory(b);
    x64_byte(b, 0xC3);

    x64_patch(b, native, b->size);
    save_pins(c);
    load_engine(b);
    x64_store64(b, E(callee), RAX);
    x64_store64(b, E(callee_fp), RBP);
    call_c(c);
    x64_move(b, RDI, RCX);
    x64_op(b, 0xFF, 0, 2, E(host_entry));
    back_from_c(c);
    size_t leave = x64_jcc(b, CC_NE, 0);
    size_t answered = b->size;
    x64_patch(b, resumes[SBX_RESUME_HOST], answered);
    x64_load64(b, RAX, x64_mem(FRAME, 0));
    x64_load64(b, XMM(0), x64_mem(FRAME, 0));
    restore_pins(c);
    x64_byte(b, 0xC3);
    x64_patch(b, leave, b->size);
    store32(b, E(resume), SBX_RESUME_HOST);
    jump_to(b, c->stubs.leave);
}

/* Operation in eax, values at rdi, immediates in edx and esi: sbx_machine_runtime does it. */
static void emit_runtime(sbx_x64 *c, const size_t resumes[SBX_RESUME_COUNT])
{
    static const uint8_t operands[] = {RAX, RDI, RDX, RSI};
    x64_buffer *b = &c->b;
    x64_patch(b, resumes[SBX_RESUME_RUNTIME], b->size);
    for (size_t i = sizeof operands; i--;)
        x64_pop(b, operands[i]);
    restore_pins(c);
    c->stubs.runtime = b->size;
    save_pins(c);
    for (size_t i = 0; i < sizeof operands; i++)
        x64_push(b, operands[i]);
    load_engine(b);
    call_c(c);
    x64_move(b, R8, RDX);
    x64_move(b, R9, RSI);
    x64_move(b, RDX, RAX);
    x64_move(b, RAX, RCX);
    x64_move(b, RCX, RDI);
    x64_move(b, RDI, RAX);
    x64_move(b, RSI, INSTANCE);
    x64_op(b, 0xFF, 0, 2, x64_mem(RDI, offsetof(sbx_call_engine, runtime_entry)));
    back_from_c(c);
    size_t failed = x64_jcc(b, CC_NE, 0);
    x64_alu_constant(b, 0, W, x64_reg(RSP), sizeof operands * 8);
    restore_pins(c);
    x64_byte(b, 0xC3);
    x64_patch(b, failed, b->size);
    x64_alu_constant(b, 7, 0, x64_reg(RAX), SBX_RUNTIME_OUT_OF_FUEL);
    size_t paid = x64_jcc(b, CC_NE, 0);
    leave_with(c, SBX_OUT_OF_FUEL, SBX_RESUME_RUNTIME);
    x64_patch(b, paid, b->size);
    x64_alu_constant(b, 7, 0, x64_reg(RAX), SBX_BULK_INTERRUPTED);
    size_t trapped = x64_jcc(b, CC_NE, 0);
    leave_with(c, SBX_INTERRUPTED, SBX_RESUME_RUNTIME);
    x64_patch(b, trapped, b->size);
    x64_alu_constant(b, 0, W, x64_reg(RSP), sizeof operands * 8 + SBX_PINS_BYTES);
    jump_to(b, c->stubs.trap);
}

/* The header, then the stubs; padded so that code begins aligned. */
void sbx_x64_stubs(sbx_x64 *c)
{
    sbx_machine_header header = {0};
    size_t resumes[SBX_RESUME_COUNT];
    x64_bytes(&c->b, &header, sizeof header);
    emit_enter(c, &header, resumes);
    emit_trap(c, &header);
    emit_poll(c);
    emit_fuel(c);
    x64_patch(&c->b, resumes[SBX_RESUME_ALL], c->b.size);
    restore_all(c);
    emit_call(c, &header, resumes);
    emit_runtime(c, resumes);
    header.all_bytes = ALL_FLOATS * 8 + 8 * (c->options->metered ? 11 : 12);
    header.poll = (uint32_t)c->stubs.poll;
    header.fuel = (uint32_t)c->stubs.fuel;
    header.call = (uint32_t)c->stubs.call;
    header.runtime = (uint32_t)c->stubs.runtime;
    header.stubs_end = (uint32_t)c->b.size;
    if (!c->b.failed)
        memcpy(c->b.bytes, &header, sizeof header);
}
