/* Paths of the guest, confined: everything before the last component is resolved by the kernel beneath the directory, in one step
 * that no concurrent rename can get between (openat2 with RESOLVE_BENEATH and RESOLVE_NO_MAGICLINKS), and the last component
 * either the same way or by a call that does not follow it. */
#include "wasi_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { ATTEMPTS = 1000, NAME_BYTES = 255 };

sbx_wasi_result sbx_wasi_resolve(sbx_wasi_call *call, int directory, const char *path, int flags, mode_t mode, int *out)
{
    if (*path == '/')
        return SBX_WASI_NOTCAPABLE;
    /* EAGAIN: somebody renamed while ".." was resolved, so the kernel could not tell whether it stayed beneath. */
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        *out = sbx_os_open_beneath(directory, path, flags | O_CLOEXEC, mode);
        if (*out >= 0)
            return SBX_WASI_SUCCESS;
        if (errno == EXDEV)
            return SBX_WASI_NOTCAPABLE; /* it leaves the directory */
        if (errno != EAGAIN && errno != EINTR)
            return sbx_wasi_errno(errno);
        if (sbx_call_engine_interrupted(call->engine))
            return SBX_WASI_INTERRUPTED;
    }
    return SBX_WASI_AGAIN;
}

sbx_wasi_result sbx_wasi_resolve_parent(sbx_wasi_call *call, int directory, const char *path, sbx_wasi_result dots,
                                        sbx_wasi_parent *out)
{
    if (*path == '/')
        return SBX_WASI_NOTCAPABLE;
    size_t length = strlen(path), end = length;
    while (path[end - 1] == '/') /* path[0] is none, so it ends */
        end--;
    size_t start = end;
    while (start && path[start - 1] != '/')
        start--;
    if (end - start > NAME_BYTES)
        return SBX_WASI_NAMETOOLONG;
    memcpy(out->name, path + start, end - start);
    out->name[end - start] = 0;
    bool is_dots = strcmp(out->name, ".") == 0 || strcmp(out->name, "..") == 0;
    if (end < length)
        strcpy(out->name + (end - start),
               "/"); /* only a directory may be meant: the kernel checks that, and follows nothing for it */
    out->fd = directory;
    out->owned = start > 0;
    if (start) {
        char before[SBX_WASI_PATH_SIZE];
        memcpy(before, path, start);
        before[start] = 0;
        sbx_wasi_result result = sbx_wasi_resolve(call, directory, before, O_PATH | O_DIRECTORY, 0, &out->fd);
        if (result)
            return result;
    }
    if (is_dots)
        sbx_wasi_parent_release(out);
    return is_dots ? dots : SBX_WASI_SUCCESS;
}

void sbx_wasi_parent_release(sbx_wasi_parent *parent)
{
    if (parent->owned)
        close(parent->fd);
    parent->owned = false;
}

/* Follows `path` in words: how deep below the directory it ends, -1 as soon as it is above. Each component counts 1, ".." counts
 * -1. */
static int depth_after(const char *path, size_t length, int depth)
{
    for (size_t at = 0; at < length && depth >= 0;) {
        size_t end = at;
        while (end < length && path[end] != '/')
            end++;
        size_t size = end - at;
        if (size == 2 && path[at] == '.' && path[at + 1] == '.')
            depth--;
        else if (size && !(size == 1 && path[at] == '.'))
            depth++;
        at = end + 1;
    }
    return depth;
}

bool sbx_wasi_target_escapes(const char *link, const char *target)
{
    size_t end = strlen(link);
    while (end && link[end - 1] == '/')
        end--;
    while (end && link[end - 1] != '/')
        end--;
    int depth = depth_after(link, end, 0);
    return *target == '/' || depth < 0 || depth_after(target, strlen(target), depth) < 0;
}
