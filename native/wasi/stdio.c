/* Standard streams: what 0, 1 and 2 can be, and the buffers behind input and output. */
#include "wasi_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static sbx_status usage(sbx_error *err, uint32_t fd)
{
    return sbx_fail(err, SBX_USAGE, SBX_NO_OFFSET, "a standard stream is 0, 1 or 2, not %u", fd);
}

/* Rights by direction: 0 is read, 1 and 2 are written. */
static uint64_t direction(uint32_t fd, uint64_t rights)
{
    uint64_t writing = SBX_WASI_BIT(FD_WRITE) | SBX_WASI_BIT(FD_ALLOCATE) | SBX_WASI_BIT(FD_FILESTAT_SET_SIZE) |
                       SBX_WASI_BIT(FD_FILESTAT_SET_TIMES);
    return rights & ~(fd == 0 ? writing : SBX_WASI_BIT(FD_READ) | SBX_WASI_BIT(FD_FILESTAT_SET_TIMES));
}

void sbx_wasi_stdio_release(sbx_wasi_stdio *stdio)
{
    if (!stdio->lent)
        sbx_free(stdio->bytes);
    *stdio = (sbx_wasi_stdio){0};
}

/* Puts a descriptor in place of the old one; the old buffer goes too. */
static void place(sbx_wasi *wasi, uint32_t fd, sbx_wasi_descriptor descriptor)
{
    sbx_wasi_descriptor_close(wasi, fd);
    sbx_wasi_stdio_release(&wasi->stdio[fd]);
    descriptor.rights = direction(fd, sbx_wasi_rights_of_kind(descriptor.kind, descriptor.filetype));
    wasi->descriptors[fd] = descriptor;
}

sbx_status sbx_wasi_stdio_closed(sbx_wasi *wasi, uint32_t fd, sbx_error *err)
{
    if (fd > 2)
        return usage(err, fd);
    place(wasi, fd, (sbx_wasi_descriptor){.kind = SBX_WASI_FREE, .host_fd = -1});
    return SBX_OK;
}

sbx_status sbx_wasi_stdio_null(sbx_wasi *wasi, uint32_t fd, sbx_error *err)
{
    if (fd > 2)
        return usage(err, fd);
    place(wasi, fd,
          (sbx_wasi_descriptor){.kind = SBX_WASI_NULL_DEVICE, .filetype = SBX_WASI_FILETYPE_CHARACTER_DEVICE, .host_fd = -1});
    return SBX_OK;
}

sbx_status sbx_wasi_stdio_host(sbx_wasi *wasi, uint32_t fd, int host_fd, sbx_error *err)
{
    if (fd > 2)
        return usage(err, fd);
    struct stat st;
    int own = fcntl(host_fd, F_DUPFD_CLOEXEC, 0), flags = fcntl(host_fd, F_GETFL);
    if (own < 0 || flags < 0 || sbx_process_fstat(own, &st) || S_ISDIR(st.st_mode)) {
        int reason = own < 0 || flags < 0 ? errno : S_ISDIR(st.st_mode) ? EISDIR : errno;
        if (own >= 0)
            close(own);
        return sbx_fail(err, SBX_USAGE, SBX_NO_OFFSET, "standard stream %u cannot be taken from the host: %s", fd,
                        strerror(reason));
    }
    bool file = S_ISREG(st.st_mode) || S_ISBLK(st.st_mode);
    place(wasi, fd,
          (sbx_wasi_descriptor){.kind = file ? SBX_WASI_FILE : SBX_WASI_STREAM,
                                .filetype = sbx_wasi_filetype_of(st.st_mode),
                                .flags = flags & O_APPEND ? SBX_WASI_FDFLAG_APPEND : 0,
                                .host_fd = own});
    /* Seek and tell tell a C library that it is no terminal. */
    if (!file && isatty(own))
        wasi->descriptors[fd].rights &= ~(SBX_WASI_BIT(FD_SEEK) | SBX_WASI_BIT(FD_TELL));
    return SBX_OK;
}

sbx_status sbx_wasi_stdio_input(sbx_wasi *wasi, uint32_t fd, const uint8_t *bytes, size_t length, sbx_error *err)
{
    if (fd > 2)
        return usage(err, fd);
    uint8_t *copy = sbx_malloc(length ? length : 1);
    if (!copy)
        return sbx_fail(err, SBX_NO_MEMORY, SBX_NO_OFFSET, "out of memory for the input of standard stream %u", fd);
    if (length)
        memcpy(copy, bytes, length);
    place(wasi, fd,
          (sbx_wasi_descriptor){
              .kind = SBX_WASI_INPUT, .filetype = SBX_WASI_FILETYPE_UNKNOWN, .host_fd = -1, .stdio = &wasi->stdio[fd]});
    wasi->stdio[fd] = (sbx_wasi_stdio){.bytes = copy, .length = length, .capacity = length};
    return SBX_OK;
}

