/* Opening images: mapping a sealed descriptor or copying bytes, the reference count, and access to names and types. */
#include "image_internal.h"
#include "process.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#if defined __linux__ && !defined F_GET_SEALS /* <fcntl.h> shows them under _GNU_SOURCE only */
#define F_GET_SEALS 1034
#define F_SEAL_SHRINK 0x0002
#define F_SEAL_GROW 0x0004
#define F_SEAL_WRITE 0x0008
#endif

static sbx_status bad(sbx_error *err, const char *why)
{
    return sbx_fail(err, SBX_BAD_IMAGE, SBX_NO_OFFSET, "not an image of this build: %s", why);
}

/* Without the seals whoever holds the descriptor could change an image after it was checked, or truncate it under the mapping. */
static sbx_status check_seals(int fd, sbx_error *err)
{
#ifdef F_GET_SEALS
    const int needed = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW;
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || (seals & needed) != needed)
        return bad(err, "the descriptor is not sealed");
    return SBX_OK;
#else
    (void)fd;
    return bad(err, "this system has no seals");
#endif
}

static sbx_image *image_new(int fd, const uint8_t *base, uint64_t size)
{
    sbx_image *image = sbx_calloc(1, sizeof *image);
    if (!image)
        return NULL;
    *image = (sbx_image){(const sbx_image_header *)base, base, size, fd, 1, NULL};
    return image;
}

static void unmap(int fd, const uint8_t *base, uint64_t size)
{
    if (fd >= 0) {
        munmap((void *)base, size);
        close(fd);
    } else {
        sbx_free((void *)base);
    }
}

/* Machine code: a second mapping of the sealed descriptor, read + execute; or a private copy that is written, then made
 * executable. */
static sbx_status map_machine(sbx_image *image, sbx_error *err)
{
    uint64_t bytes = image->header->sections[SBX_IMAGE_MACHINE].bytes, offset = image->header->sections[SBX_IMAGE_MACHINE].offset;
    if (!bytes)
        return SBX_OK;
    void *code;
    if (image->fd >= 0) {
        code = mmap(NULL, bytes, PROT_READ | PROT_EXEC, MAP_PRIVATE, image->fd, (off_t)offset);
    } else {
        code = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (code != MAP_FAILED) {
            memcpy(code, image->base + offset, bytes);
            if (mprotect(code, bytes, PROT_READ | PROT_EXEC)) {
                munmap(code, bytes);
                code = MAP_FAILED;
            }
        }
    }
    if (code == MAP_FAILED)
        return sbx_fail(err, SBX_NO_MEMORY, SBX_NO_OFFSET, "cannot map machine code: %s", strerror(errno));
    image->machine = code;
    return SBX_OK;
}

/* Owns base and fd from here on: releases them when the image is refused. */
static sbx_status finish(int fd, const uint8_t *base, uint64_t size, bool runs, sbx_image **out, sbx_error *err)
{
    sbx_image *image = image_new(fd, base, size);
    if (!image) {
        unmap(fd, base, size);
        return sbx_fail(err, SBX_NO_MEMORY, SBX_NO_OFFSET, "no memory to open an image");
    }
    sbx_status status = sbx_image_check(image, err);
    if (status == SBX_OK && runs)
        status = map_machine(image, err);
    if (status != SBX_OK) {
        sbx_image_release(image);
        return status;
    }
    *out = image;
    return SBX_OK;
}

sbx_status sbx_image_open(int fd, bool allow_unsealed, sbx_image **out, sbx_error *err)
{
    struct stat info;
    *out = NULL;
    if (sbx_process_fstat(fd, &info) != 0)
        return bad(err, strerror(errno));
    sbx_status status = allow_unsealed ? SBX_OK : check_seals(fd, err);
    if (status != SBX_OK)
        return status;
    if (!S_ISREG(info.st_mode) || info.st_size < (off_t)sizeof(sbx_image_header))
        return bad(err, "too short");
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (own < 0)
        return sbx_fail(err, SBX_NO_MEMORY, SBX_NO_OFFSET, "no descriptor for an image: %s", strerror(errno));
    uint64_t size = (uint64_t)info.st_size;
    /* MAP_PRIVATE: older kernels refuse a shared mapping of a descriptor sealed against writing. Its pages are shared even so. */
    void *base = mmap(NULL, size, PROT_READ, MAP_PRIVATE, own, 0);
    if (base == MAP_FAILED) {
        int reason = errno;
        close(own);
        return sbx_fail(err, SBX_NO_MEMORY, SBX_NO_OFFSET, "cannot map an image of %llu bytes: %s",
                        (unsigned long long)size, strerror(reason));
    }
    return finish(own, base, size, true, out, err);
}

static sbx_status from_bytes(const uint8_t *bytes, uint64_t size, bool runs, sbx_image **out, sbx_error *err)
{
    *out = NULL;
    if (size < sizeof(sbx_image_header))
        return bad(err, "too short");
    uint8_t *copy = sbx_malloc(size);
    if (!copy)
        return sbx_fail(err, SBX_NO_MEMORY, SBX_NO_OFFSET, "no memory for an image of %llu bytes", (unsigned long long)size);
    memcpy(copy, bytes, size);
    return finish(-1, copy, size, runs, out, err);
}

sbx_status sbx_image_from_bytes(const uint8_t *bytes, uint64_t size, sbx_image **out, sbx_error *err)
{
    return from_bytes(bytes, size, true, out, err);
}

sbx_status sbx_image_describe(const uint8_t *bytes, uint64_t size, sbx_image **out, sbx_error *err)
{
    return from_bytes(bytes, size, false, out, err);
}

void sbx_image_retain(sbx_image *image) { __atomic_add_fetch(&image->references, 1, __ATOMIC_RELAXED); }

void sbx_image_release(sbx_image *image)
{
    if (!image || __atomic_sub_fetch(&image->references, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    if (image->machine)
        munmap((void *)image->machine, image->header->sections[SBX_IMAGE_MACHINE].bytes);
    unmap(image->fd, image->base, image->size);
    sbx_free(image);
}

sbx_name sbx_image_name_of(const sbx_image *image, sbx_image_name name)
{
    return (sbx_name){SBX_IMAGE_AT(image, NAMES, uint8_t) + name.offset, name.length};
}

sbx_functype sbx_image_functype(const sbx_image *image, uint32_t type_index)
{
    const sbx_image_type *type = SBX_IMAGE_AT(image, TYPES, sbx_image_type) + type_index;
    return (sbx_functype){type->params, type->results, SBX_IMAGE_AT(image, VALTYPES, sbx_valtype) + type->first};
}
