/* Calls by the lifeline: the loop of the thread that reads it, and what others may do to the call that runs. */
#include "line.h"
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "fresh.h"

enum { FIXINT_MOST = 0x7f, UINT8 = 0xcc, UINT64 = 0xcf, MINUS_ONE = 0xff, NUMBER_BYTES = 9, FIGURES = 4, VAIN = 4 };

static int64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

void sbx_line_gate_init(sbx_line_gate *gate) { pthread_mutex_init(&gate->mutex, NULL); }
void sbx_line_gate_take(sbx_line_gate *gate) { pthread_mutex_lock(&gate->mutex); }
void sbx_line_gate_leave(sbx_line_gate *gate) { pthread_mutex_unlock(&gate->mutex); }

void sbx_line_init(sbx_line *line, sbx_line_gate *gate, int fd, int waker, const int64_t *watched_ns)
{
    memset(line, 0, sizeof *line);
    line->gate = gate;
    line->fd = fd;
    line->waker = waker;
    line->watched_ns = watched_ns;
    pthread_mutex_init(&line->mutex, NULL);
}

/* Reading and writing. */

static bool skip(const uint8_t **p, const uint8_t *end, const sbx_line_bytes *expected)
{
    if ((size_t)(end - *p) < expected->length || memcmp(*p, expected->bytes, expected->length))
        return false;
    *p += expected->length;
    return true;
}

/* An unsigned number below 2^63 in the shortest form. */
static bool read_number(const uint8_t **p, const uint8_t *end, uint64_t *out)
{
    if (*p == end)
        return false;
    uint8_t first = *(*p)++;
    *out = first;
    if (first <= FIXINT_MOST)
        return true;
    if (first < UINT8 || first > UINT64)
        return false;
    size_t size = (size_t)1 << (first - UINT8);
    if ((size_t)(end - *p) < size)
        return false;
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++)
        value = value << 8 | *(*p)++;
    *out = value;
    return value <= INT64_MAX && value > (size == 1 ? FIXINT_MOST : (UINT64_C(1) << size * 4) - 1);
}

static uint8_t *write_number(uint8_t *p, uint64_t value)
{
    if (value <= FIXINT_MOST) {
        *p++ = (uint8_t)value;
        return p;
    }
    uint32_t power = value <= UINT8_MAX ? 0 : value <= UINT16_MAX ? 1 : value <= UINT32_MAX ? 2 : 3;
    *p++ = (uint8_t)(UINT8 + power);
    for (uint32_t bits = 8u << power; bits;)
        *p++ = (uint8_t)(value >> (bits -= 8));
    return p;
}

static uint8_t *put(uint8_t *p, const void *bytes, size_t length)
{
    memcpy(p, bytes, length);
    return p + length;
}

static size_t arguments_bytes(const sbx_line_entry *e) { return e->function->type->params * sizeof(uint64_t); }

/* Under the mutex: the entry that the message calls, or NULL, with its values read. */
static sbx_line_entry *recognise(sbx_line *line, uint64_t *id, int64_t *left)
{
    const uint8_t *p = line->message, *end = p + line->length;
    if (!skip(&p, end, &line->call) || !read_number(&p, end, id) || !*id)
        return NULL;
    for (uint32_t i = 0; i < SBX_LINE_OVERTAKEN; i++)
        if (line->overtaken[i] == *id)
            return NULL;
    for (uint32_t i = 0; i < SBX_LINE_ENTRIES; i++) {
        sbx_line_entry *e = &line->entries[i];
        const uint8_t *q = p;
        if (!e->active || !skip(&q, end, &e->middle))
            continue;
        uint64_t number = INT64_MAX;
        if (q < end && *q == MINUS_ONE)
            q++;
        else if (!read_number(&q, end, &number) || !number)
            return NULL;
        if (!skip(&q, end, &e->tail) || (size_t)(end - q) != arguments_bytes(e))
            return NULL;
        memcpy(line->values, q, arguments_bytes(e));
        *left = (int64_t)number;
        return e;
    }
    return NULL;
}

/* Under the gate: takes what the message calls for, if it is a call of an entry's, and says that it runs. */
static bool take(sbx_line *line)
{
    pthread_mutex_lock(&line->mutex);
    uint64_t id;
    int64_t left = 0;
    sbx_line_entry *e = recognise(line, &id, &left);
    if (e) {
        line->started_ns = clock_ns();
        line->deadline_ns = left < INT64_MAX - line->started_ns ? line->started_ns + left : INT64_MAX;
        /* Somebody has to look in time: the embedder arranges for it when it makes the call itself. */
        if (line->deadline_ns != INT64_MAX && *line->watched_ns > line->deadline_ns)
            e = NULL;
    }
    if (e) {
        line->running = id;
        line->current = (uint32_t)(e - line->entries);
        line->cancelled = line->expired = line->retracted = 0;
    }
    pthread_mutex_unlock(&line->mutex);
    return e != NULL;
}

