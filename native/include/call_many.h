/* Many calls of one function in one entry: packed arguments in, packed results out. */
#ifndef SBX_CALL_MANY_H
#define SBX_CALL_MANY_H
#include "call_engine.h"

/* Rows of 8-byte slots, as sbx_call_engine_call takes and gives them. */
typedef struct sbx_call_many {
    sbx_call_engine *engine;
    sbx_function *function;
    sbx_instance *fresh;      /* brought back to what it was when linked before each row but the one it is new for; or NULL */
    const uint8_t *arguments; /* rows * parameters slots */
    uint8_t *results;         /* rows * results slots */
    uint64_t *values;         /* room for one call */
    uint64_t capacity;        /* of values, in slots */
    uint64_t rows, next;      /* how many; the row to go on with, or the one that ended otherwise than with SBX_OK */
    int64_t fuel, used;       /* metered: what each row may use; what those that ended well have used */
    uint8_t metered, dirty;   /* dirty: a row has run in `fresh` since it was new */
} sbx_call_many;

/* Calls row after row, until all have run (SBX_OK) or one ends otherwise: then the status of sbx_call_engine_call, for the caller to
 * serve (and to write that row's results, and to go on with the next one) as after that. A failure of `fresh` itself is told the same
 * way, before the row was begun. */
sbx_status sbx_call_many_run(sbx_call_many *many, sbx_error *err);
#endif
