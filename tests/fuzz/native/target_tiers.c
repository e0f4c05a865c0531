/* Fuzz target: the whole pipeline. Both tiers must agree on everything that shows, fuel and backtraces included; the checker must
 * pass what the compiler made; stopping for fuel and going on must change nothing. */
#include <stdio.h>
#include <stdlib.h>
#include "mutator.h"
#include "observe.h"

enum { FUEL = 20000 };
static fz_observation first, second;

static void fail(const char *what, const fz_event *a, const fz_event *b)
{
    fprintf(stderr, "FUZZ: %s: ", what);
    if (a && b)
        fprintf(stderr, "event %u[%u] = %#llx, event %u[%u] = %#llx\n", a->tag, a->index, (unsigned long long)a->value, b->tag,
                b->index, (unsigned long long)b->value);
    else
        fprintf(stderr, "%u events, outcome %u (%s); %u events, outcome %u (%s)\n", first.count, first.outcome, first.message,
                second.count, second.outcome, second.message);
    abort();
}

static void compare(const char *what)
{
    if (first.outcome == FZ_BROKEN || second.outcome == FZ_BROKEN)
        fail(what, NULL, NULL);
    if (first.outcome == FZ_NO_STACK || second.outcome == FZ_NO_STACK)
        return;
    uint32_t i = 0, k = 0;
    for (;; i++, k++) {
        while (i < first.count && first.events[i].tag == FZ_FUEL && !(k < second.count && second.events[k].tag == FZ_FUEL))
            i++; /* the other one does not count */
        if (i >= first.count || k >= second.count)
            break;
        const fz_event *a = &first.events[i], *b = &second.events[k];
        if (a->tag != b->tag || a->index != b->index || a->value != b->value)
            fail(what, a, b);
    }
    if (i < first.count || k < second.count || first.outcome != second.outcome)
        fail(what, NULL, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    uint64_t hash = fz_hash(bytes, size);
    uint32_t bounds = hash & 1 ? FZ_EXPLICIT : 0;
    fz_observe(bytes, size, FZ_METERED | FZ_WITH_FRAMES | FZ_CHECKED | bounds, FUEL, &first);
    fz_observe(bytes, size, FZ_COMPILED | FZ_METERED | FZ_WITH_FRAMES | FZ_CHECKED | bounds, FUEL, &second);
    compare("interpreter and machine code, metered");
    if (first.outcome != FZ_SEEN)
        return 0;
    fz_observe(bytes, size, FZ_WITH_FRAMES | (hash & 2 ? FZ_COMPILED | FZ_CHECKED : 0) | (bounds ^ FZ_EXPLICIT), FUEL, &second);
    compare(hash & 2 ? "interpreter, and machine code that does not count" : "interpreter, and the one that does not count");
    fz_observe(bytes, size, FZ_METERED | FZ_SIPS | FZ_WITH_FRAMES | (hash & 4 ? FZ_COMPILED : 0) | bounds, FUEL, &second);
    compare(hash & 4 ? "at one go, and machine code in sips of fuel" : "at one go, and in sips of fuel");
    return 0;
}
