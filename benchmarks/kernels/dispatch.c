/* dispatch: objects of eight kinds, each updated through a function pointer: call_indirect and nothing to predict it by. run(n) mixes the sums. */
#include "kernel.h"

enum { OBJECTS = 1024, KINDS = 8 };
struct object;
typedef u32 method(struct object *self, u32 argument);
struct object { method *step, *peek; u32 state, kind; };
static struct object objects[OBJECTS];

static u32 counter(struct object *self, u32 argument) { return self->state += argument & 15; }
static u32 shifter(struct object *self, u32 argument) { return self->state = (self->state << 1 | self->state >> 31) ^ argument; }
static u32 adder(struct object *self, u32 argument) { return self->state += argument; }
static u32 scaler(struct object *self, u32 argument) { return self->state = self->state * 33 + argument; }
static u32 toggler(struct object *self, u32 argument) { return self->state = argument & 1 ? ~self->state : self->state; }
static u32 keeper(struct object *self, u32 argument) { return self->state > argument ? self->state : (self->state = argument); }
static u32 folder(struct object *self, u32 argument) { return self->state = (self->state >> 3) + (argument << 2); }
static u32 mixer(struct object *self, u32 argument) { return self->state = (self->state ^ argument) * 2654435761u; }
static u32 peek(struct object *self, u32 argument) { return self->state & argument; }
static u32 peek_kind(struct object *self, u32 argument) { return self->kind + argument; }

static method *const METHODS[KINDS] = {counter, shifter, adder, scaler, toggler, keeper, folder, mixer};

static NOINLINE u64 round_of_all(u32 argument)
{
    u64 sum = 0;
    for (u32 i = 0; i < OBJECTS; i++) {
        struct object *self = &objects[i];
        argument += self->step(self, argument);
        sum += self->peek(self, argument);
    }
    return sum;
}

u64 run(u32 n)
{
    u64 hash = MIX_START, seed = 4;
    for (u32 i = 0; i < OBJECTS; i++) {
        u32 draw = random_next(&seed);
        objects[i] = (struct object){METHODS[draw % KINDS], draw & 64 ? peek : peek_kind, draw, draw % KINDS};
    }
    for (u32 round = 0; round < n; round++)
        hash = mix(hash, round_of_all(round));
    return hash;
}
