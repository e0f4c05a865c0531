/* Attributes of open descriptors: fd_advise, fd_allocate, fd_datasync, fd_sync, fd_fdstat_*, fd_filestat_*. fd_close and
 * fd_renumber are in fd_table.c, data in fd_io.c, directories in fd_dir.c. */
#include "wasi_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static sbx_wasi_result outcome(int result) { return result < 0 ? sbx_wasi_errno(errno) : SBX_WASI_SUCCESS; }

/* The descriptor of a regular file with these rights: badf for a directory, spipe for what has no positions. */
static sbx_wasi_result file_get(sbx_wasi_call *call, uint64_t rights, sbx_wasi_descriptor **out)
{
    sbx_wasi_result result = sbx_wasi_descriptor_get(call, sbx_wasi_u32(call, 0), 0, out);
    if (result)
        return result;
    if ((*out)->kind == SBX_WASI_DIRECTORY)
        return SBX_WASI_BADF;
    if ((*out)->kind != SBX_WASI_FILE)
        return SBX_WASI_SPIPE;
    return ((*out)->rights & rights) == rights ? SBX_WASI_SUCCESS : SBX_WASI_NOTCAPABLE;
}

/* Arguments: fd, offset, length (0: to the end), advice. */
sbx_wasi_result sbx_wasi_fd_advise(sbx_wasi_call *call)
{
    static const int advices[] = {POSIX_FADV_NORMAL,   POSIX_FADV_SEQUENTIAL, POSIX_FADV_RANDOM,
                                  POSIX_FADV_WILLNEED, POSIX_FADV_DONTNEED,   POSIX_FADV_NOREUSE};
    sbx_wasi_descriptor *descriptor;
    sbx_wasi_result result = file_get(call, SBX_WASI_BIT(FD_ADVISE), &descriptor);
    if (result)
        return result;
    uint64_t offset = call->args[1], length = call->args[2];
    uint32_t advice = sbx_wasi_u32(call, 3);
    if (advice >= sizeof advices / sizeof *advices || offset > INT64_MAX || length > INT64_MAX - offset)
        return SBX_WASI_INVAL;
    int error = posix_fadvise(descriptor->host_fd, (off_t)offset, (off_t)length, advices[advice]);
    return error ? sbx_wasi_errno(error) : SBX_WASI_SUCCESS;
}

/* Arguments: fd, offset, length. */
sbx_wasi_result sbx_wasi_fd_allocate(sbx_wasi_call *call)
{
    sbx_wasi_descriptor *descriptor;
    sbx_wasi_result result = file_get(call, SBX_WASI_BIT(FD_ALLOCATE), &descriptor);
    if (result)
        return result;
    uint64_t offset = call->args[1], length = call->args[2];
    if (!length || offset > INT64_MAX)
        return SBX_WASI_INVAL;
    if (length > INT64_MAX - offset)
        return SBX_WASI_FBIG;
    return outcome(sbx_os_allocate(descriptor->host_fd, offset, length));
}

/* Directories too; what has nothing to write out answers inval, as fsync does. */
static sbx_wasi_result sync_get(sbx_wasi_call *call, uint64_t right, sbx_wasi_descriptor **out)
{
    sbx_wasi_result result = sbx_wasi_descriptor_get(call, sbx_wasi_u32(call, 0), 0, out);
    if (result)
        return result;
    if ((*out)->kind != SBX_WASI_FILE && (*out)->kind != SBX_WASI_DIRECTORY)
        return SBX_WASI_INVAL;
    return (*out)->rights & right ? SBX_WASI_SUCCESS : SBX_WASI_NOTCAPABLE;
}

sbx_wasi_result sbx_wasi_fd_datasync(sbx_wasi_call *call)
{
    sbx_wasi_descriptor *descriptor;
    sbx_wasi_result result = sync_get(call, SBX_WASI_BIT(FD_DATASYNC), &descriptor);
    return result ? result : outcome(fdatasync(descriptor->host_fd));
}

sbx_wasi_result sbx_wasi_fd_sync(sbx_wasi_call *call)
{
    sbx_wasi_descriptor *descriptor;
    sbx_wasi_result result = sync_get(call, SBX_WASI_BIT(FD_SYNC), &descriptor);
    return result ? result : outcome(fsync(descriptor->host_fd));
}

