/* Directories: fd_prestat_get, fd_prestat_dir_name, fd_readdir. */
#include "wasi_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include "reader.h"

/* Arguments: fd, result {u8 0 = directory, u32 length of the name at 4}. badf ends a C library's search for directories. */
sbx_wasi_result sbx_wasi_fd_prestat_get(sbx_wasi_call *call)
{
    sbx_wasi_descriptor *descriptor;
    sbx_wasi_result result = sbx_wasi_descriptor_get(call, sbx_wasi_u32(call, 0), 0, &descriptor);
    if (result || !descriptor->preopen_name)
        return SBX_WASI_BADF;
    uint8_t *at = sbx_wasi_guest(call, sbx_wasi_u32(call, 1), 8);
    if (!at)
        return SBX_WASI_FAULT;
    sbx_wasi_store32(at, 0);
    sbx_wasi_store32(at + 4, descriptor->preopen_length);
    return SBX_WASI_SUCCESS;
}

/* Arguments: fd, buffer, its length. The name has no NUL at its end. */
sbx_wasi_result sbx_wasi_fd_prestat_dir_name(sbx_wasi_call *call)
{
    sbx_wasi_descriptor *descriptor;
    sbx_wasi_result result = sbx_wasi_descriptor_get(call, sbx_wasi_u32(call, 0), 0, &descriptor);
    if (result || !descriptor->preopen_name)
        return SBX_WASI_BADF;
    if (sbx_wasi_u32(call, 2) < descriptor->preopen_length)
        return SBX_WASI_NAMETOOLONG;
    uint8_t *at = sbx_wasi_guest(call, sbx_wasi_u32(call, 1), descriptor->preopen_length);
    if (!at)
        return SBX_WASI_FAULT;
    memcpy(at, descriptor->preopen_name, descriptor->preopen_length);
    return SBX_WASI_SUCCESS;
}

enum { HEADER = 24, BLOCK = 16384 };
typedef struct listing {
    uint8_t *to;
    size_t length, used;
    uint64_t own_inode;
    int host_fd;
} listing;

/* As much as fits: the last entry may be cut, which the guest sees from a full buffer. */
static void append(listing *out, const void *bytes, size_t length)
{
    size_t room = out->length - out->used, some = length < room ? length : room;
    memcpy(out->to + out->used, bytes, some);
    out->used += some;
}

/* {u64 next cookie, u64 inode, u32 length of the name, u8 type}, 24 bytes, then the name. */
static void append_entry(listing *out, sbx_os_entry *entry)
{
    if (!sbx_is_utf8((const uint8_t *)entry->name, entry->length))
        return; /* no path of the guest could name it */
    struct stat st;
    if (entry->filetype == SBX_WASI_FILETYPE_UNKNOWN && fstatat(out->host_fd, entry->name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        entry->filetype = sbx_wasi_filetype_of(st.st_mode); /* some file systems do not say */
    /* What lies above a granted directory is none of the guest's business. */
    bool above = entry->length == 2 && memcmp(entry->name, "..", 2) == 0;
    uint8_t header[HEADER] = {0};
    sbx_wasi_store64(header, entry->next);
    sbx_wasi_store64(header + 8, above ? out->own_inode : entry->inode);
    sbx_wasi_store32(header + 16, entry->length);
    header[20] = entry->filetype;
    append(out, header, HEADER);
    append(out, entry->name, entry->length);
}

/* Arguments: fd, buffer, its length, cookie (0: the start), where the count of bytes goes. */
sbx_wasi_result sbx_wasi_fd_readdir(sbx_wasi_call *call)
{
    sbx_wasi_descriptor *descriptor;
    sbx_wasi_result result = sbx_wasi_directory_get(call, sbx_wasi_u32(call, 0), SBX_WASI_BIT(FD_READDIR), &descriptor);
    if (result)
        return result;
    uint32_t length = sbx_wasi_u32(call, 2);
    uint8_t *buffer = sbx_wasi_guest(call, sbx_wasi_u32(call, 1), length),
            *count = sbx_wasi_guest(call, sbx_wasi_u32(call, 4), 4);
    if (!buffer || !count)
        return SBX_WASI_FAULT;
    struct stat st;
    if (sbx_process_fstat(descriptor->host_fd, &st) < 0)
        return sbx_wasi_errno(errno);
    listing out = {.to = buffer, .length = length, .own_inode = (uint64_t)st.st_ino, .host_fd = descriptor->host_fd};
    uint64_t cookie = call->args[3];
    _Alignas(8) uint8_t block[BLOCK];
    while (out.used < out.length) {
        ssize_t got = sbx_os_read_directory(descriptor->host_fd, cookie, block, sizeof block);
        if (got < 0 && errno != EINTR)
            return sbx_wasi_errno(errno);
        if (got == 0)
            break;
        sbx_os_entry entry;
        size_t at = 0;
        for (; got > 0 && out.used < out.length && sbx_os_next_entry(block, (size_t)got, &at, &entry); cookie = entry.next)
            append_entry(&out, &entry);
        if (got > 0 && !at)
            return SBX_WASI_IO; /* not a list of entries: it would never end */
        if (out.used < out.length && sbx_call_engine_interrupted(call->engine))
            return SBX_WASI_INTERRUPTED;
    }
    sbx_wasi_store32(count, (uint32_t)out.used);
    return SBX_WASI_SUCCESS;
}
