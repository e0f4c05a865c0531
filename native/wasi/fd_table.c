/* The table of descriptors: rights by kind, look-up, lowest free number, close, renumber. */
#include "wasi_internal.h"
#include <string.h>
#include <unistd.h>

/* Rights of a directory itself. */
#define LOOK                                                                                                              \
    (SBX_WASI_BIT(PATH_OPEN) | SBX_WASI_BIT(FD_READDIR) | SBX_WASI_BIT(PATH_READLINK) | SBX_WASI_BIT(PATH_FILESTAT_GET) | \
     SBX_WASI_BIT(FD_FILESTAT_GET) | SBX_WASI_BIT(FD_FDSTAT_SET_FLAGS) | SBX_WASI_BIT(FD_SYNC) | SBX_WASI_BIT(FD_DATASYNC))
#define CHANGE                                                                                                            \
    (SBX_WASI_BIT(PATH_CREATE_DIRECTORY) | SBX_WASI_BIT(PATH_CREATE_FILE) | SBX_WASI_BIT(PATH_LINK_SOURCE) |              \
     SBX_WASI_BIT(PATH_LINK_TARGET) | SBX_WASI_BIT(PATH_RENAME_SOURCE) | SBX_WASI_BIT(PATH_RENAME_TARGET) |               \
     SBX_WASI_BIT(PATH_FILESTAT_SET_SIZE) | SBX_WASI_BIT(PATH_FILESTAT_SET_TIMES) | SBX_WASI_BIT(FD_FILESTAT_SET_TIMES) | \
     SBX_WASI_BIT(PATH_SYMLINK) | SBX_WASI_BIT(PATH_REMOVE_DIRECTORY) | SBX_WASI_BIT(PATH_UNLINK_FILE))
/* Rights of a file. */
#define READ                                                                                               \
    (SBX_WASI_BIT(FD_READ) | SBX_WASI_BIT(FD_SEEK) | SBX_WASI_BIT(FD_TELL) | SBX_WASI_BIT(FD_ADVISE) |     \
     SBX_WASI_BIT(FD_FILESTAT_GET) | SBX_WASI_BIT(FD_FDSTAT_SET_FLAGS) | SBX_WASI_BIT(POLL_FD_READWRITE) | \
     SBX_WASI_BIT(FD_SYNC) | SBX_WASI_BIT(FD_DATASYNC))
#define WRITE                                                                                  \
    (SBX_WASI_BIT(FD_WRITE) | SBX_WASI_BIT(FD_ALLOCATE) | SBX_WASI_BIT(FD_FILESTAT_SET_SIZE) | \
     SBX_WASI_BIT(FD_FILESTAT_SET_TIMES))
/* What cannot seek. Without seek and tell, C libraries take a character device for a terminal. */
#define STREAM                                                                                                            \
    (SBX_WASI_BIT(FD_READ) | SBX_WASI_BIT(FD_WRITE) | SBX_WASI_BIT(FD_FILESTAT_GET) | SBX_WASI_BIT(FD_FDSTAT_SET_FLAGS) | \
     SBX_WASI_BIT(POLL_FD_READWRITE))

uint64_t sbx_wasi_directory_rights(bool writable) { return writable ? LOOK | CHANGE : LOOK; }
uint64_t sbx_wasi_file_rights(bool writable) { return writable ? READ | WRITE : READ; }

uint64_t sbx_wasi_rights_of_kind(uint8_t kind, uint8_t filetype)
{
    switch (kind) {
    case SBX_WASI_DIRECTORY: return LOOK | CHANGE;
    case SBX_WASI_FILE: return READ | WRITE;
    default:
        return filetype == SBX_WASI_FILETYPE_CHARACTER_DEVICE ? STREAM | SBX_WASI_BIT(FD_SEEK) | SBX_WASI_BIT(FD_TELL) : STREAM;
    }
}

static sbx_wasi_descriptor *find(const sbx_wasi *wasi, uint32_t fd)
{
    return fd < wasi->descriptor_count && wasi->descriptors[fd].kind != SBX_WASI_FREE ? &wasi->descriptors[fd] : NULL;
}

