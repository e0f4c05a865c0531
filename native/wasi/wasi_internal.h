/* What the files of native/wasi share: the table of functions, the specification's numbers, descriptors, one call's context.
 *
 * Choices that hold everywhere:
 * - A pointer of the guest that leaves its memory answers `fault`; nothing has happened then. Result pointers are checked first.
 * - Rights are checked before anything else is done with a descriptor: missing ones answer `notcapable`.
 * - A path that leaves its directory, or begins with "/", answers `notcapable`; one that is not UTF-8 `ilseq`; with NUL `inval`.
 * - An interrupted call has changed nothing and kept its arguments: it may be run again from the start. */
#ifndef SBX_WASI_INTERNAL_H
#define SBX_WASI_INTERNAL_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include "arena.h"
#include "call_engine.h"
#include "process.h"
#include "wasi.h"

/* The functions in the specification's order: name, parameters and results (i = i32, I = i64). */
#define SBX_WASI_FUNCTIONS(X)                                                                      \
    X(args_get, "ii:i")                                                                            \
    X(args_sizes_get, "ii:i")                                                                      \
    X(environ_get, "ii:i")                                                                         \
    X(environ_sizes_get, "ii:i")                                                                   \
    X(clock_res_get, "ii:i")                                                                       \
    X(clock_time_get, "iIi:i")                                                                     \
    X(fd_advise, "iIIi:i")                                                                         \
    X(fd_allocate, "iII:i")                                                                        \
    X(fd_close, "i:i")                                                                             \
    X(fd_datasync, "i:i")                                                                          \
    X(fd_fdstat_get, "ii:i")                                                                       \
    X(fd_fdstat_set_flags, "ii:i")                                                                 \
    X(fd_fdstat_set_rights, "iII:i")                                                               \
    X(fd_filestat_get, "ii:i")                                                                     \
    X(fd_filestat_set_size, "iI:i")                                                                \
    X(fd_filestat_set_times, "iIIi:i")                                                             \
    X(fd_pread, "iiiIi:i")                                                                         \
    X(fd_prestat_get, "ii:i")                                                                      \
    X(fd_prestat_dir_name, "iii:i")                                                                \
    X(fd_pwrite, "iiiIi:i")                                                                        \
    X(fd_read, "iiii:i")                                                                           \
    X(fd_readdir, "iiiIi:i")                                                                       \
    X(fd_renumber, "ii:i")                                                                         \
    X(fd_seek, "iIii:i")                                                                           \
    X(fd_sync, "i:i")                                                                              \
    X(fd_tell, "ii:i")                                                                             \
    X(fd_write, "iiii:i")                                                                          \
    X(path_create_directory, "iii:i")                                                              \
    X(path_filestat_get, "iiiii:i")                                                                \
    X(path_filestat_set_times, "iiiiIIi:i")                                                        \
    X(path_link, "iiiiiii:i")                                                                      \
    X(path_open, "iiiiiIIii:i")                                                                    \
    X(path_readlink, "iiiiii:i")                                                                   \
    X(path_remove_directory, "iii:i")                                                              \
    X(path_rename, "iiiiii:i")                                                                     \
    X(path_symlink, "iiiii:i")                                                                     \
    X(path_unlink_file, "iii:i")                                                                   \
    X(poll_oneoff, "iiii:i")                                                                       \
    X(proc_exit, "i:")                                                                             \
    X(proc_raise, "i:i")                                                                           \
    X(sched_yield, ":i")                                                                           \
    X(random_get, "ii:i")                                                                          \
    X(sock_accept, "iii:i")                                                                        \
    X(sock_recv, "iiiiii:i")                                                                       \
    X(sock_send, "iiiii:i")                                                                        \
    X(sock_shutdown, "ii:i")
enum {
#define X(name, signature) SBX_WASI_FN_##name,
    SBX_WASI_FUNCTIONS(X)
#undef X
    SBX_WASI_FUNCTION_COUNT
};
enum { SBX_WASI_MAX_PARAMS = 9 };

