/* fd_read, fd_write, fd_pread, fd_pwrite, fd_seek, fd_tell. */
#include "wasi_internal.h"
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <unistd.h>

enum { FILE_CHUNK = 8 << 20 }; /* a file operation looks for an interrupt after so many bytes */

/* A file or stream and a direction; where < 0: at the position, which moves. */
typedef struct transfer {
    sbx_wasi_call *call;
    int host_fd;
    bool write;
    uint16_t flags;
    int64_t where;
} transfer;

/* One system call for at most `limit` bytes: the array is cut for it and mended again. */
static ssize_t move_once(const transfer *t, struct iovec *iov, uint32_t count, size_t limit)
{
    size_t total = 0, cut = 0;
    uint32_t used = 0;
    while (used < count && total < limit) {
        size_t length = iov[used].iov_len, left = limit - total;
        if (length > left) {
            cut = length;
            iov[used].iov_len = left;
        }
        total += iov[used++].iov_len;
    }
    ssize_t done;
    if (t->write)
        done = sbx_os_write(t->host_fd, iov, (int)used, t->where, t->flags);
    else
        done = t->where < 0 ? readv(t->host_fd, iov, (int)used) : preadv(t->host_fd, iov, (int)used, (off_t)t->where);
    if (cut)
        iov[used - 1].iov_len = cut;
    return done;
}

static void advance(struct iovec **iov, uint32_t *count, size_t bytes)
{
    while (bytes && *count) {
        size_t some = bytes < (*iov)->iov_len ? bytes : (*iov)->iov_len;
        (*iov)->iov_base = (uint8_t *)(*iov)->iov_base + some;
        (*iov)->iov_len -= some;
        bytes -= some;
        if (!(*iov)->iov_len) {
            (*iov)++;
            (*count)--;
        }
    }
}

/* Files do not block: chunk after chunk until all is moved, the file ends or somebody interrupts. */
static sbx_wasi_result move_file(transfer *t, sbx_wasi_iovecs *iovecs, uint32_t *done)
{
    struct iovec *iov = iovecs->entries;
    uint32_t count = iovecs->count;
    do {
        size_t left = iovecs->total - *done, limit = left < FILE_CHUNK ? left : FILE_CHUNK;
        ssize_t some = move_once(t, iov, count, limit);
        if (some < 0 && errno == EINTR && !sbx_call_engine_interrupted(t->call->engine))
            continue;
        if (some < 0 && *done)
            return SBX_WASI_SUCCESS; /* what was moved counts; the next call meets the error again */
        if (some < 0)
            return errno == EINTR ? SBX_WASI_INTERRUPTED : sbx_wasi_errno(errno);
        *done += (uint32_t)some;
        if (t->where >= 0)
            t->where += some;
        if ((size_t)some < limit)
            return SBX_WASI_SUCCESS;
        advance(&iov, &count, (size_t)some);
    } while (*done < iovecs->total && !sbx_call_engine_interrupted(t->call->engine));
    return SBX_WASI_SUCCESS;
}

/* Streams may block, and an interrupt must end that: wait in slices, then move no more than what surely goes through. A read is
 * done with the first bytes; a write goes on to the end, as in POSIX. The host's descriptor keeps its mode: others may share it.
 */
static sbx_wasi_result move_stream(transfer *t, sbx_wasi_iovecs *iovecs, uint32_t *done)
{
    struct iovec *iov = iovecs->entries;
    uint32_t count = iovecs->count;
    bool nonblock = t->flags & SBX_WASI_FDFLAG_NONBLOCK;
    t->flags = 0; /* append and sync mean nothing here */
    while (*done < iovecs->total) {
        short revents = 0;
        int ready = sbx_os_wait(t->host_fd, t->write ? POLLOUT : POLLIN, nonblock ? 0 : SBX_WASI_SLICE_NS, &revents);
        ssize_t some = -1;
        if (ready > 0)
            some = move_once(t, iov, count, t->write ? PIPE_BUF : iovecs->total);
        if (some > 0) {
            *done += (uint32_t)some;
            advance(&iov, &count, (size_t)some);
            if (!t->write)
                break;
            continue;
        }
        if (some == 0)
            break;
        bool waiting = ready == 0 || errno == EINTR || errno == EAGAIN;
        if (!waiting || (nonblock && (ready == 0 || errno == EAGAIN)))
            return *done ? SBX_WASI_SUCCESS : ready == 0 ? SBX_WASI_AGAIN : sbx_wasi_errno(errno);
        if (sbx_call_engine_interrupted(t->call->engine))
            return *done ? SBX_WASI_SUCCESS : SBX_WASI_INTERRUPTED;
    }
    return SBX_WASI_SUCCESS;
}

static sbx_wasi_result move(sbx_wasi_call *call, const sbx_wasi_descriptor *descriptor, bool write, int64_t where,
                            sbx_wasi_iovecs *iovecs, uint32_t *done)
{
    transfer t = {call, descriptor->host_fd, write, descriptor->flags, where};
    switch (descriptor->kind) {
    case SBX_WASI_NULL_DEVICE: *done = write ? iovecs->total : 0; return SBX_WASI_SUCCESS;
    case SBX_WASI_INPUT: *done = sbx_wasi_input_read(descriptor->stdio, iovecs); return SBX_WASI_SUCCESS;
    case SBX_WASI_OUTPUT: return sbx_wasi_output_write(descriptor->stdio, iovecs, done);
    case SBX_WASI_FILE: return iovecs->total ? move_file(&t, iovecs, done) : SBX_WASI_SUCCESS;
    default: return move_stream(&t, iovecs, done);
    }
}

