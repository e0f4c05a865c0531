/* environ_get, environ_sizes_get. */
#include "wasi_internal.h"
#include <string.h>

sbx_status sbx_wasi_add_env(sbx_wasi *wasi, const uint8_t *bytes, size_t length, sbx_error *err)
{
    const uint8_t *equals = length ? memchr(bytes, '=', length) : NULL;
    if (!equals || equals == bytes)
        return sbx_fail(err, SBX_USAGE, SBX_NO_OFFSET, "an environment variable must be KEY=VALUE");
    return sbx_wasi_strings_add(&wasi->env, &wasi->args, bytes, length, err);
}

sbx_wasi_result sbx_wasi_environ_get(sbx_wasi_call *call) { return sbx_wasi_strings_get(call, &call->wasi->env); }
sbx_wasi_result sbx_wasi_environ_sizes_get(sbx_wasi_call *call) { return sbx_wasi_strings_sizes(call, &call->wasi->env); }