/* The errno of the specification that this implementation can answer. */
enum {
    SBX_WASI_SUCCESS = 0, SBX_WASI_2BIG = 1, SBX_WASI_ACCES = 2, SBX_WASI_AGAIN = 6, SBX_WASI_BADF = 8, SBX_WASI_BUSY = 10,
    SBX_WASI_DEADLK = 16, SBX_WASI_DQUOT = 19, SBX_WASI_EXIST = 20, SBX_WASI_FAULT = 21, SBX_WASI_FBIG = 22, SBX_WASI_ILSEQ = 25,
    SBX_WASI_INTR = 27, SBX_WASI_INVAL = 28, SBX_WASI_IO = 29, SBX_WASI_ISDIR = 31, SBX_WASI_LOOP = 32, SBX_WASI_MFILE = 33,
    SBX_WASI_MLINK = 34, SBX_WASI_NAMETOOLONG = 37, SBX_WASI_NFILE = 41, SBX_WASI_NODEV = 43, SBX_WASI_NOENT = 44,
    SBX_WASI_NOMEM = 48, SBX_WASI_NOSPC = 51, SBX_WASI_NOSYS = 52, SBX_WASI_NOTDIR = 54, SBX_WASI_NOTEMPTY = 55,
    SBX_WASI_NOTSUP = 58, SBX_WASI_NOTTY = 59, SBX_WASI_NXIO = 60, SBX_WASI_OVERFLOW = 61, SBX_WASI_PERM = 63, SBX_WASI_PIPE = 64,
    SBX_WASI_RANGE = 68, SBX_WASI_ROFS = 69, SBX_WASI_SPIPE = 70, SBX_WASI_STALE = 72, SBX_WASI_TIMEDOUT = 73,
    SBX_WASI_TXTBSY = 74, SBX_WASI_XDEV = 75, SBX_WASI_NOTCAPABLE = 76,
};
/* What a function answers instead of an errno when the call does not return to the guest. */
enum { SBX_WASI_INTERRUPTED = -1, SBX_WASI_EXITED = -2, SBX_WASI_UNFUELLED = -3 };
typedef int32_t sbx_wasi_result; /* an errno or one of these */

#define SBX_WASI_RIGHT(bit) (UINT64_C(1) << (bit))
enum {
    SBX_WASI_R_FD_DATASYNC, SBX_WASI_R_FD_READ, SBX_WASI_R_FD_SEEK, SBX_WASI_R_FD_FDSTAT_SET_FLAGS, SBX_WASI_R_FD_SYNC,
    SBX_WASI_R_FD_TELL, SBX_WASI_R_FD_WRITE, SBX_WASI_R_FD_ADVISE, SBX_WASI_R_FD_ALLOCATE, SBX_WASI_R_PATH_CREATE_DIRECTORY,
    SBX_WASI_R_PATH_CREATE_FILE, SBX_WASI_R_PATH_LINK_SOURCE, SBX_WASI_R_PATH_LINK_TARGET, SBX_WASI_R_PATH_OPEN,
    SBX_WASI_R_FD_READDIR, SBX_WASI_R_PATH_READLINK, SBX_WASI_R_PATH_RENAME_SOURCE, SBX_WASI_R_PATH_RENAME_TARGET,
    SBX_WASI_R_PATH_FILESTAT_GET, SBX_WASI_R_PATH_FILESTAT_SET_SIZE, SBX_WASI_R_PATH_FILESTAT_SET_TIMES,
    SBX_WASI_R_FD_FILESTAT_GET, SBX_WASI_R_FD_FILESTAT_SET_SIZE, SBX_WASI_R_FD_FILESTAT_SET_TIMES, SBX_WASI_R_PATH_SYMLINK,
    SBX_WASI_R_PATH_REMOVE_DIRECTORY, SBX_WASI_R_PATH_UNLINK_FILE, SBX_WASI_R_POLL_FD_READWRITE, SBX_WASI_R_SOCK_SHUTDOWN,
};

