/* The host's errno in the numbers of WASI: the only place that knows both. */
#include "wasi_internal.h"
#include <errno.h>

#define SAME(name) {E##name, SBX_WASI_##name}
static const struct { int host; uint8_t guest; } pairs[] = {
    SAME(2BIG), SAME(ACCES), SAME(AGAIN), SAME(BADF), SAME(BUSY), SAME(DEADLK), SAME(DQUOT), SAME(EXIST),
    SAME(FAULT), SAME(FBIG), SAME(ILSEQ), SAME(INTR), SAME(INVAL), SAME(IO), SAME(ISDIR), SAME(LOOP),
    SAME(MFILE), SAME(MLINK), SAME(NAMETOOLONG), SAME(NFILE), SAME(NODEV), SAME(NOENT), SAME(NOMEM),
    SAME(NOSPC), SAME(NOSYS), SAME(NOTDIR), SAME(NOTEMPTY), SAME(NOTTY), SAME(NXIO), SAME(OVERFLOW),
    SAME(PERM), SAME(PIPE), SAME(RANGE), SAME(ROFS), SAME(SPIPE), SAME(STALE), SAME(TIMEDOUT), SAME(TXTBSY),
    SAME(XDEV),
    {EOPNOTSUPP, SBX_WASI_NOTSUP},
};

sbx_wasi_result sbx_wasi_errno(int host_errno)
{
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        if (pairs[i].host == host_errno)
            return pairs[i].guest;
    return SBX_WASI_IO;
}
