/* The environment of one program: made, limited, given its directories, freed. */
#include "wasi_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include "reader.h"

enum { DEFAULT_DESCRIPTORS = 1024, MAX_DESCRIPTORS = 1 << 20, FIRST_DESCRIPTORS = 16 };

/* From all zero to what grants nothing. */
static bool set_up(sbx_wasi *wasi)
{
    wasi->descriptors = sbx_calloc(FIRST_DESCRIPTORS, sizeof *wasi->descriptors);
    if (!wasi->descriptors)
        return false;
    wasi->descriptor_count = FIRST_DESCRIPTORS;
    wasi->descriptor_limit = DEFAULT_DESCRIPTORS;
    for (uint32_t fd = 0; fd < 3; fd++)
        sbx_wasi_stdio_null(wasi, fd, NULL);
    sbx_wasi_clock_virtual(wasi, 0, 0);
    sbx_wasi_random_seed(wasi, 0);
    return true;
}

sbx_wasi *sbx_wasi_new(void)
{
    sbx_wasi *wasi = sbx_calloc(1, sizeof *wasi);
    if (!wasi)
        return NULL;
    if (!set_up(wasi)) {
        sbx_free(wasi);
        return NULL;
    }
    return wasi;
}

static void tear_down(sbx_wasi *wasi)
{
    for (uint32_t fd = 0; fd < wasi->descriptor_count; fd++)
        sbx_wasi_descriptor_close(wasi, fd);
    for (int i = 0; i < 3; i++)
        sbx_wasi_stdio_release(&wasi->stdio[i]);
    sbx_free(wasi->args.bytes);
    sbx_free(wasi->env.bytes);
    sbx_free(wasi->descriptors);
}

void sbx_wasi_free(sbx_wasi *wasi)
{
    if (!wasi)
        return;
    tear_down(wasi);
    sbx_free(wasi);
}

bool sbx_wasi_renew(sbx_wasi *wasi)
{
    tear_down(wasi);
    memset(wasi, 0, offsetof(sbx_wasi, bindings)); /* these stay: functions point to them */
    return set_up(wasi);
}

sbx_status sbx_wasi_limit(sbx_wasi *wasi, uint32_t descriptors, uint64_t random_bytes, sbx_error *err)
{
    if (!descriptors)
        descriptors = DEFAULT_DESCRIPTORS;
    if (descriptors < 3 || descriptors > MAX_DESCRIPTORS)
        return sbx_fail(err, SBX_USAGE, SBX_NO_OFFSET, "the limit of open descriptors must be 3 to %d, not %u", MAX_DESCRIPTORS,
                        descriptors);
    wasi->descriptor_limit = descriptors;
    wasi->random_limit = random_bytes;
    return SBX_OK;
}

static sbx_status open_refused(int reason, sbx_error *err)
{
    switch (reason) {
    case ENOSYS:
        return sbx_fail(err, SBX_UNSUPPORTED, SBX_NO_OFFSET,
                        "this system has no openat2 (Linux from 5.6 on has): directories cannot be granted");
    case ENOTDIR: return sbx_fail(err, SBX_USAGE, SBX_NO_OFFSET, "a directory to grant is not a directory");
    default: return sbx_fail(err, SBX_USAGE, SBX_NO_OFFSET, "a directory to grant cannot be opened: %s", strerror(reason));
    }
}

sbx_status sbx_wasi_preopen_dir(sbx_wasi *wasi, int host_fd, const uint8_t *guest_path, size_t length, bool writable,
                                sbx_error *err)
{
    if (!length || length >= SBX_WASI_PATH_SIZE || memchr(guest_path, 0, length) || !sbx_is_utf8(guest_path, length))
        return sbx_fail(err, SBX_USAGE, SBX_NO_OFFSET,
                        "the guest's path of a directory must be 1 to %d bytes of UTF-8 without NUL", SBX_WASI_PATH_SIZE - 1);
    uint32_t fd;
    sbx_wasi_result result = sbx_wasi_descriptor_reserve(wasi, &fd);
    if (result)
        return sbx_fail(err, result == SBX_WASI_MFILE ? SBX_USAGE : SBX_NO_MEMORY, SBX_NO_OFFSET,
                        result == SBX_WASI_MFILE ? "more directories than descriptors" : "out of memory for descriptors");
    /* Reopened, not dup'ed: reading the directory must not move the caller's position in it. */
    int own = sbx_os_open_beneath(host_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (own < 0)
        return open_refused(errno, err);
    uint8_t *name = sbx_malloc(length);
    if (!name) {
        close(own);
        return sbx_fail(err, SBX_NO_MEMORY, SBX_NO_OFFSET, "out of memory for descriptors");
    }
    memcpy(name, guest_path, length);
    uint64_t rights = sbx_wasi_directory_rights(writable);
    wasi->descriptors[fd] = (sbx_wasi_descriptor){.kind = SBX_WASI_DIRECTORY,
                                                  .filetype = SBX_WASI_FILETYPE_DIRECTORY,
                                                  .host_fd = own,
                                                  .rights = rights,
                                                  .inheriting = rights | sbx_wasi_file_rights(writable),
                                                  .preopen_name = name,
                                                  .preopen_length = (uint32_t)length};
    return SBX_OK;
}