/* All four: arguments fd, iovecs, their count, [offset,] where the count of bytes goes. */
static sbx_wasi_result read_or_write(sbx_wasi_call *call, bool write, bool positioned)
{
    uint64_t rights = write ? SBX_WASI_BIT(FD_WRITE) : SBX_WASI_BIT(FD_READ);
    sbx_wasi_descriptor *descriptor;
    sbx_wasi_result result = sbx_wasi_descriptor_get(call, sbx_wasi_u32(call, 0), 0, &descriptor);
    if (result)
        return result;
    if (descriptor->kind == SBX_WASI_DIRECTORY)
        return write ? SBX_WASI_BADF : SBX_WASI_ISDIR;
    if ((descriptor->rights & rights) != rights)
        return SBX_WASI_NOTCAPABLE;
    if (positioned && descriptor->kind != SBX_WASI_FILE)
        return SBX_WASI_SPIPE;
    if (positioned && !(descriptor->rights & SBX_WASI_BIT(FD_SEEK)))
        return SBX_WASI_NOTCAPABLE;
    uint64_t offset = positioned ? call->args[3] : 0;
    if (offset > INT64_MAX)
        return SBX_WASI_INVAL;
    uint8_t *count = sbx_wasi_guest(call, sbx_wasi_u32(call, positioned ? 4 : 3), 4);
    if (!count)
        return SBX_WASI_FAULT;
    sbx_wasi_iovecs iovecs;
    result = sbx_wasi_read_iovecs(call, sbx_wasi_u32(call, 1), sbx_wasi_u32(call, 2), &iovecs);
    if (result)
        return result;
    if (!sbx_wasi_charge(call, iovecs.total))
        return SBX_WASI_UNFUELLED;
    uint32_t done = 0;
    result = move(call, descriptor, write, positioned ? (int64_t)offset : -1, &iovecs, &done);
    if (result == SBX_WASI_SUCCESS)
        sbx_wasi_store32(count, done);
    return result;
}

sbx_wasi_result sbx_wasi_fd_read(sbx_wasi_call *call) { return read_or_write(call, false, false); }
sbx_wasi_result sbx_wasi_fd_write(sbx_wasi_call *call) { return read_or_write(call, true, false); }
sbx_wasi_result sbx_wasi_fd_pread(sbx_wasi_call *call) { return read_or_write(call, false, true); }
sbx_wasi_result sbx_wasi_fd_pwrite(sbx_wasi_call *call) { return read_or_write(call, true, true); }

static sbx_wasi_result seek(sbx_wasi_call *call, uint64_t right, int64_t offset, int whence, uint32_t result_address)
{
    sbx_wasi_descriptor *descriptor;
    sbx_wasi_result result = sbx_wasi_descriptor_get(call, sbx_wasi_u32(call, 0), 0, &descriptor);
    if (result)
        return result;
    if (descriptor->kind == SBX_WASI_DIRECTORY)
        return SBX_WASI_BADF;
    bool buffered = descriptor->kind == SBX_WASI_INPUT || descriptor->kind == SBX_WASI_OUTPUT;
    if (buffered || (descriptor->kind == SBX_WASI_STREAM && descriptor->filetype != SBX_WASI_FILETYPE_CHARACTER_DEVICE))
        return SBX_WASI_SPIPE;
    if (!(descriptor->rights & right))
        return descriptor->kind == SBX_WASI_STREAM ? SBX_WASI_SPIPE : SBX_WASI_NOTCAPABLE; /* a terminal has no position */
    uint8_t *to = sbx_wasi_guest(call, result_address, 8);
    if (!to)
        return SBX_WASI_FAULT;
    off_t position = 0;
    if (descriptor->kind != SBX_WASI_NULL_DEVICE)
        position = lseek(descriptor->host_fd, (off_t)offset, whence);
    if (position < 0)
        return sbx_wasi_errno(errno);
    sbx_wasi_store64(to, (uint64_t)position);
    return SBX_WASI_SUCCESS;
}

/* Arguments: fd, offset, whence, where the new position goes. The older name counts the values of whence from another end. */
sbx_wasi_result sbx_wasi_fd_seek(sbx_wasi_call *call)
{
    static const int preview1[3] = {SEEK_SET, SEEK_CUR, SEEK_END}, unstable[3] = {SEEK_CUR, SEEK_END, SEEK_SET};
    uint32_t whence = sbx_wasi_u32(call, 2);
    if (whence > 2)
        return SBX_WASI_INVAL;
    int host = (call->unstable ? unstable : preview1)[whence];
    int64_t offset = (int64_t)call->args[1];
    /* Not moving needs less: the right to tell. */
    uint64_t rights = SBX_WASI_BIT(FD_SEEK) | (host == SEEK_CUR && !offset ? SBX_WASI_BIT(FD_TELL) : 0);
    return seek(call, rights, offset, host, sbx_wasi_u32(call, 3));
}

/* Arguments: fd, where the position goes. The right to seek includes the right to tell. */
sbx_wasi_result sbx_wasi_fd_tell(sbx_wasi_call *call)
{
    return seek(call, SBX_WASI_BIT(FD_TELL) | SBX_WASI_BIT(FD_SEEK), 0, SEEK_CUR, sbx_wasi_u32(call, 1));
}