sbx_status sbx_wasi_stdio_lend_input(sbx_wasi *wasi, uint32_t fd, const uint8_t *bytes, size_t length, sbx_error *err)
{
    if (fd > 2)
        return usage(err, fd);
    place(wasi, fd,
          (sbx_wasi_descriptor){
              .kind = SBX_WASI_INPUT, .filetype = SBX_WASI_FILETYPE_UNKNOWN, .host_fd = -1, .stdio = &wasi->stdio[fd]});
    wasi->stdio[fd] = (sbx_wasi_stdio){.bytes = (uint8_t *)(uintptr_t)bytes, .length = length, .capacity = length, .lent = true};
    return SBX_OK;
}

sbx_status sbx_wasi_stdio_lend_output(sbx_wasi *wasi, uint32_t fd, size_t cap, uint8_t *room, size_t length, sbx_error *err)
{
    sbx_status status = sbx_wasi_stdio_output(wasi, fd, cap, err);
    if (status == SBX_OK) {
        wasi->stdio[fd].bytes = room;
        wasi->stdio[fd].capacity = length;
        wasi->stdio[fd].lent = true;
    }
    return status;
}

size_t sbx_wasi_output_lent(const sbx_wasi *wasi, uint32_t fd)
{
    const sbx_wasi_stdio *stdio = fd <= 2 ? &wasi->stdio[fd] : NULL;
    return stdio && stdio->is_output && stdio->lent && !stdio->truncated ? stdio->length : 0;
}

bool sbx_wasi_output_none(const sbx_wasi *wasi, uint32_t fd)
{
    return fd > 2 || !wasi->stdio[fd].is_output || (!wasi->stdio[fd].length && !wasi->stdio[fd].truncated);
}

sbx_status sbx_wasi_stdio_output(sbx_wasi *wasi, uint32_t fd, size_t cap, sbx_error *err)
{
    if (fd > 2)
        return usage(err, fd);
    place(wasi, fd,
          (sbx_wasi_descriptor){
              .kind = SBX_WASI_OUTPUT, .filetype = SBX_WASI_FILETYPE_UNKNOWN, .host_fd = -1, .stdio = &wasi->stdio[fd]});
    wasi->stdio[fd] = (sbx_wasi_stdio){.cap = cap, .is_output = true};
    return SBX_OK;
}

const uint8_t *sbx_wasi_output(const sbx_wasi *wasi, uint32_t fd, size_t *length, bool *truncated)
{
    bool is_output = fd <= 2 && wasi->stdio[fd].is_output;
    *length = is_output ? wasi->stdio[fd].length : 0;
    *truncated = is_output && wasi->stdio[fd].truncated;
    return *length ? wasi->stdio[fd].bytes : NULL;
}

void sbx_wasi_output_clear(sbx_wasi *wasi, uint32_t fd)
{
    if (fd > 2 || !wasi->stdio[fd].is_output)
        return;
    wasi->stdio[fd].length = 0;
    wasi->stdio[fd].truncated = false;
}

/* Copies as much input as there is. */
uint32_t sbx_wasi_input_read(sbx_wasi_stdio *input, const sbx_wasi_iovecs *iovecs)
{
    uint32_t done = 0;
    for (uint32_t i = 0; i < iovecs->count && input->position < input->length; i++) {
        size_t left = input->length - input->position, some = iovecs->entries[i].iov_len;
        some = some < left ? some : left;
        memcpy(iovecs->entries[i].iov_base, input->bytes + input->position, some);
        input->position += some;
        done += (uint32_t)some;
    }
    return done;
}

/* Takes what fits below the cap. */
sbx_wasi_result sbx_wasi_output_write(sbx_wasi_stdio *output, const sbx_wasi_iovecs *iovecs, uint32_t *done)
{
    size_t room = output->cap - output->length, some = iovecs->total < room ? iovecs->total : room;
    *done = 0;
    if (some < iovecs->total)
        output->truncated = true;
    if (!some)
        return iovecs->total ? SBX_WASI_NOSPC : SBX_WASI_SUCCESS;
    size_t needed = output->length + some;
    if (needed > output->capacity) {
        size_t capacity = needed < 4096 ? 4096 : needed > output->cap / 2 ? output->cap : needed * 2;
        capacity = capacity < needed ? needed : capacity;
        uint8_t *grown = output->lent ? sbx_malloc(capacity) : sbx_realloc(output->bytes, capacity);
        if (!grown)
            return SBX_WASI_NOMEM;
        if (output->lent && output->length)
            memcpy(grown, output->bytes, output->length);
        output->lent = false;
        output->bytes = grown;
        output->capacity = capacity;
    }
    for (uint32_t i = 0; some; i++) {
        size_t part = iovecs->entries[i].iov_len < some ? iovecs->entries[i].iov_len : some;
        memcpy(output->bytes + output->length, iovecs->entries[i].iov_base, part);
        output->length += part;
        some -= part;
        *done += (uint32_t)part;
    }
    return SBX_WASI_SUCCESS;
}
