/* Outcome codes of every fallible function of the core, trap causes with the specification's words, and the error record. */
#ifndef SBX_STATUS_H
#define SBX_STATUS_H
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* code, text: text is what the Python side looks its exception class up by. */
#define SBX_STATUS_LIST(X)                                                                         \
    X(OK, "ok")                                                                                    \
    X(MALFORMED, "decode")          /* the binary format is broken: DecodeError */                 \
    X(INVALID, "validation")        /* the module does not validate: ValidationError */            \
    X(UNSUPPORTED, "unsupported")   /* valid in a later version of the specification: ValidationError that names the feature */ \
    X(MODULE_LIMIT, "module_limit") /* a hard limit on modules: LimitExceeded */                   \
    X(LINK, "link")                 /* unknown or incompatible import: LinkError */                \
    X(INSTANTIATE, "instantiation") /* InstantiationError */                                       \
    X(ELEMENT_OFFSET, "element_offset") /* ElementOffsetOutOfBounds */                             \
    X(MEMORY_LIMIT, "memory_limit") /* a memory or table larger than the store allows: MemoryLimit */ \
    X(NO_MEMORY, "no_memory")       /* the machine refused an allocation */                        \
    X(BAD_IMAGE, "bad_image")       /* not an image of this build */                               \
    X(TRAP, "trap")                                                                                \
    X(EXIT, "exit")                 /* proc_exit; the code is in the call engine */                \
    X(HOST_CALL, "host_call")       /* suspended at a host function; answer, then resume */        \
    X(INTERRUPTED, "interrupted")   /* the interrupt flag was seen; may be resumed */              \
    X(OUT_OF_FUEL, "fuel")          /* fuel is spent; may be resumed after refuelling */           \
    X(STACK_EXHAUSTED, "stack")     /* call depth, value stack or native stack: "call stack exhausted" */ \
    X(BUSY, "busy")                 /* the store is in use by another thread */                    \
    X(USAGE, "usage")               /* the caller broke the interface: a bug on our side */

typedef enum sbx_status {
#define X(name, text) SBX_##name,
    SBX_STATUS_LIST(X)
#undef X
    SBX_STATUS_COUNT
} sbx_status;

/* Trap causes. The words are those of the specification's test suite. */
#define SBX_TRAP_LIST(X)                                                                           \
    X(NONE, "none")                                                                                \
    X(UNREACHABLE, "unreachable")                                                                  \
    X(DIVIDE_BY_ZERO, "integer divide by zero")                                                    \
    X(INTEGER_OVERFLOW, "integer overflow")                                                        \
    X(INVALID_CONVERSION, "invalid conversion to integer")                                         \
    X(MEMORY_BOUNDS, "out of bounds memory access")                                                \
    X(TABLE_BOUNDS, "out of bounds table access")                                                  \
    X(UNDEFINED_ELEMENT, "undefined element")                                                      \
    X(UNINITIALIZED_ELEMENT, "uninitialized element")                                              \
    X(INDIRECT_CALL_TYPE, "indirect call type mismatch")                                           \
    X(STACK, "call stack exhausted")                                                               \
    X(FUEL, "all fuel consumed")                                                                   \
    X(INTERRUPT, "interrupted")                                                                    \
    X(HOST, "host function failed")

typedef enum sbx_trap {
#define X(name, text) SBX_TRAP_##name,
    SBX_TRAP_LIST(X)
#undef X
    SBX_TRAP_COUNT
} sbx_trap;

#define SBX_NO_OFFSET UINT64_MAX

/* The first error wins; later ones do not overwrite it. */
typedef struct sbx_error {
    uint32_t status;    /* sbx_status */
    uint32_t trap;      /* sbx_trap, when status is SBX_TRAP */
    uint64_t offset;    /* byte offset in the module, or SBX_NO_OFFSET */
    char message[256];  /* printable, NUL-terminated, always valid UTF-8 */
} sbx_error;

const char *sbx_status_text(uint32_t status);
const char *sbx_trap_message(uint32_t trap);
void sbx_error_clear(sbx_error *err);
/* Records and returns `status`; untrusted text given to %s must have passed sbx_printable. err may be NULL. */
sbx_status sbx_fail(sbx_error *err, sbx_status status, uint64_t offset, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* Copies at most cap-1 bytes of untrusted text, escaping what is not printable ASCII; returns out. */
const char *sbx_printable(char *out, size_t cap, const uint8_t *text, size_t length);
#endif
