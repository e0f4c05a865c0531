/* coremix: the kinds of work that CoreMark mixes, in code of ours: a linked list searched, reversed and merge-sorted, small integer matrices,
 * a state machine over text, and a CRC-16 over everything. run(n) = n iterations, the CRC of their results. */
#include "kernel.h"

enum { ITEMS = 64, SIDE = 12, LINE = 256 };

static NOINLINE u32 crc16(u32 crc, u32 value, u32 bits)
{
    for (u32 i = 0; i < bits; i++) {
        u32 carry = (crc ^ value) & 1;
        crc >>= 1, value >>= 1;
        if (carry)
            crc ^= 0xa001;
    }
    return crc;
}

/* --- the list ------------------------------------------------------------------------------------------------------------------- */

struct item { struct item *next; i16 key, index; };
static struct item items[ITEMS];

static struct item *make_list(u64 *seed)
{
    for (u32 i = 0; i < ITEMS; i++)
        items[i] = (struct item){i + 1 < ITEMS ? &items[i + 1] : 0, (i16)(random_next(seed) & 0x3ff), (i16)i};
    return items;
}

static NOINLINE struct item *find(struct item *list, i16 key)
{
    while (list && list->key != key)
        list = list->next;
    return list;
}

static NOINLINE struct item *reverse(struct item *list)
{
    struct item *done = 0;
    while (list) {
        struct item *next = list->next;
        list->next = done;
        done = list;
        list = next;
    }
    return done;
}

static i32 by_key(const struct item *a, const struct item *b) { return a->key - b->key; }
static i32 by_index(const struct item *a, const struct item *b) { return a->index - b->index; }

/* Merge sort from the bottom, runs of 1, 2, 4, … items; stable. */
static NOINLINE struct item *sort(struct item *list, i32 (*order)(const struct item *, const struct item *))
{
    for (u32 run_size = 1;; run_size *= 2) {
        struct item *rest = list, *head = 0, **tail = &head;
        u32 merges = 0;
        while (rest) {
            struct item *a = rest, *b = rest;
            u32 a_size = 0, b_size = run_size;
            for (; a_size < run_size && b; a_size++)
                b = b->next;
            while (a_size || (b_size && b)) {
                u32 take_a = a_size && (!b_size || !b || order(a, b) <= 0);
                struct item **from = take_a ? &a : &b;
                *(take_a ? &a_size : &b_size) -= 1;
                *tail = *from;
                tail = &(*from)->next;
                *from = (*from)->next;
            }
            rest = b;
            merges++;
        }
        *tail = 0;
        list = head;
        if (merges <= 1)
            return list;
    }
}

static NOINLINE u32 list_work(u64 *seed, u32 crc)
{
    struct item *list = make_list(seed);
    u32 found = 0;
    for (u32 i = 0; i < 16; i++) {
        struct item *hit = find(list, (i16)(random_next(seed) & 0x3ff));
        found += hit ? (u32)hit->index : 1;
        list = reverse(list);
    }
    crc = crc16(crc, found, 16);
    list = sort(list, by_key);
    for (struct item *item = list; item; item = item->next)
        crc = crc16(crc, (u16)item->key, 16);
    list = sort(list, by_index);
    return crc16(crc, (u16)list->key, 16);
}

/* --- matrices ------------------------------------------------------------------------------------------------------------------- */

static i16 matrix_a[SIDE * SIDE], matrix_b[SIDE * SIDE];
static i32 matrix_c[SIDE * SIDE];

static NOINLINE void matrix_multiply(u32 side, u32 shift)
{
    for (u32 i = 0; i < side; i++)
        for (u32 j = 0; j < side; j++) {
            i32 sum = 0;
            for (u32 k = 0; k < side; k++) {
                i32 value = matrix_a[i * side + k] * matrix_b[k * side + j];
                sum += ((value >> 2) & 15) * ((value >> shift) & 127);
            }
            matrix_c[i * side + j] = sum;
        }
}

static NOINLINE u32 matrix_work(u64 *seed, u32 crc)
{
    for (u32 i = 0; i < SIDE * SIDE; i++) {
        matrix_a[i] = (i16)random_next(seed);
        matrix_b[i] = (i16)(random_next(seed) & 255);
    }
    for (u32 shift = 3; shift < 6; shift++) {
        i32 sum = 0, rises = 0;
        matrix_multiply(SIDE, shift);
        for (u32 i = 0; i < SIDE * SIDE; i++) {
            rises += i && matrix_c[i] > matrix_c[i - 1];
            sum = sum > 100000 ? rises : sum + matrix_c[i];
            matrix_a[i] = (i16)(matrix_a[i] + matrix_c[i]);
        }
        crc = crc16(crc, (u32)sum, 32);
    }
    return crc;
}

/* --- the state machine ---------------------------------------------------------------------------------------------------------- */

enum state { START, SIGN, INTEGER, POINT, FRACTION, EXPONENT, EXPONENT_SIGN, SCIENTIFIC, INVALID, STATES };
static u8 line[LINE + 1];

static enum state step(enum state state, u8 c)
{
    u32 digit = c >= '0' && c <= '9', sign = c == '+' || c == '-';
    switch (state) {
    case START: return digit ? INTEGER : sign ? SIGN : c == '.' ? POINT : INVALID;
    case SIGN: return digit ? INTEGER : c == '.' ? POINT : INVALID;
    case INTEGER: return digit ? INTEGER : c == '.' ? FRACTION : c == 'e' ? EXPONENT : INVALID;
    case POINT: return digit ? FRACTION : INVALID;
    case FRACTION: return digit ? FRACTION : c == 'e' ? EXPONENT : INVALID;
    case EXPONENT: return digit ? SCIENTIFIC : sign ? EXPONENT_SIGN : INVALID;
    case EXPONENT_SIGN: return digit ? SCIENTIFIC : INVALID;
    case SCIENTIFIC: return digit ? SCIENTIFIC : INVALID;
    default: return INVALID;
    }
}

static NOINLINE u32 state_work(u64 *seed, u32 crc)
{
    static const u8 letters[] = "0123456789+-.e,,";
    u32 finals[STATES] = {0}, moves[STATES] = {0};
    for (u32 i = 0; i < LINE; i++)
        line[i] = letters[random_next(seed) & 15];
    enum state state = START;
    for (const u8 *c = line; *c; c++) {
        if (*c == ',') {
            finals[state]++;
            state = START;
            continue;
        }
        enum state next = step(state, *c);
        moves[next] += next != state;
        state = next;
    }
    for (u32 i = 0; i < STATES; i++)
        crc = crc16(crc16(crc, finals[i], 16), moves[i], 16);
    return crc;
}

u64 run(u32 n)
{
    u64 seed = 7;
    u32 crc = 0xffff;
    for (u32 i = 0; i < n; i++) {
        crc = list_work(&seed, crc);
        crc = matrix_work(&seed, crc);
        crc = state_work(&seed, crc);
    }
    return crc;
}
