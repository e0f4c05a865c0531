/* path_open: rights, flags, and the descriptor that comes of it. */
#include "wasi_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum { LOOKUP_SYMLINK_FOLLOW = 1 };
enum { CREAT = 1, DIRECTORY = 2, EXCL = 4, TRUNC = 8, OFLAGS = 15 };
#define WRITES (SBX_WASI_BIT(FD_WRITE) | SBX_WASI_BIT(FD_ALLOCATE) | SBX_WASI_BIT(FD_FILESTAT_SET_SIZE))
#define READS (SBX_WASI_BIT(FD_READ) | SBX_WASI_BIT(FD_READDIR))

typedef struct request {
    uint32_t lookup, oflags, fdflags;
    uint64_t rights, inheriting; /* what the new descriptor may have at most */
} request;

/* What the directory must allow, by what is asked. C libraries ask for no more than the directory passes on, others ask for
 * everything; so rights that it does not pass on are left out, but the wish to write is refused at once rather than at the first
 * write. */
static sbx_wasi_result check(const sbx_wasi_call *call, const sbx_wasi_descriptor *directory, request *wanted)
{
    uint64_t needed = SBX_WASI_BIT(PATH_OPEN) | (wanted->oflags & CREAT ? SBX_WASI_BIT(PATH_CREATE_FILE) : 0) |
                      (wanted->oflags & TRUNC ? SBX_WASI_BIT(PATH_FILESTAT_SET_SIZE) : 0);
    if ((directory->rights & needed) != needed)
        return SBX_WASI_NOTCAPABLE;
    if (wanted->lookup & ~(uint32_t)LOOKUP_SYMLINK_FOLLOW || wanted->oflags & ~(uint32_t)OFLAGS ||
        wanted->fdflags & ~(uint32_t)SBX_WASI_FDFLAGS || (wanted->oflags & DIRECTORY && wanted->oflags & (CREAT | TRUNC | EXCL)))
        return SBX_WASI_INVAL;
    if (call->args[5] & SBX_WASI_BIT(FD_WRITE) & ~directory->inheriting && !(wanted->oflags & DIRECTORY))
        return SBX_WASI_NOTCAPABLE;
    wanted->rights = call->args[5] & directory->inheriting;
    wanted->inheriting = call->args[6] & directory->inheriting;
    return SBX_WASI_SUCCESS;
}

/* Never O_APPEND or O_SYNC: those go with each write. O_NONBLOCK, so that opening a pipe cannot block; files do not care. */
static int host_flags(const request *wanted)
{
    int flags = O_NONBLOCK | O_NOCTTY;
    bool reads = wanted->rights & READS, writes = wanted->rights & WRITES && !(wanted->oflags & DIRECTORY);
    flags |= writes ? reads ? O_RDWR : O_WRONLY : O_RDONLY;
    flags |= wanted->lookup & LOOKUP_SYMLINK_FOLLOW ? 0 : O_NOFOLLOW;
    flags |= wanted->oflags & CREAT ? O_CREAT : 0;
    flags |= wanted->oflags & DIRECTORY ? O_DIRECTORY : 0;
    flags |= wanted->oflags & EXCL ? O_EXCL : 0;
    flags |= wanted->oflags & TRUNC ? O_TRUNC : 0;
    return flags;
}

/* Fills the entry by what was opened. */
static sbx_wasi_result describe(int file, const request *wanted, sbx_wasi_descriptor *out)
{
    struct stat st;
    if (sbx_process_fstat(file, &st) < 0)
        return sbx_wasi_errno(errno);
    uint8_t kind = S_ISDIR(st.st_mode)                          ? SBX_WASI_DIRECTORY
                   : S_ISREG(st.st_mode) || S_ISBLK(st.st_mode) ? SBX_WASI_FILE
                                                                : SBX_WASI_STREAM;
    *out = (sbx_wasi_descriptor){
        .kind = kind, .filetype = sbx_wasi_filetype_of(st.st_mode), .flags = (uint16_t)wanted->fdflags, .host_fd = file};
    out->rights = wanted->rights & sbx_wasi_rights_of_kind(out->kind, out->filetype);
    out->inheriting = kind == SBX_WASI_DIRECTORY ? wanted->inheriting : 0;
    if (kind == SBX_WASI_STREAM && isatty(file))
        out->rights &= ~(SBX_WASI_BIT(FD_SEEK) | SBX_WASI_BIT(FD_TELL));
    return SBX_WASI_SUCCESS;
}

/* Arguments: fd, lookup flags, path and its length, oflags, rights, inheriting, fdflags, where the new descriptor goes. */
sbx_wasi_result sbx_wasi_path_open(sbx_wasi_call *call)
{
    request wanted = {.lookup = sbx_wasi_u32(call, 1), .oflags = sbx_wasi_u32(call, 4), .fdflags = sbx_wasi_u32(call, 7)};
    sbx_wasi_descriptor *directory;
    sbx_wasi_result result = sbx_wasi_directory_get(call, sbx_wasi_u32(call, 0), 0, &directory);
    if (!result)
        result = check(call, directory, &wanted);
    if (result)
        return result;
    int host_fd = directory->host_fd, file;
    char path[SBX_WASI_PATH_SIZE];
    result = sbx_wasi_read_path(call, sbx_wasi_u32(call, 2), sbx_wasi_u32(call, 3), path);
    if (result)
        return result;
    uint8_t *to = sbx_wasi_guest(call, sbx_wasi_u32(call, 8), 4);
    if (!to)
        return SBX_WASI_FAULT;
    uint32_t fd; /* before the file is made: a full table shall leave no file behind */
    result = sbx_wasi_descriptor_reserve(call->wasi, &fd);
    if (!result)
        result = sbx_wasi_resolve(call, host_fd, path, host_flags(&wanted), 0666, &file);
    if (result)
        return result;
    result = describe(file, &wanted, &call->wasi->descriptors[fd]);
    if (result) {
        close(file);
        return result;
    }
    sbx_wasi_store32(to, fd);
    return SBX_WASI_SUCCESS;
}
