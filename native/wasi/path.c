/* The path_* functions but path_open: everything that names a file without opening it for the guest. */
#include "wasi_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LOOKUP_SYMLINK_FOLLOW = 1 };

static sbx_wasi_result outcome(int result) { return result < 0 ? sbx_wasi_errno(errno) : SBX_WASI_SUCCESS; }

/* Arguments at `first`: fd, [flags,] address and length of the path. Rights first, then the path's text. */
static sbx_wasi_result directory_and_path(sbx_wasi_call *call, unsigned fd, unsigned path, uint64_t rights, int *host_fd,
                                          char text[SBX_WASI_PATH_SIZE])
{
    sbx_wasi_descriptor *directory;
    sbx_wasi_result result = sbx_wasi_directory_get(call, sbx_wasi_u32(call, fd), rights, &directory);
    if (result)
        return result;
    *host_fd = directory->host_fd;
    return sbx_wasi_read_path(call, sbx_wasi_u32(call, path), sbx_wasi_u32(call, path + 1), text);
}

/* The same, resolved to the directory that holds the last component. */
static sbx_wasi_result parent_get(sbx_wasi_call *call, unsigned fd, unsigned path, uint64_t rights, sbx_wasi_result dots,
                                  sbx_wasi_parent *parent)
{
    char text[SBX_WASI_PATH_SIZE];
    int host_fd;
    sbx_wasi_result result = directory_and_path(call, fd, path, rights, &host_fd, text);
    return result ? result : sbx_wasi_resolve_parent(call, host_fd, text, dots, parent);
}

/* The same, resolved to the file itself: an O_PATH descriptor, of the link where links are not followed. */
static sbx_wasi_result file_get(sbx_wasi_call *call, unsigned fd, unsigned path, uint64_t rights, uint32_t lookup, int *file)
{
    char text[SBX_WASI_PATH_SIZE];
    int host_fd;
    sbx_wasi_result result = directory_and_path(call, fd, path, rights, &host_fd, text);
    if (result)
        return result;
    if (lookup & ~(uint32_t)LOOKUP_SYMLINK_FOLLOW)
        return SBX_WASI_INVAL;
    return sbx_wasi_resolve(call, host_fd, text, O_PATH | (lookup & LOOKUP_SYMLINK_FOLLOW ? 0 : O_NOFOLLOW), 0, file);
}

/* Arguments: fd, path. */
sbx_wasi_result sbx_wasi_path_create_directory(sbx_wasi_call *call)
{
    sbx_wasi_parent parent;
    sbx_wasi_result result = parent_get(call, 0, 1, SBX_WASI_BIT(PATH_CREATE_DIRECTORY), SBX_WASI_EXIST, &parent);
    if (result)
        return result;
    result = outcome(mkdirat(parent.fd, parent.name, 0777));
    sbx_wasi_parent_release(&parent);
    return result;
}

/* Arguments: fd, lookup flags, path, result. */
sbx_wasi_result sbx_wasi_path_filestat_get(sbx_wasi_call *call)
{
    int file;
    sbx_wasi_result result = file_get(call, 0, 2, SBX_WASI_BIT(PATH_FILESTAT_GET), sbx_wasi_u32(call, 1), &file);
    if (result)
        return result;
    struct stat st;
    uint8_t *at = sbx_wasi_guest(call, sbx_wasi_u32(call, 4), sbx_wasi_filestat_size(call));
    result = at ? outcome(sbx_process_fstat(file, &st)) : SBX_WASI_FAULT;
    if (!result)
        sbx_wasi_write_filestat(call, at, &st, sbx_wasi_filetype_of(st.st_mode));
    close(file);
    return result;
}

/* Arguments: fd, lookup flags, path, atim, mtim, fst_flags. */
sbx_wasi_result sbx_wasi_path_filestat_set_times(sbx_wasi_call *call)
{
    int file;
    struct timespec times[2];
    sbx_wasi_result result = file_get(call, 0, 2, SBX_WASI_BIT(PATH_FILESTAT_SET_TIMES), sbx_wasi_u32(call, 1), &file);
    if (result)
        return result;
    result = sbx_wasi_set_times(call->wasi, call->args[4], call->args[5], sbx_wasi_u32(call, 6), times);
#ifdef AT_EMPTY_PATH
    if (!result)
        result = outcome(utimensat(file, "", times, AT_EMPTY_PATH));
#else
    if (!result)
        result = SBX_WASI_NOTSUP;
#endif
    close(file);
    return result;
}

/* Arguments: old fd, lookup flags, old path, new fd, new path. A link to what a link points at is refused: linkat would resolve
 * it without the confinement. */