sbx_wasi_result sbx_wasi_descriptor_get(sbx_wasi_call *call, uint32_t fd, uint64_t rights, sbx_wasi_descriptor **out)
{
    *out = find(call->wasi, fd);
    if (!*out)
        return SBX_WASI_BADF;
    return ((*out)->rights & rights) == rights ? SBX_WASI_SUCCESS : SBX_WASI_NOTCAPABLE;
}

sbx_wasi_result sbx_wasi_directory_get(sbx_wasi_call *call, uint32_t fd, uint64_t rights, sbx_wasi_descriptor **out)
{
    *out = find(call->wasi, fd);
    if (!*out)
        return SBX_WASI_BADF;
    if ((*out)->kind != SBX_WASI_DIRECTORY)
        return SBX_WASI_NOTDIR;
    return ((*out)->rights & rights) == rights ? SBX_WASI_SUCCESS : SBX_WASI_NOTCAPABLE;
}

/* Moves the table: pointers into it are void afterwards. */
static bool grow(sbx_wasi *wasi, uint32_t needed)
{
    uint32_t count = wasi->descriptor_count * 2;
    count = count < needed ? needed : count;
    count = count < 16 ? 16 : count;
    count = count > wasi->descriptor_limit ? wasi->descriptor_limit : count;
    sbx_wasi_descriptor *grown = sbx_realloc(wasi->descriptors, (size_t)count * sizeof *grown);
    if (!grown)
        return false;
    memset(grown + wasi->descriptor_count, 0, (size_t)(count - wasi->descriptor_count) * sizeof *grown);
    wasi->descriptors = grown;
    wasi->descriptor_count = count;
    return true;
}

/* Never 0, 1 or 2: what a guest prints shall not land in a file because it closed a stream. */
sbx_wasi_result sbx_wasi_descriptor_reserve(sbx_wasi *wasi, uint32_t *fd)
{
    uint32_t at = wasi->lowest_free < 3 ? 3 : wasi->lowest_free;
    while (at < wasi->descriptor_count && wasi->descriptors[at].kind != SBX_WASI_FREE)
        at++;
    wasi->lowest_free = at;
    if (at >= wasi->descriptor_limit)
        return SBX_WASI_MFILE;
    if (at >= wasi->descriptor_count && !grow(wasi, at + 1))
        return SBX_WASI_NOMEM;
    *fd = at;
    return SBX_WASI_SUCCESS;
}

void sbx_wasi_descriptor_close(sbx_wasi *wasi, uint32_t fd)
{
    sbx_wasi_descriptor *descriptor = find(wasi, fd);
    if (!descriptor)
        return;
    if (descriptor->host_fd >= 0)
        close(descriptor->host_fd);
    sbx_free(descriptor->preopen_name);
    *descriptor = (sbx_wasi_descriptor){.kind = SBX_WASI_FREE, .host_fd = -1};
    if (fd < wasi->lowest_free)
        wasi->lowest_free = fd;
}

/* Any open descriptor may be closed, a preopened directory too: the grant is gone then. */
sbx_wasi_result sbx_wasi_fd_close(sbx_wasi_call *call)
{
    if (!find(call->wasi, sbx_wasi_u32(call, 0)))
        return SBX_WASI_BADF;
    sbx_wasi_descriptor_close(call->wasi, sbx_wasi_u32(call, 0));
    return SBX_WASI_SUCCESS;
}

/* Arguments: from, to. Both must be open, so the table does not grow; `to` is closed, `from` becomes free. Onto itself: nothing.
 */
sbx_wasi_result sbx_wasi_fd_renumber(sbx_wasi_call *call)
{
    sbx_wasi *wasi = call->wasi;
    uint32_t from = sbx_wasi_u32(call, 0), to = sbx_wasi_u32(call, 1);
    if (!find(wasi, from) || !find(wasi, to))
        return SBX_WASI_BADF;
    if (from == to)
        return SBX_WASI_SUCCESS;
    sbx_wasi_descriptor_close(wasi, to);
    wasi->descriptors[to] = wasi->descriptors[from];
    wasi->descriptors[from] = (sbx_wasi_descriptor){.kind = SBX_WASI_FREE, .host_fd = -1};
    if (from < wasi->lowest_free)
        wasi->lowest_free = from;
    return SBX_WASI_SUCCESS;
}
