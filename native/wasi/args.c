/* args_get, args_sizes_get, and the lists of strings that arguments and variables are kept in. */
#include "wasi_internal.h"
#include <string.h>

#define MAX_STRING_BYTES (64u << 20) /* arguments and variables together */

sbx_status sbx_wasi_strings_add(sbx_wasi_strings *strings, const sbx_wasi_strings *other, const uint8_t *bytes, size_t length,
                                sbx_error *err)
{
    if (length && memchr(bytes, 0, length))
        return sbx_fail(err, SBX_USAGE, SBX_NO_OFFSET, "NUL in an argument or environment variable");
    size_t used = strings->length + other->length;
    if (length >= MAX_STRING_BYTES - used)
        return sbx_fail(err, SBX_USAGE, SBX_NO_OFFSET, "arguments and environment exceed %u bytes", MAX_STRING_BYTES);
    size_t needed = strings->length + length + 1;
    if (needed > strings->capacity) {
        size_t capacity = needed < 256 ? 256 : needed * 2;
        uint8_t *grown = sbx_realloc(strings->bytes, capacity);
        if (!grown)
            return sbx_fail(err, SBX_NO_MEMORY, SBX_NO_OFFSET, "out of memory for arguments and environment");
        strings->bytes = grown;
        strings->capacity = capacity;
    }
    if (length)
        memcpy(strings->bytes + strings->length, bytes, length);
    strings->bytes[needed - 1] = 0;
    strings->length = needed;
    strings->count++;
    return SBX_OK;
}

/* Arguments: array of pointers, buffer of bytes. */
sbx_wasi_result sbx_wasi_strings_get(sbx_wasi_call *call, const sbx_wasi_strings *strings)
{
    uint32_t buffer_address = sbx_wasi_u32(call, 1);
    uint8_t *pointers = sbx_wasi_guest(call, sbx_wasi_u32(call, 0), (uint64_t)strings->count * 4);
    uint8_t *buffer = sbx_wasi_guest(call, buffer_address, strings->length);
    if (!pointers || !buffer)
        return SBX_WASI_FAULT;
    size_t at = 0;
    for (uint32_t i = 0; i < strings->count; i++) {
        sbx_wasi_store32(pointers + (size_t)i * 4, buffer_address + (uint32_t)at);
        at += strlen((const char *)strings->bytes + at) + 1;
    }
    if (strings->length)
        memcpy(buffer, strings->bytes, strings->length);
    return SBX_WASI_SUCCESS;
}

/* Arguments: where the count goes, where the size of the buffer goes. */
sbx_wasi_result sbx_wasi_strings_sizes(sbx_wasi_call *call, const sbx_wasi_strings *strings)
{
    uint8_t *count = sbx_wasi_guest(call, sbx_wasi_u32(call, 0), 4), *size = sbx_wasi_guest(call, sbx_wasi_u32(call, 1), 4);
    if (!count || !size)
        return SBX_WASI_FAULT;
    sbx_wasi_store32(count, strings->count);
    sbx_wasi_store32(size, (uint32_t)strings->length);
    return SBX_WASI_SUCCESS;
}

sbx_status sbx_wasi_add_arg(sbx_wasi *wasi, const uint8_t *bytes, size_t length, sbx_error *err)
{
    return sbx_wasi_strings_add(&wasi->args, &wasi->env, bytes, length, err);
}

sbx_wasi_result sbx_wasi_args_get(sbx_wasi_call *call) { return sbx_wasi_strings_get(call, &call->wasi->args); }
sbx_wasi_result sbx_wasi_args_sizes_get(sbx_wasi_call *call) { return sbx_wasi_strings_sizes(call, &call->wasi->args); }
