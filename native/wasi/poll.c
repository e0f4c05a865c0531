/* poll_oneoff: waits for clocks and descriptors, in slices, so that an interrupt ends it. */
#include "wasi_internal.h"
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { CLOCK, FD_READ, FD_WRITE };
enum { EVENT = 32, MAX_SUBSCRIPTIONS = 65536 };

typedef struct subscription {
    uint64_t userdata;
    uint64_t deadline;                     /* CLOCK: on its clock */
    const sbx_wasi_descriptor *descriptor; /* FD_*: NULL with an error */
    uint64_t bytes;                        /* FD_*: how many can be moved */
    uint32_t clock;
    int32_t poll_index; /* into the pollfds; -1: none */
    uint16_t error;
    uint8_t type;
    bool ready, hangup;
} subscription;

typedef struct waiting {
    sbx_wasi_call *call;
    subscription *subscriptions;
    uint32_t count, poll_count;
    struct pollfd *pollfds;
} waiting;

/* {u64 userdata, u8 type at 8, at 16: u32 fd, or
 *  preview1: u32 clock at 16, u64 timeout at 24, u64 precision at 32, u16 flags at 40: 48 bytes
 *  unstable: u64 identifier at 16, u32 clock at 24, u64 timeout at 32, u64 precision at 40, u16 flags at 48: 56 bytes} */
static void read_clock(sbx_wasi_call *call, const uint8_t *at, subscription *out)
{
    const uint8_t *clock = at + (call->unstable ? 24 : 16);
    out->clock = sbx_wasi_load32(clock);
    uint64_t timeout = sbx_wasi_load64(clock + 8);
    uint16_t flags = sbx_wasi_load16(clock + 24);
    if (!sbx_wasi_clock_known(out->clock) || flags > 1) {
        out->error = SBX_WASI_INVAL;
        out->ready = true;
        return;
    }
    out->deadline = flags ? timeout : sbx_wasi_clock_deadline(call->wasi, out->clock, timeout);
}

static uint64_t file_bytes_left(int fd)
{
    struct stat st;
    off_t position = lseek(fd, 0, SEEK_CUR);
    return position >= 0 && sbx_process_fstat(fd, &st) == 0 && st.st_size > position ? (uint64_t)(st.st_size - position) : 0;
}

/* What never blocks is ready at once; streams get a pollfd. */
static void read_descriptor(waiting *w, const uint8_t *at, subscription *out)
{
    uint64_t rights = SBX_WASI_BIT(POLL_FD_READWRITE) | (out->type == FD_READ ? SBX_WASI_BIT(FD_READ) : SBX_WASI_BIT(FD_WRITE));
    sbx_wasi_descriptor *descriptor;
    out->error = (uint16_t)sbx_wasi_descriptor_get(w->call, sbx_wasi_load32(at + 16), rights, &descriptor);
    out->ready = true;
    if (out->error)
        return;
    const sbx_wasi_stdio *stdio = descriptor->stdio;
    switch (descriptor->kind) {
    case SBX_WASI_INPUT:
        out->bytes = stdio->length - stdio->position;
        out->hangup = !out->bytes;
        break;
    case SBX_WASI_OUTPUT: out->bytes = stdio->cap - stdio->length; break;
    case SBX_WASI_FILE: out->bytes = out->type == FD_READ ? file_bytes_left(descriptor->host_fd) : 0; break;
    case SBX_WASI_STREAM:
        out->ready = false;
        out->descriptor = descriptor;
        out->poll_index = (int32_t)w->poll_count;
        w->pollfds[w->poll_count++] =
            (struct pollfd){.fd = descriptor->host_fd, .events = out->type == FD_READ ? POLLIN : POLLOUT};
        break;
    default: break;
    }
}

static sbx_wasi_result read_all(waiting *w, const uint8_t *in)
{
    for (uint32_t i = 0; i < w->count; i++) {
        const uint8_t *at = in + (size_t)i * (w->call->unstable ? 56 : 48);
        subscription *out = &w->subscriptions[i];
        *out = (subscription){.userdata = sbx_wasi_load64(at), .type = at[8], .poll_index = -1};
        if (out->type > FD_WRITE)
            return SBX_WASI_INVAL;
        if (out->type == CLOCK)
            read_clock(w->call, at, out);
        else
            read_descriptor(w, at, out);
    }
    return SBX_WASI_SUCCESS;
}

static void take_poll_result(const waiting *w, subscription *s)
{
    const struct pollfd *polled = &w->pollfds[s->poll_index];
    if (!polled->revents)
        return;
    int bytes = 0;
    s->ready = true;
    s->error = polled->revents & POLLNVAL ? SBX_WASI_BADF : 0;
    s->hangup = polled->revents & (POLLHUP | POLLERR);
    if (s->type == FD_READ)
        s->bytes =
            ioctl(polled->fd, FIONREAD, &bytes) == 0 && bytes > 0 ? (uint64_t)bytes : polled->revents & POLLIN && !s->hangup;
    else
        s->bytes = s->hangup ? 0 : 4096;
}

