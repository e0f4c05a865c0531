/* Many calls of one function: the loop that would otherwise run in the embedder, one crossing a row. */
#include "call_many.h"
#include <string.h>
#include "fresh.h"

/* As new for the next row; a grow that an earlier row was refused is forgotten. */
static sbx_status begin_row(sbx_call_many *many, sbx_error *err)
{
    if (many->fresh && many->dirty) {
        sbx_status status = sbx_fresh_end(many->fresh);
        if (status)
            return sbx_fail(err, status, SBX_NO_OFFSET, "the instance cannot be made as new");
        many->dirty = 0;
        status = sbx_fresh_begin(many->fresh, err);
        if (status)
            return status;
    }
    sbx_instance *instance = many->function->instance;
    for (uint32_t i = 0; instance && i < instance->memory_count; i++)
        instance->memories[i]->grow_refused = 0;
    return SBX_OK;
}

sbx_status sbx_call_many_run(sbx_call_many *many, sbx_error *err)
{
    const sbx_functype *type = many->function->type;
    size_t in = type->params * sizeof *many->values, out = type->results * sizeof *many->values;
    if (type->params > many->capacity || type->results > many->capacity)
        return sbx_fail(err, SBX_USAGE, SBX_NO_OFFSET, "%u values do not fit", type->params > type->results ? type->params : type->results);
    for (; many->next < many->rows; many->next++) {
        sbx_status status = begin_row(many, err);
        if (status)
            return status;
        if (in)
            memcpy(many->values, many->arguments + many->next * in, in);
        if (many->metered)
            sbx_call_engine_set_fuel(many->engine, many->fuel);
        many->dirty = 1;
        status = sbx_call_engine_call(many->engine, many->function, many->values, many->capacity, err);
        if (status)
            return status;
        if (many->metered)
            many->used += many->fuel - sbx_call_engine_fuel(many->engine);
        if (out)
            memcpy(many->results + many->next * out, many->values, out);
    }
    return SBX_OK;
}
