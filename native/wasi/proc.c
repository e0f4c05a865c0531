/* proc_exit, proc_raise. */
#include "wasi_internal.h"

sbx_wasi_result sbx_wasi_proc_exit(sbx_wasi_call *call)
{
    sbx_call_engine_set_exit(call->engine, sbx_wasi_u32(call, 0));
    return SBX_WASI_EXITED;
}

/* A guest has no signals; it ends itself with proc_exit or a trap. */
sbx_wasi_result sbx_wasi_proc_raise(sbx_wasi_call *call)
{
    (void)call;
    return SBX_WASI_NOTSUP;
}
