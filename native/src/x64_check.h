/* The checker over emitted machine code: what one function's check keeps (x64_check*.c). */
#ifndef SBX_X64_CHECK_H
#define SBX_X64_CHECK_H
#include "disasm.h"
#include "image.h"
#include "machine.h"
#include "x64_decode.h"

/* How large a register's or slot's value can be; ordered, so that a join takes the larger. */
enum { UP_TO_U32, UP_TO_TWICE_U32, ANY_VALUE };

/* What a register holds beside that. `value` by kind. */
enum {
    HOLDS_NUMBER, HOLDS_CONSTANT /* the number */, HOLDS_SLOT_ADDRESS /* slot */, HOLDS_ENGINE, HOLDS_MEMORY, HOLDS_TABLES,
        HOLDS_TABLE /* index */,
    HOLDS_ELEMENTS /* table */, HOLDS_INDEX /* checked: table */, HOLDS_REFERENCE /* from a table */,
        HOLDS_FUNCTION_OR_OTHER /* not null */,
    HOLDS_FUNCTION /* type index */, HOLDS_FUNCTIONS, HOLDS_TYPE_IDS, HOLDS_TYPE_ID /* type index */, HOLDS_CELLS,
        HOLDS_CELL /* global */,
    HOLDS_JUMP_TABLE, HOLDS_END /* of an access: register << 32 | bytes behind it */,
};

typedef struct x64_fact { uint8_t level, holds; uint64_t value; } x64_fact;

/* All that is known at one place. */
typedef struct x64_state { x64_fact regs[16]; int32_t frame; /* bytes that rbp was moved */ bool reached; } x64_state;

/* The comparison that stands right before a conditional jump. */
enum { COMPARED_NOTHING, COMPARED_INDEX /* size of `table` with `reg` */, COMPARED_INDEX_TURNED, COMPARED_NULL, COMPARED_TYPE,
    COMPARED_END, COMPARED_SIZE,
       COMPARED_REGISTERS };
typedef struct x64_comparison { uint8_t kind, reg; uint64_t value; } x64_comparison;

typedef struct x64_check {
    const sbx_image *image;
    const uint8_t *section;
    const sbx_machine_header *header;
    sbx_error *err;
    uint32_t function;
    const sbx_image_function *record;
    const uint8_t *code;
    uint32_t size, words;      /* of the function; of a slot set */
    uint32_t *marks;           /* by place: 0, STARTS, or LEADS + number of the leader */
    uint32_t leader_count;
    x64_state *states;         /* by leader */
    uint64_t *slots;           /* by leader: which slots hold no more than a u32 */
    x64_state now;
    uint64_t *now_slots;
    bool live, changed;
    uint32_t at, saved_count, area, body; /* the instruction; pushes; bytes for vector registers; the place behind the prologue */
    uint8_t saved[16];
    uint32_t writable;         /* registers that this function may write */
    x64_comparison compared;
    uint32_t extent[16], fixed_extent; /* explicit bounds: bytes behind the register's value, or behind 0,
        that were compared with the memory's size */
} x64_check;

enum { STARTS = 1, LEADS = 2, FUEL_REGISTER = R14 };

sbx_status x64_reject(x64_check *c, const char *why);
sbx_status x64_step(x64_check *c, const x64_instruction *i);
sbx_status x64_flow_to(x64_check *c, int64_t place);
sbx_status x64_check_call(x64_check *c, const x64_instruction *i);
sbx_status x64_check_operand(x64_check *c, const x64_instruction *i, x64_fact *loaded);
sbx_status x64_check_store(x64_check *c, const x64_instruction *i);

#endif
