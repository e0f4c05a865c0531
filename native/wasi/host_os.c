/* The operating system beyond POSIX: confined opening, waiting in nanoseconds, random bytes, writes with flags, reading
 * directories. Linux from 5.6 on has all of it. Elsewhere directories are refused (ENOSYS), the rest falls back to what POSIX
 * has. */
#include "wasi_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <linux/openat2.h>
#include <sys/random.h>
#include <sys/syscall.h>
#ifndef SYS_openat2
#define SYS_openat2 437 /* the same on every architecture */
#endif
#endif

int sbx_os_open_beneath(int directory, const char *path, int flags, mode_t mode)
{
#ifdef __linux__
    struct open_how how = {.flags = (uint64_t)(unsigned)flags,
                           .mode = flags & O_CREAT ? mode : 0,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
#ifdef O_LARGEFILE
    if (!(flags & O_PATH))
        how.flags |= (uint64_t)(unsigned)O_LARGEFILE;
#endif
    return (int)syscall(SYS_openat2, directory, path, &how, sizeof how);
#else
    (void)directory, (void)path, (void)flags, (void)mode;
    errno = ENOSYS;
    return -1;
#endif
}

int sbx_os_wait_many(void *pollfds, uint32_t count, uint64_t ns)
{
#ifdef __linux__
    struct timespec time = {.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};
    return ppoll(pollfds, count, &time, NULL);
#else
    return poll(pollfds, count, (int)((ns + 999999) / 1000000));
#endif
}

int sbx_os_wait(int fd, short events, uint64_t ns, short *revents)
{
    struct pollfd one = {.fd = fd, .events = events};
    int ready = sbx_os_wait_many(&one, 1, ns);
    *revents = one.revents;
    return ready;
}

int sbx_os_random(uint8_t *to, size_t length)
{
#ifdef __linux__
    return (int)getrandom(to, length, 0);
#else
    size_t some = length < 256 ? length : 256;
    return getentropy(to, some) ? -1 : (int)some;
#endif
}

ssize_t sbx_os_write(int fd, const struct iovec *iov, int count, int64_t offset, uint16_t fdflags)
{
    bool append = fdflags & SBX_WASI_FDFLAG_APPEND && offset < 0;
    bool data = fdflags & SBX_WASI_FDFLAG_DSYNC, all = fdflags & SBX_WASI_FDFLAG_SYNC;
    if (!append && !data && !all)
        return offset < 0 ? writev(fd, iov, count) : pwritev(fd, iov, count, (off_t)offset);
#ifdef __linux__
    int flags = (append ? RWF_APPEND : 0) | (data ? RWF_DSYNC : 0) | (all ? RWF_SYNC : 0);
    return pwritev2(fd, iov, count, (off_t)offset, flags);
#else
    if (append && lseek(fd, 0, SEEK_END) < 0)
        return -1;
    ssize_t done = offset < 0 ? writev(fd, iov, count) : pwritev(fd, iov, count, (off_t)offset);
    return done >= 0 && (data || all) && fsync(fd) ? -1 : done;
#endif
}

int sbx_os_allocate(int fd, uint64_t offset, uint64_t length)
{
#ifdef __linux__
    return fallocate(fd, 0, (off_t)offset, (off_t)length);
#else
    (void)fd, (void)offset, (void)length;
    errno = EOPNOTSUPP;
    return -1;
#endif
}

#ifdef __linux__
/* The kernel's linux_dirent64. */
typedef struct raw_entry {
    uint64_t inode;
    int64_t next;
    uint16_t length;
    uint8_t type;
    char name[];
} raw_entry;
enum { NAME_AT = 19 };
#endif

/* The kernel's own offsets serve as cookies: they stay good when entries come and go. */
ssize_t sbx_os_read_directory(int fd, uint64_t cookie, uint8_t *buffer, size_t size)
{
#ifdef __linux__
    if (cookie > INT64_MAX) {
        errno = EINVAL;
        return -1;
    }
    if (lseek(fd, (off_t)cookie, SEEK_SET) < 0)
        return -1;
    return syscall(SYS_getdents64, fd, buffer, size);
#else
    (void)fd, (void)cookie, (void)buffer, (void)size;
    errno = ENOSYS;
    return -1;
#endif
}

bool sbx_os_next_entry(const uint8_t *buffer, size_t length, size_t *at, sbx_os_entry *out)
{
#ifdef __linux__
    static const struct {
        uint8_t host, guest;
    } types[] = {
        {1 /* DT_FIFO */, SBX_WASI_FILETYPE_UNKNOWN},        {2 /* DT_CHR */, SBX_WASI_FILETYPE_CHARACTER_DEVICE},
        {4 /* DT_DIR */, SBX_WASI_FILETYPE_DIRECTORY},       {6 /* DT_BLK */, SBX_WASI_FILETYPE_BLOCK_DEVICE},
        {8 /* DT_REG */, SBX_WASI_FILETYPE_REGULAR_FILE},    {10 /* DT_LNK */, SBX_WASI_FILETYPE_SYMBOLIC_LINK},
        {12 /* DT_SOCK */, SBX_WASI_FILETYPE_SOCKET_STREAM},
    };
    if (length - *at <= NAME_AT)
        return false;
    raw_entry raw;
    memcpy(&raw, buffer + *at, NAME_AT);
    if (raw.length <= NAME_AT || raw.length > length - *at)
        return false;
    const char *name = (const char *)buffer + *at + NAME_AT;
    *out = (sbx_os_entry){.inode = raw.inode,
                          .next = (uint64_t)raw.next,
                          .name = name,
                          .length = (uint32_t)strnlen(name, raw.length - NAME_AT),
                          .filetype = SBX_WASI_FILETYPE_UNKNOWN};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].host == raw.type)
            out->filetype = types[i].guest;
    *at += raw.length;
    return true;
#else
    (void)buffer, (void)length, (void)at, (void)out;
    return false;
#endif
}