enum {
    SBX_WASI_FILETYPE_UNKNOWN, SBX_WASI_FILETYPE_BLOCK_DEVICE, SBX_WASI_FILETYPE_CHARACTER_DEVICE, SBX_WASI_FILETYPE_DIRECTORY,
    SBX_WASI_FILETYPE_REGULAR_FILE, SBX_WASI_FILETYPE_SOCKET_DGRAM, SBX_WASI_FILETYPE_SOCKET_STREAM,
    SBX_WASI_FILETYPE_SYMBOLIC_LINK,
};
enum { SBX_WASI_FDFLAG_APPEND = 1, SBX_WASI_FDFLAG_DSYNC = 2, SBX_WASI_FDFLAG_NONBLOCK = 4, SBX_WASI_FDFLAG_RSYNC = 8,
       SBX_WASI_FDFLAG_SYNC = 16, SBX_WASI_FDFLAGS = 31 };
enum { SBX_WASI_CLOCK_REALTIME, SBX_WASI_CLOCK_MONOTONIC, SBX_WASI_CLOCK_PROCESS_CPUTIME, SBX_WASI_CLOCK_THREAD_CPUTIME };

/* Descriptors. Flags such as append and sync live here, not in the host's descriptor: each write carries them. */
typedef enum sbx_wasi_kind {
    SBX_WASI_FREE,
    SBX_WASI_NULL_DEVICE,
    SBX_WASI_INPUT,     /* bytes of `stdio` */
    SBX_WASI_OUTPUT,    /* collects in `stdio` */
    SBX_WASI_STREAM,    /* pipe, terminal, socket, character device of the host: may block */
    SBX_WASI_FILE,      /* regular file or block device */
    SBX_WASI_DIRECTORY,
} sbx_wasi_kind;

typedef struct sbx_wasi_stdio { /* the bytes of one standard stream */
    uint8_t *bytes;
    size_t length, capacity; /* capacity: allocated */
    size_t position;         /* input: next byte to read */
    size_t cap;              /* output: most that is kept */
    bool is_output, truncated;
    bool lent;               /* bytes is the embedder's */
} sbx_wasi_stdio;
void sbx_wasi_stdio_release(sbx_wasi_stdio *stdio);

typedef struct sbx_wasi_descriptor {
    uint8_t kind, filetype;
    uint16_t flags;              /* SBX_WASI_FDFLAG_* */
    int host_fd;                 /* -1 where there is none */
    uint64_t rights, inheriting;
    sbx_wasi_stdio *stdio;
    uint8_t *preopen_name;       /* NULL: not a preopened directory */
    uint32_t preopen_length;
} sbx_wasi_descriptor;

typedef struct sbx_wasi_strings { /* arguments or variables: all bytes in a row, each ended by NUL */
    uint8_t *bytes;
    size_t length, capacity;
    uint32_t count;
} sbx_wasi_strings;

typedef struct sbx_wasi_clocks {
    enum { SBX_WASI_CLOCKS_VIRTUAL, SBX_WASI_CLOCKS_HOST } mode;
    uint64_t start, step, ticks;                     /* virtual */
    uint64_t real_resolution, monotonic_resolution;  /* host */
    uint64_t monotonic_base;                         /* host: what the guest calls 0 */
} sbx_wasi_clocks;

typedef struct sbx_wasi_random {
    bool seeded;
    uint64_t state[4];
    uint64_t block;    /* the last output, of which `left` bytes are unused */
    uint32_t left;
} sbx_wasi_random;

typedef struct sbx_wasi_binding { sbx_wasi *wasi; uint32_t function; bool unstable; } sbx_wasi_binding;

struct sbx_wasi {
    sbx_wasi_strings args, env;
    sbx_wasi_clocks clocks;
    sbx_wasi_random random;
    uint64_t random_limit;
    sbx_wasi_descriptor *descriptors;
    uint32_t descriptor_count;  /* entries of the array */
    uint32_t descriptor_limit;
    uint32_t lowest_free;       /* no free entry lies below */
    sbx_wasi_stdio stdio[3];
    sbx_wasi_binding bindings[2][SBX_WASI_FUNCTION_COUNT];
};

