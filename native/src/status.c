/* Texts of outcome codes and trap causes, and the error record. */
#include <stdio.h>
#include <string.h>

#include "status.h"

static const char *const status_texts[SBX_STATUS_COUNT] = {
#define X(name, text) text,
    SBX_STATUS_LIST(X)
#undef X
};

static const char *const trap_messages[SBX_TRAP_COUNT] = {
#define X(name, text) text,
    SBX_TRAP_LIST(X)
#undef X
};

const char *sbx_status_text(uint32_t status)
{
    return status < SBX_STATUS_COUNT ? status_texts[status] : "unknown status";
}

const char *sbx_trap_message(uint32_t trap)
{
    return trap < SBX_TRAP_COUNT ? trap_messages[trap] : "unknown trap";
}

void sbx_error_clear(sbx_error *err)
{
    memset(err, 0, sizeof *err);
    err->offset = SBX_NO_OFFSET;
}

sbx_status sbx_fail(sbx_error *err, sbx_status status, uint64_t offset, const char *format, ...)
{
    if (!err || err->status != SBX_OK)
        return status;
    err->status = status;
    err->trap = SBX_TRAP_NONE;
    err->offset = offset;
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(err->message, sizeof err->message, format, arguments);
    va_end(arguments);
    if (length < 0)
        err->message[0] = 0;
    /* Whatever a caller forgot to escape: the record crosses process borders and ends on terminals. */
    for (char *c = err->message; *c; c++)
        if (*c < 0x20 || *c > 0x7E)
            *c = '?';
    return status;
}

const char *sbx_printable(char *out, size_t cap, const uint8_t *text, size_t length)
{
    static const char digits[] = "0123456789abcdef";
    size_t used = 0;
    if (!cap)
        return out;
    for (size_t i = 0; i < length; i++) {
        uint8_t c = text[i];
        bool plain = c >= 0x20 && c <= 0x7E && c != '\\';
        if (used + (plain ? 1 : 3) >= cap)
            break;
        if (plain) {
            out[used++] = (char)c;
        } else {
            out[used++] = '\\';
            out[used++] = digits[c >> 4];
            out[used++] = digits[c & 15];
        }
    }
    out[used] = 0;
    return out;
}
