/* Calls that come by the lifeline and are answered here: read, run and answered by one thread without the interpreter of the embedder.
 *
 * The embedder adds an entry for each function that may be called so, with the bytes by which its CALL is known; the layout of messages
 * is its affair. What is not exactly such a call stays where it is, for the embedder to read; what does not simply end with results is
 * handed over in the middle. */
#ifndef SBX_LINE_H
#define SBX_LINE_H
#include <pthread.h>
#include "call_engine.h"

enum { SBX_LINE_ENTRIES = 32, SBX_LINE_SLOTS = 16, SBX_LINE_BYTES = 192, SBX_LINE_DATAGRAM = 1024, SBX_LINE_OVERTAKEN = 64 };

/* What sbx_line_serve returns with. */
typedef enum {
    SBX_LINE_READ,   /* there is something that the embedder should read; nothing was taken */
    SBX_LINE_WOKEN,  /* sbx_line_wake */
    SBX_LINE_BEGUN,  /* a call was taken, and its outcome is `status`: the embedder finishes it, then sbx_line_settle */
    SBX_LINE_CARE,   /* a call was answered; its instance cannot be made as new, or was retracted meanwhile: `current` says which */
    SBX_LINE_GONE    /* nobody is at the other end */
} sbx_line_event;

/* A few bytes that a message has to have, or gets. */
typedef struct sbx_line_bytes { uint32_t length; uint8_t bytes[SBX_LINE_BYTES]; } sbx_line_bytes;

/* A CALL is: the line's `call` · id · `middle` · time left · `tail` · arguments, a slot each. Numbers are msgpack's. */
typedef struct sbx_line_entry {
    sbx_line_bytes middle, tail;
    sbx_line_bytes result;       /* what comes before the results in the answer */
    uint64_t owner;              /* the embedder's */
    sbx_call_engine *engine;
    sbx_error *error;
    sbx_function *function;
    sbx_instance *instance;
    int64_t fuel;
    uint8_t fresh;               /* each call begins with the instance as new */
    uint8_t metered, active;
} sbx_line_entry;

/* Who reads the lifeline holds it: between looking at a datagram and taking it, nobody else takes one. */
typedef struct sbx_line_gate { pthread_mutex_t mutex; } sbx_line_gate;
void sbx_line_gate_init(sbx_line_gate *gate);
void sbx_line_gate_take(sbx_line_gate *gate);
void sbx_line_gate_leave(sbx_line_gate *gate);

/* One thread's. */
typedef struct sbx_line {
    sbx_line_gate *gate;
    int fd, waker;               /* the lifeline; an eventfd */
    uint32_t attention;          /* atomic: sbx_line_wake was called */
    int64_t spin_ns;             /* how long to look for the next call before sleeping; 0: not at all */
    uint32_t missed;             /* how often in a row that was in vain */
    const int64_t *watched_ns;   /* under `mutex`: until when somebody looks at deadlines by himself (sbx_line_expire) */
    sbx_line_bytes call, answer; /* what comes before the id of a CALL and before the four figures of its answer */
    uint8_t order[4];            /* which of id, fuel, nanoseconds, bytes of memory is the first figure of an answer, and so on */

    pthread_mutex_t mutex;       /* what follows, but for what only the thread itself uses */
    sbx_line_entry entries[SBX_LINE_ENTRIES];
    uint32_t last;               /* the entry added last */
    uint32_t current;            /* the entry of the call that runs */
    uint64_t running;            /* its id, 0: none */
    int64_t deadline_ns;         /* its deadline on the monotonic clock; INT64_MAX: none */
    uint8_t cancelled, expired, retracted;
    uint64_t overtaken[SBX_LINE_OVERTAKEN];
    uint32_t next_overtaken;

    int64_t started_ns, ended_ns;
    uint32_t status;             /* SBX_LINE_BEGUN: of the call; SBX_LINE_CARE: of making the instance as new */
    uint32_t length;             /* of the datagram */
    uint8_t message[SBX_LINE_DATAGRAM];
    uint64_t values[SBX_LINE_SLOTS];
} sbx_line;

void sbx_line_init(sbx_line *line, sbx_line_gate *gate, int fd, int waker, const int64_t *watched_ns);
/* Adds a copy, in place of an entry for the same bytes, an inactive one or an old one. False: it does not fit, and nothing was done. */
bool sbx_line_add(sbx_line *line, const sbx_line_entry *entry);
/* The line's thread: serves calls until something else is to be done. */
sbx_line_event sbx_line_serve(sbx_line *line);
/* The line's thread, after SBX_LINE_BEGUN and SBX_LINE_CARE: no call runs any more as far as the others are concerned. An interrupt that
 * came too late is taken back. Whether it was cancelled. */
bool sbx_line_settle(sbx_line *line);

/* Any thread. */
void sbx_line_wake(sbx_line *line);
/* The owner's entries become inactive, or active again; false when one of its calls runs: then that ends with SBX_LINE_CARE. */
bool sbx_line_retract(sbx_line *line, uint64_t owner);
void sbx_line_restore(sbx_line *line, uint64_t owner);
/* Whether the call runs, and is interrupted now; if not, and it comes later, the embedder gets to read it. */
bool sbx_line_cancel(sbx_line *line, uint64_t id);
/* Interrupts the call that runs if its deadline has come; otherwise its deadline, or INT64_MAX. */
int64_t sbx_line_expire(sbx_line *line, int64_t now);
#endif
