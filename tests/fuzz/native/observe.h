/* The observer: compiles a module, instantiates it with whatever it imports, calls every export, and notes all that shows. */
#ifndef FZ_OBSERVE_H
#define FZ_OBSERVE_H
#include "call_engine.h"
#include "fuzz.h"
#include "image.h"

/* One thing that was seen. `index` numbers calls, results and exports. */
typedef struct fz_event { uint32_t tag, index; uint64_t value; } fz_event;
enum {
    FZ_INSTANTIATED = 1, /* 0, or how it failed: a trap, or FZ_STATUS + sbx_status */
    FZ_STARTED,          /* the start function: the same */
    FZ_CALLED,           /* a call: the same */
    FZ_RESULT,           /* one value of the call before */
    FZ_FRAMES,           /* hash of a trap's backtrace (with FZ_WITH_FRAMES) */
    FZ_FUEL,             /* what the call left (with FZ_METERED) */
    FZ_HOST,             /* hash of the host calls' arguments so far */
    FZ_MEMORY_SIZE, FZ_MEMORY, FZ_GLOBAL, FZ_TABLE_SIZE, FZ_TABLE,
};
#define FZ_STATUS 100u

/* How a module is compiled and run. FZ_SIPS (metered): fuel comes a little at a time, and the calls are resumed. */
enum { FZ_COMPILED = 1, FZ_METERED = 2, FZ_EXPLICIT = 4, FZ_WITH_FRAMES = 8, FZ_SIPS = 16, FZ_CHECKED = 32 /* by sbx_x64_check */ };

/* Limits that both engines of a comparison keep. */
enum { FZ_MAX_PAGES = 64, FZ_MAX_ELEMENTS = 100000, FZ_MAX_CALLS = 24, FZ_ROUNDS = 2, FZ_TABLE_SHOWN = 24, FZ_MAX_EVENTS = 4096 };

/* The outcome of an observation. */
enum {
    FZ_SEEN,      /* the events tell all */
    FZ_REFUSED,   /* the module was: `status` says how */
    FZ_TOO_LONG,  /* fuel was spent: the events so far hold for the same executor only */
    FZ_NO_STACK,  /* the call stack was exhausted: frames differ in size, so what follows may */
    FZ_BROKEN,    /* something that must not be; `message` says what */
};
typedef struct fz_observation {
    uint32_t outcome, status, count;
    char message[256];
    fz_event events[FZ_MAX_EVENTS];
} fz_observation;

void fz_observe(const uint8_t *bytes, size_t size, uint32_t flags, int64_t fuel, fz_observation *out);

/* What both sides of a comparison must do alike. */
uint64_t fz_mix(uint64_t hash, uint64_t value);
uint64_t fz_hash(const uint8_t *bytes, size_t size);
/* NaNs are one value, references null or a number (functions: 1). */
uint64_t fz_plain(sbx_valtype type, uint64_t raw);
/* The arguments of call `call` in a round, and the results of a host function (import number, hash of its arguments). References
 * are 0 or, externref only, a small number. */
void fz_arguments(uint32_t call, uint32_t round, const uint8_t *types, uint32_t count, uint64_t *out);
void fz_host_results(uint32_t import, uint64_t hash, const uint8_t *types, uint32_t count, uint64_t *out);
/* What is given for an imported global of a type. */
uint64_t fz_imported_global(sbx_valtype type);
/* The fuel of the budget global before each call. */
enum { FZ_BUDGET = 40 };
#endif