/* One call by the guest. */
typedef struct sbx_wasi_call {
    sbx_wasi *wasi;
    sbx_call_engine *engine;
    sbx_memory *memory;         /* may be NULL */
    uint64_t args[SBX_WASI_MAX_PARAMS]; /* i32: zero-extended */
    bool unstable;              /* called under the older name */
    bool metered;
} sbx_wasi_call;

#define X(name, signature) sbx_wasi_result sbx_wasi_##name(sbx_wasi_call *call);
SBX_WASI_FUNCTIONS(X)
#undef X

static inline uint32_t sbx_wasi_u32(const sbx_wasi_call *call, unsigned index) { return (uint32_t)call->args[index]; }

/* layout.c: guest memory. */
enum { SBX_WASI_MAX_IOVECS = 1024, SBX_WASI_PATH_SIZE = 4096 };
typedef struct sbx_wasi_iovecs {
    struct iovec entries[SBX_WASI_MAX_IOVECS];
    uint32_t count;    /* entries of length 0 are left out */
    uint32_t total;    /* bytes */
} sbx_wasi_iovecs;
/* The bytes [address, address + length) of the guest, or NULL. */
uint8_t *sbx_wasi_guest(const sbx_wasi_call *call, uint32_t address, uint64_t length);
uint16_t sbx_wasi_load16(const uint8_t *at);
uint32_t sbx_wasi_load32(const uint8_t *at);
uint64_t sbx_wasi_load64(const uint8_t *at);
void sbx_wasi_store16(uint8_t *at, uint16_t value);
void sbx_wasi_store32(uint8_t *at, uint32_t value);
void sbx_wasi_store64(uint8_t *at, uint64_t value);
/* Reads an array of iovec once and checks every buffer: more than 1,024 or a sum beyond 2^32-1 is inval. */
sbx_wasi_result sbx_wasi_read_iovecs(const sbx_wasi_call *call, uint32_t address, uint32_t count, sbx_wasi_iovecs *out);
/* Copies a path out of guest memory, NUL-terminated: checked for length, NUL, UTF-8; empty is noent. */
sbx_wasi_result sbx_wasi_read_path(const sbx_wasi_call *call, uint32_t address, uint32_t length, char out[SBX_WASI_PATH_SIZE]);
/* The size of a filestat, and writing one: 64 bytes, or 56 under the older name. */
uint32_t sbx_wasi_filestat_size(const sbx_wasi_call *call);
void sbx_wasi_write_filestat(const sbx_wasi_call *call, uint8_t *at, const struct stat *st, uint8_t filetype);
uint8_t sbx_wasi_filetype_of(mode_t mode);

/* table.c */
/* Pays fuel for `bytes` bytes before they are moved, one unit for eight; false: answer SBX_WASI_UNFUELLED. */
bool sbx_wasi_charge(const sbx_wasi_call *call, uint64_t bytes);

/* errno_map.c: the one place where the host's errno becomes the guest's. */
sbx_wasi_result sbx_wasi_errno(int host_errno);

/* args.c */
sbx_status sbx_wasi_strings_add(sbx_wasi_strings *strings, const sbx_wasi_strings *other, const uint8_t *bytes, size_t length,
                                sbx_error *err);
sbx_wasi_result sbx_wasi_strings_get(sbx_wasi_call *call, const sbx_wasi_strings *strings);
sbx_wasi_result sbx_wasi_strings_sizes(sbx_wasi_call *call, const sbx_wasi_strings *strings);

/* clock.c: what the guest sees; the clock's number must have been checked. */
bool sbx_wasi_clock_known(uint32_t clock);
uint64_t sbx_wasi_clock_read(sbx_wasi *wasi, uint32_t clock);       /* advances a virtual clock */
uint64_t sbx_wasi_clock_peek(const sbx_wasi *wasi, uint32_t clock); /* does not */
uint64_t sbx_wasi_clock_deadline(const sbx_wasi *wasi, uint32_t clock, uint64_t timeout);
uint64_t sbx_wasi_clock_until(const sbx_wasi *wasi, uint32_t clock, uint64_t deadline); /* ns from now, 0 when reached */
void sbx_wasi_clock_advance(sbx_wasi *wasi, uint64_t ns);           /* virtual only */
uint64_t sbx_wasi_file_time(const sbx_wasi *wasi, const struct timespec *time);
/* The two timespecs for utimensat; fst_flags of the specification. */
sbx_wasi_result sbx_wasi_set_times(sbx_wasi *wasi, uint64_t atim, uint64_t mtim, uint32_t fst_flags, struct timespec out[2]);

