/* Guest memory: checked access, little-endian numbers, and the structures whose layout differs between the two names of preview1.
 */
#include "wasi_internal.h"
#include <string.h>
#include "reader.h"

uint8_t *sbx_wasi_guest(const sbx_wasi_call *call, uint32_t address, uint64_t length)
{
    return sbx_memory_contains(call->memory, address, length) ? call->memory->base + address : NULL;
}

/* Byte by byte: alignment and byte order of the host do not matter, and compilers make one load or store of it. */
uint16_t sbx_wasi_load16(const uint8_t *at) { return (uint16_t)(at[0] | at[1] << 8); }
uint32_t sbx_wasi_load32(const uint8_t *at) { return sbx_wasi_load16(at) | (uint32_t)sbx_wasi_load16(at + 2) << 16; }
uint64_t sbx_wasi_load64(const uint8_t *at) { return sbx_wasi_load32(at) | (uint64_t)sbx_wasi_load32(at + 4) << 32; }

void sbx_wasi_store16(uint8_t *at, uint16_t value)
{
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
}

void sbx_wasi_store32(uint8_t *at, uint32_t value)
{
    sbx_wasi_store16(at, (uint16_t)value);
    sbx_wasi_store16(at + 2, (uint16_t)(value >> 16));
}

void sbx_wasi_store64(uint8_t *at, uint64_t value)
{
    sbx_wasi_store32(at, (uint32_t)value);
    sbx_wasi_store32(at + 4, (uint32_t)(value >> 32));
}

/* iovec and ciovec: {u32 buffer, u32 length}. */
sbx_wasi_result sbx_wasi_read_iovecs(const sbx_wasi_call *call, uint32_t address, uint32_t count, sbx_wasi_iovecs *out)
{
    out->count = out->total = 0;
    if (count > SBX_WASI_MAX_IOVECS)
        return SBX_WASI_INVAL;
    const uint8_t *array = sbx_wasi_guest(call, address, (uint64_t)count * 8);
    if (!array)
        return SBX_WASI_FAULT;
    uint64_t total = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t buffer = sbx_wasi_load32(array + (size_t)i * 8), length = sbx_wasi_load32(array + (size_t)i * 8 + 4);
        if (!length)
            continue; /* an empty slice may dangle */
        uint8_t *at = sbx_wasi_guest(call, buffer, length);
        if (!at)
            return SBX_WASI_FAULT;
        total += length;
        if (total > UINT32_MAX)
            return SBX_WASI_INVAL; /* the count of bytes that is answered has 32 bits */
        out->entries[out->count++] = (struct iovec){at, length};
    }
    out->total = (uint32_t)total;
    return SBX_WASI_SUCCESS;
}

sbx_wasi_result sbx_wasi_read_path(const sbx_wasi_call *call, uint32_t address, uint32_t length, char out[SBX_WASI_PATH_SIZE])
{
    const uint8_t *text = sbx_wasi_guest(call, address, length);
    if (!text)
        return SBX_WASI_FAULT;
    if (!length)
        return SBX_WASI_NOENT;
    if (length >= SBX_WASI_PATH_SIZE)
        return SBX_WASI_NAMETOOLONG;
    if (memchr(text, 0, length))
        return SBX_WASI_INVAL;
    if (!sbx_is_utf8(text, length))
        return SBX_WASI_ILSEQ;
    memcpy(out, text, length);
    out[length] = 0;
    return SBX_WASI_SUCCESS;
}

uint8_t sbx_wasi_filetype_of(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFBLK: return SBX_WASI_FILETYPE_BLOCK_DEVICE;
    case S_IFCHR: return SBX_WASI_FILETYPE_CHARACTER_DEVICE;
    case S_IFDIR: return SBX_WASI_FILETYPE_DIRECTORY;
    case S_IFREG: return SBX_WASI_FILETYPE_REGULAR_FILE;
    case S_IFLNK: return SBX_WASI_FILETYPE_SYMBOLIC_LINK;
    case S_IFSOCK: return SBX_WASI_FILETYPE_SOCKET_STREAM;
    default: return SBX_WASI_FILETYPE_UNKNOWN; /* a pipe: the specification has no name for it */
    }
}

uint32_t sbx_wasi_filestat_size(const sbx_wasi_call *call) { return call->unstable ? 56 : 64; }

/*           dev  ino  filetype  nlink     size  atim  mtim  ctim
 * preview1   0    8    16       24 (u64)   32    40    48    56
 * unstable   0    8    16       20 (u32)   24    32    40    48  */
void sbx_wasi_write_filestat(const sbx_wasi_call *call, uint8_t *at, const struct stat *st, uint8_t filetype)
{
    memset(at, 0, sbx_wasi_filestat_size(call));
    sbx_wasi_store64(at, (uint64_t)st->st_dev);
    sbx_wasi_store64(at + 8, (uint64_t)st->st_ino);
    at[16] = filetype;
    if (call->unstable)
        sbx_wasi_store32(at + 20, st->st_nlink > UINT32_MAX ? UINT32_MAX : (uint32_t)st->st_nlink);
    else
        sbx_wasi_store64(at + 24, (uint64_t)st->st_nlink);
    uint8_t *rest = at + (call->unstable ? 24 : 32);
    sbx_wasi_store64(rest, (uint64_t)st->st_size);
    sbx_wasi_store64(rest + 8, sbx_wasi_file_time(call->wasi, &st->st_atim));
    sbx_wasi_store64(rest + 16, sbx_wasi_file_time(call->wasi, &st->st_mtim));
    sbx_wasi_store64(rest + 24, sbx_wasi_file_time(call->wasi, &st->st_ctim));
}