/* Marks the clocks that have come; the shortest wait among the others, UINT64_MAX when there are none. */
static uint64_t look_at_clocks(waiting *w)
{
    uint64_t shortest = UINT64_MAX;
    for (uint32_t i = 0; i < w->count; i++) {
        subscription *s = &w->subscriptions[i];
        if (s->type != CLOCK || s->error)
            continue;
        uint64_t left = sbx_wasi_clock_until(w->call->wasi, s->clock, s->deadline);
        s->ready = !left;
        shortest = left < shortest ? left : shortest;
    }
    return shortest;
}

static bool any_ready(const waiting *w)
{
    for (uint32_t i = 0; i < w->count; i++)
        if (w->subscriptions[i].ready)
            return true;
    return false;
}

/* Looks at the descriptors for at most `ns`. */
static sbx_wasi_result look_at_descriptors(waiting *w, uint64_t ns)
{
    int ready = sbx_os_wait_many(w->pollfds, w->poll_count, ns);
    if (ready < 0 && errno != EINTR)
        return sbx_wasi_errno(errno);
    for (uint32_t i = 0; ready > 0 && i < w->count; i++)
        if (w->subscriptions[i].poll_index >= 0)
            take_poll_result(w, &w->subscriptions[i]);
    return SBX_WASI_SUCCESS;
}

static sbx_wasi_result wait_for_any(waiting *w)
{
    bool is_virtual = w->call->wasi->clocks.mode == SBX_WASI_CLOCKS_VIRTUAL;
    uint64_t left, ns = 0; /* first a look at what is ready now */
    for (;;) {
        sbx_wasi_result result = look_at_descriptors(w, ns);
        if (result)
            return result;
        left = look_at_clocks(w);
        if (any_ready(w))
            return SBX_WASI_SUCCESS;
        if (is_virtual && left != UINT64_MAX) { /* nobody is ready: time goes by */
            sbx_wasi_clock_advance(w->call->wasi, left);
            look_at_clocks(w);
            return SBX_WASI_SUCCESS;
        }
        if (sbx_call_engine_interrupted(w->call->engine))
            return SBX_WASI_INTERRUPTED;
        ns = left < SBX_WASI_SLICE_NS ? left : SBX_WASI_SLICE_NS;
    }
}

/* {u64 userdata, u16 error at 8, u8 type at 10, u64 bytes at 16, u16 flags at 24}, 32 bytes under both names. */
static uint32_t write_events(const waiting *w, uint8_t *out)
{
    uint32_t written = 0;
    for (uint32_t i = 0; i < w->count; i++) {
        const subscription *s = &w->subscriptions[i];
        if (!s->ready)
            continue;
        uint8_t *at = out + (size_t)written++ * EVENT;
        memset(at, 0, EVENT);
        sbx_wasi_store64(at, s->userdata);
        sbx_wasi_store16(at + 8, s->error);
        at[10] = s->type;
        sbx_wasi_store64(at + 16, s->bytes);
        sbx_wasi_store16(at + 24, s->hangup);
    }
    return written;
}

/* Arguments: subscriptions, events, how many of both, where the count of events goes. */
sbx_wasi_result sbx_wasi_poll_oneoff(sbx_wasi_call *call)
{
    uint32_t count = sbx_wasi_u32(call, 2);
    if (!count)
        return SBX_WASI_INVAL;
    const uint8_t *in = sbx_wasi_guest(call, sbx_wasi_u32(call, 0), (uint64_t)count * (call->unstable ? 56 : 48));
    uint8_t *out = sbx_wasi_guest(call, sbx_wasi_u32(call, 1), (uint64_t)count * EVENT);
    uint8_t *events = sbx_wasi_guest(call, sbx_wasi_u32(call, 3), 4);
    if (!in || !out || !events)
        return SBX_WASI_FAULT;
    if (count > MAX_SUBSCRIPTIONS)
        return SBX_WASI_INVAL;
    waiting w = {.call = call,
                 .count = count,
                 .subscriptions = sbx_calloc(count, sizeof(subscription)),
                 .pollfds = sbx_calloc(count, sizeof(struct pollfd))};
    sbx_wasi_result result = SBX_WASI_NOMEM;
    if (w.subscriptions && w.pollfds)
        result = read_all(&w, in);
    if (!result)
        result = wait_for_any(&w);
    if (!result)
        sbx_wasi_store32(events, write_events(&w, out));
    sbx_free(w.pollfds);
    sbx_free(w.subscriptions);
    return result;
}