sbx_wasi_result sbx_wasi_path_link(sbx_wasi_call *call)
{
    sbx_wasi_parent from, to;
    sbx_wasi_result result = parent_get(call, 0, 2, SBX_WASI_BIT(PATH_LINK_SOURCE), SBX_WASI_PERM, &from);
    if (result)
        return result;
    result = sbx_wasi_u32(call, 1) ? SBX_WASI_INVAL : parent_get(call, 4, 5, SBX_WASI_BIT(PATH_LINK_TARGET), SBX_WASI_EXIST, &to);
    if (!result) {
        char *slash = strchr(from.name, '/');
        struct stat st;
        if (slash) { /* linkat would follow a link that ends in "/"; a directory has no hard links anyway */
            *slash = 0;
            result = outcome(fstatat(from.fd, from.name, &st, AT_SYMLINK_NOFOLLOW));
            result = result ? result : S_ISDIR(st.st_mode) ? SBX_WASI_PERM : SBX_WASI_NOTDIR;
        } else {
            result = outcome(linkat(from.fd, from.name, to.fd, to.name, 0));
        }
        sbx_wasi_parent_release(&to);
    }
    sbx_wasi_parent_release(&from);
    return result;
}

/* Arguments: fd, path, buffer, its length, where the count of bytes goes. What does not fit is cut, as in POSIX. An absolute text
 * is not told: it speaks of the host and leads nowhere for the guest. */
sbx_wasi_result sbx_wasi_path_readlink(sbx_wasi_call *call)
{
    uint32_t length = sbx_wasi_u32(call, 4);
    int file;
    sbx_wasi_result result = file_get(call, 0, 1, SBX_WASI_BIT(PATH_READLINK), 0, &file);
    if (result)
        return result;
    struct stat st;
    char text[PATH_MAX];
    ssize_t size = -1;
    uint8_t *buffer = sbx_wasi_guest(call, sbx_wasi_u32(call, 3), length),
            *count = sbx_wasi_guest(call, sbx_wasi_u32(call, 5), 4);
    if (!buffer || !count)
        result = SBX_WASI_FAULT;
    else if (sbx_process_fstat(file, &st) == 0 && !S_ISLNK(st.st_mode))
        result = SBX_WASI_INVAL;
    else if ((size = readlinkat(file, "", text, sizeof text)) < 0)
        result = sbx_wasi_errno(errno);
    else if (size && text[0] == '/')
        result = SBX_WASI_NOTCAPABLE;
    close(file);
    if (result)
        return result;
    length = (uint32_t)size < length ? (uint32_t)size : length;
    memcpy(buffer, text, length);
    sbx_wasi_store32(count, length);
    return SBX_WASI_SUCCESS;
}

static sbx_wasi_result unlink_with(sbx_wasi_call *call, uint64_t right, int flags, sbx_wasi_result dots)
{
    sbx_wasi_parent parent;
    sbx_wasi_result result = parent_get(call, 0, 1, right, dots, &parent);
    if (result)
        return result;
    result = outcome(unlinkat(parent.fd, parent.name, flags));
    sbx_wasi_parent_release(&parent);
    return result;
}

/* Arguments: fd, path. */
sbx_wasi_result sbx_wasi_path_remove_directory(sbx_wasi_call *call)
{
    return unlink_with(call, SBX_WASI_BIT(PATH_REMOVE_DIRECTORY), AT_REMOVEDIR, SBX_WASI_INVAL);
}

/* Arguments: fd, path. */
sbx_wasi_result sbx_wasi_path_unlink_file(sbx_wasi_call *call)
{
    return unlink_with(call, SBX_WASI_BIT(PATH_UNLINK_FILE), 0, SBX_WASI_ISDIR);
}

/* Arguments: old fd, old path, new fd, new path. */
sbx_wasi_result sbx_wasi_path_rename(sbx_wasi_call *call)
{
    sbx_wasi_parent from, to;
    sbx_wasi_result result = parent_get(call, 0, 1, SBX_WASI_BIT(PATH_RENAME_SOURCE), SBX_WASI_BUSY, &from);
    if (result)
        return result;
    result = parent_get(call, 3, 4, SBX_WASI_BIT(PATH_RENAME_TARGET), SBX_WASI_BUSY, &to);
    if (!result) {
        result = outcome(renameat(from.fd, from.name, to.fd, to.name));
        sbx_wasi_parent_release(&to);
    }
    sbx_wasi_parent_release(&from);
    return result;
}

/* Arguments: text, fd, new path. A text that is absolute or leads above fd is refused, so that the application does not trip over
 * it outside; links that later become such (their directory is moved) stay harmless to the guest, which never gets out through
 * any link. */
sbx_wasi_result sbx_wasi_path_symlink(sbx_wasi_call *call)
{
    char target[SBX_WASI_PATH_SIZE], path[SBX_WASI_PATH_SIZE];
    int host_fd;
    sbx_wasi_result result = directory_and_path(call, 2, 3, SBX_WASI_BIT(PATH_SYMLINK), &host_fd, path);
    if (!result)
        result = sbx_wasi_read_path(call, sbx_wasi_u32(call, 0), sbx_wasi_u32(call, 1), target);
    if (result)
        return result;
    if (sbx_wasi_target_escapes(path, target))
        return SBX_WASI_NOTCAPABLE;
    sbx_wasi_parent parent;
    result = sbx_wasi_resolve_parent(call, host_fd, path, SBX_WASI_EXIST, &parent);
    if (result)
        return result;
    result = outcome(symlinkat(target, parent.fd, parent.name));
    sbx_wasi_parent_release(&parent);
    return result;
}