/* 1: a datagram lies in line->message, and the gate is held; 0: there is none; -1: one that is none of this file's affairs, or the end. */
static int look(sbx_line *line)
{
    sbx_line_gate_take(line->gate);
    ssize_t n = recv(line->fd, line->message, sizeof line->message, MSG_PEEK | MSG_DONTWAIT | MSG_TRUNC);
    if (n > 0 && (size_t)n <= sizeof line->message) {
        line->length = (uint32_t)n;
        return 1;
    }
    sbx_line_gate_leave(line->gate);
    return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) ? 0 : -1;
}

/* As `look`, when there is none now: first for a while awake, if callers have been that quick lately (the caller itself must not wait
 * awake: on one processor the two would keep each other from it). -2: woken. */
static int wait_for_one(sbx_line *line)
{
    int found = 0;
    if (line->spin_ns && line->missed < VAIN) {
        int64_t until = clock_ns() + line->spin_ns;
        while (!(found = look(line)) && clock_ns() < until && !__atomic_load_n(&line->attention, __ATOMIC_ACQUIRE))
            sched_yield();
        if (found) {
            line->missed = 0;
            return found;
        }
    }
    struct pollfd both[2] = {{.fd = line->fd, .events = POLLIN}, {.fd = line->waker, .events = POLLIN}};
    while (!found) {
        if (poll(both, 2, -1) < 0 && errno != EINTR)
            return -1;
        if (both[1].revents) {
            uint64_t count; /* who wakes says so before he writes; left there, it would never let anybody sleep again */
            (void)!read(line->waker, &count, sizeof count);
            return -2;
        }
        if (both[0].revents)
            found = look(line);
    }
    /* Had the next call come soon enough to be met awake? */
    if (clock_ns() - line->ended_ns < line->spin_ns)
        line->missed = 0;
    else if (line->missed < VAIN)
        line->missed++;
    return found;
}

/* Under the mutex: no call runs any more. */
static void settle(sbx_line *line)
{
    if (line->running && (line->cancelled || line->expired))
        sbx_call_engine_clear_interrupt(line->entries[line->current].engine);
    line->running = 0;
}

static sbx_status run(sbx_line *line, sbx_line_entry *e)
{
    sbx_instance *instance = e->instance;
    for (uint32_t i = 0; i < instance->memory_count; i++)
        instance->memories[i]->grow_refused = 0; /* of an earlier call */
    if (e->metered)
        sbx_call_engine_set_fuel(e->engine, e->fuel);
    return sbx_call_engine_call(e->engine, e->function, line->values, SBX_LINE_SLOTS, e->error);
}

