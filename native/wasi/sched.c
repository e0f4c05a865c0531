/* sched_yield. */
#include "wasi_internal.h"
#include <sched.h>

sbx_wasi_result sbx_wasi_sched_yield(sbx_wasi_call *call)
{
    (void)call;
    sched_yield();
    return SBX_WASI_SUCCESS;
}
