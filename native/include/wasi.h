/* WASI preview1 for one guest program: what it is granted, and the functions that its module imports. */
#ifndef SBX_WASI_H
#define SBX_WASI_H
#include "runtime.h"

/* The environment of one program: arguments, variables, clocks, random source, descriptors. A new one grants nothing:
 * no argument, no variable, no directory; descriptors 0, 1 and 2 are null devices; clocks are virtual; random bytes come
 * from seed 0. Belongs to one store, used by one thread at a time, freed after the store. Configure it before the guest
 * runs. The process must ignore SIGPIPE and SIGXFSZ, as CPython does. */
typedef struct sbx_wasi sbx_wasi;

sbx_wasi *sbx_wasi_new(void); /* NULL: no memory */
/* As if new, for the functions that were bound to it; false: no memory, and it can only be freed. */
bool sbx_wasi_renew(sbx_wasi *wasi);
void sbx_wasi_free(sbx_wasi *wasi); /* closes every descriptor; NULL is allowed */

/* Arguments and variables: bytes without NUL, at most 64 MiB in all; the first argument is the program's name, a variable
 * is KEY=VALUE. SBX_USAGE (with words) or SBX_NO_MEMORY otherwise. */
sbx_status sbx_wasi_add_arg(sbx_wasi *wasi, const uint8_t *bytes, size_t length, sbx_error *err);
sbx_status sbx_wasi_add_env(sbx_wasi *wasi, const uint8_t *bytes, size_t length, sbx_error *err);

/* Grants a directory: the guest finds it under guest_path (UTF-8, as it will write it: "/data"), as the next free
 * descriptor from 3 on, in the order of the calls. The descriptor is reopened, so the caller may close host_fd at once.
 * Without `writable` the guest may look, open and read, nothing else, also in what it opens through it. SBX_UNSUPPORTED
 * where the system has no openat2 (Linux before 5.6): paths could not be confined. SBX_USAGE when it is no directory. */
sbx_status sbx_wasi_preopen_dir(sbx_wasi *wasi, int host_fd, const uint8_t *guest_path, size_t length, bool writable,
                                sbx_error *err);

/* Standard streams; fd is 0, 1 or 2. 0 may be read, 1 and 2 written. Each replaces what was there. */
sbx_status sbx_wasi_stdio_closed(sbx_wasi *wasi, uint32_t fd, sbx_error *err);             /* every use answers badf */
sbx_status sbx_wasi_stdio_null(sbx_wasi *wasi, uint32_t fd, sbx_error *err);               /* at its end when read, swallows */
sbx_status sbx_wasi_stdio_host(sbx_wasi *wasi, uint32_t fd, int host_fd, sbx_error *err);  /* dup'ed; not a directory */
sbx_status sbx_wasi_stdio_input(sbx_wasi *wasi, uint32_t fd, const uint8_t *bytes, size_t length, sbx_error *err); /* copied */
/* Collects what the guest writes, up to `cap` bytes; beyond, writes are cut short, then answer nospc, and `truncated` is set. */
sbx_status sbx_wasi_stdio_output(sbx_wasi *wasi, uint32_t fd, size_t cap, sbx_error *err);
/* The same with memory of the embedder's, which must stay until the stream is replaced or the environment renewed or freed: input
 * that nobody else changes in a way that matters; room for the first `length` bytes of output (more is collected elsewhere, all of it). */
sbx_status sbx_wasi_stdio_lend_input(sbx_wasi *wasi, uint32_t fd, const uint8_t *bytes, size_t length, sbx_error *err);
sbx_status sbx_wasi_stdio_lend_output(sbx_wasi *wasi, uint32_t fd, size_t cap, uint8_t *room, size_t length, sbx_error *err);
/* How many bytes of output lie in the room that was lent, when that is all that the guest wrote; else 0. */
size_t sbx_wasi_output_lent(const sbx_wasi *wasi, uint32_t fd);
/* Nothing was collected, nothing cut off. */
bool sbx_wasi_output_none(const sbx_wasi *wasi, uint32_t fd);
/* What an output collected, also after the guest closed or renumbered it. The pointer holds until the guest runs again.
 * NULL with length 0 when nothing was written or fd is no output. */
const uint8_t *sbx_wasi_output(const sbx_wasi *wasi, uint32_t fd, size_t *length, bool *truncated);
void sbx_wasi_output_clear(sbx_wasi *wasi, uint32_t fd); /* forgets what was collected, for the next call of the same instance */

/* Clocks, in nanoseconds. All but the real-time clock start at 0 when the sbx_wasi is made or its clock is set; the two
 * CPU-time clocks are the monotonic clock: a process's true CPU time would tell one guest about the others. File times are
 * rounded down to the real-time clock's resolution (virtual: to seconds).
 * virtual: deterministic. Real time starts at `start`; every reading advances by `step` (0 = 1,000); sleeping takes no
 *          time and advances by what was asked. The default, with start 0.
 * coarse:  the host's clocks, rounded down to a resolution (0 or 1 = full); a sleep ends on a multiple of it.
 * full:    the host's clocks as they are. */
void sbx_wasi_clock_virtual(sbx_wasi *wasi, uint64_t start, uint64_t step);
void sbx_wasi_clock_coarse(sbx_wasi *wasi, uint64_t realtime, uint64_t monotonic);
void sbx_wasi_clock_full(sbx_wasi *wasi);

/* random_get: the operating system's generator, or a deterministic stream: xoshiro256** whose state is four outputs of
 * SplitMix64(seed), as little-endian bytes; the stream does not depend on how the guest cuts it. Not for secrets. */
void sbx_wasi_random_os(sbx_wasi *wasi);
void sbx_wasi_random_seed(sbx_wasi *wasi, uint64_t seed);

/* Limits. Descriptors: open at once, standard streams and directories included (default 1,024, at most 1,048,576):
 * beyond, mfile. random_bytes: of one call (default 0: what fits in memory): beyond, inval. Random bytes come in chunks,
 * between which an interrupt is seen. */
sbx_status sbx_wasi_limit(sbx_wasi *wasi, uint32_t descriptors, uint64_t random_bytes, sbx_error *err);

/* The functions, in the order of the specification, the same 46 under both module names. */
uint32_t sbx_wasi_function_count(void);
const char *sbx_wasi_function_name(uint32_t index);      /* "args_get"; NULL past the end */
const char *sbx_wasi_function_signature(uint32_t index); /* "ii:i": parameters, results; i = i32, I = i64 */
/* True for `wasi_snapshot_preview1` and `wasi_unstable`. */
bool sbx_wasi_is_module(const uint8_t *module, size_t length);
/* A native function of the store for one import. SBX_LINK "unknown import" when there is no such function. */
sbx_status sbx_wasi_function(sbx_wasi *wasi, sbx_store *store, const uint8_t *module, size_t module_length,
                             const uint8_t *name, size_t name_length, sbx_function **out, sbx_error *err);
#endif