static bool answer(sbx_line *line, const sbx_line_entry *e)
{
    uint64_t memory = 0;
    for (uint32_t i = 0; i < e->instance->memory_count; i++)
        memory += e->instance->memories[i]->size;
    uint64_t fuel = e->metered ? (uint64_t)(e->fuel - sbx_call_engine_fuel(e->engine)) : 0;
    uint64_t figures[FIGURES] = {line->running, fuel, (uint64_t)(clock_ns() - line->started_ns), memory};
    uint8_t datagram[2 * SBX_LINE_BYTES + FIGURES * NUMBER_BYTES + sizeof line->values];
    uint8_t *p = put(datagram, line->answer.bytes, line->answer.length);
    for (uint32_t i = 0; i < FIGURES; i++)
        p = write_number(p, figures[line->order[i]]);
    p = put(p, e->result.bytes, e->result.length);
    p = put(p, line->values, e->function->type->results * sizeof *line->values);
    ssize_t n;
    do
        n = send(line->fd, datagram, (size_t)(p - datagram), MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n >= 0;
}

/* The call that was taken. SBX_LINE_READ: it is over. */
static sbx_line_event perform(sbx_line *line)
{
    sbx_line_entry *e = &line->entries[line->current];
    line->status = run(line, e);
    if (line->status)
        return SBX_LINE_BEGUN;
    if (!answer(line, e))
        return SBX_LINE_GONE;
    line->status = e->fresh ? sbx_fresh_end(e->instance) : SBX_OK;
    line->ended_ns = clock_ns();
    pthread_mutex_lock(&line->mutex);
    bool care = line->status || line->retracted;
    if (!care)
        settle(line);
    pthread_mutex_unlock(&line->mutex);
    return care ? SBX_LINE_CARE : SBX_LINE_READ;
}

sbx_line_event sbx_line_serve(sbx_line *line)
{
    for (;;) {
        if (__atomic_exchange_n(&line->attention, 0, __ATOMIC_ACQ_REL)) {
            uint64_t count;
            (void)!read(line->waker, &count, sizeof count); /* it does not block */
            return SBX_LINE_WOKEN;
        }
        int found = look(line);
        if (!found)
            found = wait_for_one(line);
        if (found == -2)
            continue;
        if (found < 0)
            return SBX_LINE_READ;
        bool mine = take(line);
        if (mine && line->entries[line->current].fresh && sbx_fresh_begin(line->entries[line->current].instance, NULL)) {
            sbx_line_settle(line); /* who does it again will be told why */
            mine = false;
        }
        if (mine)
            recv(line->fd, line->message, 0, MSG_DONTWAIT);
        sbx_line_gate_leave(line->gate);
        if (!mine)
            return SBX_LINE_READ;
        sbx_line_event event = perform(line);
        if (event != SBX_LINE_READ)
            return event;
    }
}

bool sbx_line_settle(sbx_line *line)
{
    pthread_mutex_lock(&line->mutex);
    bool cancelled = line->cancelled;
    settle(line);
    pthread_mutex_unlock(&line->mutex);
    return cancelled;
}

/* Entries. */

static bool fits(const sbx_line_entry *e)
{
    const sbx_functype *type = e->function->type;
    return type->params <= SBX_LINE_SLOTS && type->results <= SBX_LINE_SLOTS && e->middle.length <= SBX_LINE_BYTES &&
           e->tail.length <= SBX_LINE_BYTES && e->result.length <= SBX_LINE_BYTES && e->middle.length;
}

static bool same(const sbx_line_bytes *a, const sbx_line_bytes *b)
{
    return a->length == b->length && !memcmp(a->bytes, b->bytes, a->length);
}

/* Where an entry for these bytes goes. */
static uint32_t place(const sbx_line *line, const sbx_line_entry *entry)
{
    uint32_t unused = SBX_LINE_ENTRIES;
    for (uint32_t i = 0; i < SBX_LINE_ENTRIES; i++) {
        if (same(&line->entries[i].middle, &entry->middle))
            return i;
        if (unused == SBX_LINE_ENTRIES && !line->entries[i].active)
            unused = i;
    }
    return unused < SBX_LINE_ENTRIES ? unused : (line->last + 1) % SBX_LINE_ENTRIES;
}

bool sbx_line_add(sbx_line *line, const sbx_line_entry *entry)
{
    if (!fits(entry))
        return false;
    pthread_mutex_lock(&line->mutex);
    bool idle = !line->running;
    if (idle) {
        line->last = place(line, entry);
        line->entries[line->last] = *entry;
    }
    pthread_mutex_unlock(&line->mutex);
    return idle;
}

/* Any thread. */

void sbx_line_wake(sbx_line *line)
{
    uint64_t one = 1;
    __atomic_store_n(&line->attention, 1, __ATOMIC_RELEASE);
    (void)!write(line->waker, &one, sizeof one); /* full: it is readable anyway */
}

bool sbx_line_retract(sbx_line *line, uint64_t owner)
{
    pthread_mutex_lock(&line->mutex);
    for (uint32_t i = 0; i < SBX_LINE_ENTRIES; i++)
        if (line->entries[i].owner == owner)
            line->entries[i].active = 0;
    bool busy = line->running && line->entries[line->current].owner == owner;
    line->retracted |= busy;
    pthread_mutex_unlock(&line->mutex);
    return !busy;
}

void sbx_line_restore(sbx_line *line, uint64_t owner)
{
    pthread_mutex_lock(&line->mutex);
    for (uint32_t i = 0; i < SBX_LINE_ENTRIES; i++)
        if (line->entries[i].owner == owner && line->entries[i].function)
            line->entries[i].active = 1;
    pthread_mutex_unlock(&line->mutex);
}

bool sbx_line_cancel(sbx_line *line, uint64_t id)
{
    pthread_mutex_lock(&line->mutex);
    bool found = id && line->running == id;
    if (found) {
        line->cancelled = 1;
        sbx_call_engine_interrupt(line->entries[line->current].engine);
    } else {
        line->overtaken[line->next_overtaken++ % SBX_LINE_OVERTAKEN] = id;
    }
    pthread_mutex_unlock(&line->mutex);
    return found;
}

int64_t sbx_line_expire(sbx_line *line, int64_t now)
{
    pthread_mutex_lock(&line->mutex);
    int64_t next = line->running && !line->expired ? line->deadline_ns : INT64_MAX;
    if (next <= now) {
        line->expired = 1;
        sbx_call_engine_interrupt(line->entries[line->current].engine);
        next = INT64_MAX;
    }
    pthread_mutex_unlock(&line->mutex);
    return next;
}