/* Arguments: fd, result {u8 filetype, u16 flags at 2, u64 rights at 8, u64 inheriting at 16}. */
sbx_wasi_result sbx_wasi_fd_fdstat_get(sbx_wasi_call *call)
{
    sbx_wasi_descriptor *descriptor;
    sbx_wasi_result result = sbx_wasi_descriptor_get(call, sbx_wasi_u32(call, 0), 0, &descriptor);
    if (result)
        return result;
    uint8_t *at = sbx_wasi_guest(call, sbx_wasi_u32(call, 1), 24);
    if (!at)
        return SBX_WASI_FAULT;
    memset(at, 0, 24);
    at[0] = descriptor->filetype;
    sbx_wasi_store16(at + 2, descriptor->flags);
    sbx_wasi_store64(at + 8, descriptor->rights);
    sbx_wasi_store64(at + 16, descriptor->inheriting);
    return SBX_WASI_SUCCESS;
}

/* Arguments: fd, flags. They are kept here and go with each write: any may be changed, none reaches the host's descriptor. */
sbx_wasi_result sbx_wasi_fd_fdstat_set_flags(sbx_wasi_call *call)
{
    sbx_wasi_descriptor *descriptor;
    sbx_wasi_result result = sbx_wasi_descriptor_get(call, sbx_wasi_u32(call, 0), SBX_WASI_BIT(FD_FDSTAT_SET_FLAGS), &descriptor);
    if (result)
        return result;
    uint32_t flags = sbx_wasi_u32(call, 1);
    if (flags & ~(uint32_t)SBX_WASI_FDFLAGS)
        return SBX_WASI_INVAL;
    descriptor->flags = (uint16_t)flags;
    return SBX_WASI_SUCCESS;
}

/* Arguments: fd, rights, inheriting: only fewer than there are. */
sbx_wasi_result sbx_wasi_fd_fdstat_set_rights(sbx_wasi_call *call)
{
    sbx_wasi_descriptor *descriptor;
    sbx_wasi_result result = sbx_wasi_descriptor_get(call, sbx_wasi_u32(call, 0), 0, &descriptor);
    if (result)
        return result;
    uint64_t rights = call->args[1], inheriting = call->args[2];
    if (rights & ~descriptor->rights || inheriting & ~descriptor->inheriting)
        return SBX_WASI_NOTCAPABLE;
    descriptor->rights = rights;
    descriptor->inheriting = inheriting;
    return SBX_WASI_SUCCESS;
}

/* Arguments: fd, result. What is not the host's has type, one link and otherwise zeroes. */
sbx_wasi_result sbx_wasi_fd_filestat_get(sbx_wasi_call *call)
{
    sbx_wasi_descriptor *descriptor;
    sbx_wasi_result result = sbx_wasi_descriptor_get(call, sbx_wasi_u32(call, 0), SBX_WASI_BIT(FD_FILESTAT_GET), &descriptor);
    if (result)
        return result;
    uint8_t *at = sbx_wasi_guest(call, sbx_wasi_u32(call, 1), sbx_wasi_filestat_size(call));
    if (!at)
        return SBX_WASI_FAULT;
    struct stat st = {.st_nlink = 1};
    if (descriptor->host_fd >= 0 && sbx_process_fstat(descriptor->host_fd, &st) < 0)
        return sbx_wasi_errno(errno);
    sbx_wasi_write_filestat(call, at, &st, descriptor->filetype);
    return SBX_WASI_SUCCESS;
}

/* Arguments: fd, size. */
sbx_wasi_result sbx_wasi_fd_filestat_set_size(sbx_wasi_call *call)
{
    sbx_wasi_descriptor *descriptor;
    sbx_wasi_result result = file_get(call, SBX_WASI_BIT(FD_FILESTAT_SET_SIZE), &descriptor);
    if (result)
        return result;
    if (call->args[1] > INT64_MAX)
        return SBX_WASI_FBIG;
    return outcome(ftruncate(descriptor->host_fd, (off_t)call->args[1]));
}

/* Arguments: fd, atim, mtim, fst_flags. */
sbx_wasi_result sbx_wasi_fd_filestat_set_times(sbx_wasi_call *call)
{
    sbx_wasi_descriptor *descriptor;
    sbx_wasi_result result =
        sbx_wasi_descriptor_get(call, sbx_wasi_u32(call, 0), SBX_WASI_BIT(FD_FILESTAT_SET_TIMES), &descriptor);
    if (result)
        return result;
    struct timespec times[2];
    result = sbx_wasi_set_times(call->wasi, call->args[1], call->args[2], sbx_wasi_u32(call, 3), times);
    if (result)
        return result;
    return descriptor->host_fd < 0 ? SBX_WASI_NOTCAPABLE : outcome(futimens(descriptor->host_fd, times));
}