/* host_os.c: what is not in POSIX; each answers 0 or more, or -1 with errno. */
int sbx_os_open_beneath(int directory, const char *path, int flags, mode_t mode); /* ENOSYS where it cannot be confined */
int sbx_os_wait(int fd, short events, uint64_t ns, short *revents);               /* 1 ready, 0 not */
int sbx_os_wait_many(void *pollfds, uint32_t count, uint64_t ns);
int sbx_os_random(uint8_t *to, size_t length); /* how many it gave */
ssize_t sbx_os_write(int fd, const struct iovec *iov, int count, int64_t offset /* -1: at the position */, uint16_t fdflags);
int sbx_os_allocate(int fd, uint64_t offset, uint64_t length);
typedef struct sbx_os_entry { uint64_t inode, next; const char *name; uint32_t length; uint8_t filetype; } sbx_os_entry;
/* One block of entries from `cookie` on: bytes in `buffer`, 0 at the end of the directory. */
ssize_t sbx_os_read_directory(int fd, uint64_t cookie, uint8_t *buffer, size_t size);
bool sbx_os_next_entry(const uint8_t *buffer, size_t length, size_t *at, sbx_os_entry *out);

enum { SBX_WASI_SLICE_NS = 10 * 1000 * 1000 }; /* the longest wait that does not look for an interrupt */

/* fd_table.c */
#define SBX_WASI_BIT(name) SBX_WASI_RIGHT(SBX_WASI_R_##name)
uint64_t sbx_wasi_rights_of_kind(uint8_t kind, uint8_t filetype);
uint64_t sbx_wasi_directory_rights(bool writable);
uint64_t sbx_wasi_file_rights(bool writable);
/* The open descriptor with all of these rights: badf, notcapable. */
sbx_wasi_result sbx_wasi_descriptor_get(sbx_wasi_call *call, uint32_t fd, uint64_t rights, sbx_wasi_descriptor **out);
/* The same for path functions: notdir when it is no directory. */
sbx_wasi_result sbx_wasi_directory_get(sbx_wasi_call *call, uint32_t fd, uint64_t rights, sbx_wasi_descriptor **out);
/* The lowest free number from 3 on: mfile, nomem. The entry is still FREE; the table may have moved. */
sbx_wasi_result sbx_wasi_descriptor_reserve(sbx_wasi *wasi, uint32_t *fd);
void sbx_wasi_descriptor_close(sbx_wasi *wasi, uint32_t fd);

/* stdio.c */
uint32_t sbx_wasi_input_read(sbx_wasi_stdio *input, const sbx_wasi_iovecs *iovecs);
sbx_wasi_result sbx_wasi_output_write(sbx_wasi_stdio *output, const sbx_wasi_iovecs *iovecs, uint32_t *done);

/* path_resolver.c */
/* openat2 beneath the directory; an errno of the guest. */
sbx_wasi_result sbx_wasi_resolve(sbx_wasi_call *call, int directory, const char *path, int flags, mode_t mode, int *out);
typedef struct sbx_wasi_parent {
    int fd;            /* of the directory that holds the last component */
    bool owned;
    char name[258];    /* the last component, with one "/" where the path ended in slashes */
} sbx_wasi_parent;
/* Splits off the last component and opens what is before it. "." and ".." as the last component answer `dots`. */
sbx_wasi_result sbx_wasi_resolve_parent(sbx_wasi_call *call, int directory, const char *path, sbx_wasi_result dots,
                                        sbx_wasi_parent *out);
void sbx_wasi_parent_release(sbx_wasi_parent *parent);
/* True when a symbolic link at `link` with this text could lead out of the directory, as far as the texts tell. */
bool sbx_wasi_target_escapes(const char *link, const char *target);
#endif
