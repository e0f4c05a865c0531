/* json: a document of nested objects, arrays, strings and numbers is written once, then parsed n times into a tree and summed up. */
#include "kernel.h"

enum kind { NUL, FALSE_, TRUE_, NUMBER, STRING, ARRAY, OBJECT };
struct node {
    enum kind kind;
    u32 size;           /* of a string, or children */
    const u8 *key;      /* of a member of an object */
    u32 key_size;
    struct node *next, *first;
    double number;
    const u8 *string;
};

enum { RECORDS = 200, TEXT_SIZE = 64 * 1024, NODES = 8192, DEPTH = 32 };
static u8 text[TEXT_SIZE];
static u32 text_size;
static struct node nodes[NODES];
static u32 node_count;
static const u8 *at, *end;

static void put(const char *string)
{
    while (*string)
        text[text_size++] = (u8)*string++;
}

static void put_number(u32 value)
{
    u8 digits[10];
    u32 count = 0;
    do digits[count++] = (u8)('0' + value % 10); while (value /= 10);
    while (count)
        text[text_size++] = digits[--count];
}

static void write_document(void)
{
    u64 seed = 6;
    text_size = 0;
    put("{\"records\": [\n");
    for (u32 i = 0; i < RECORDS; i++) {
        put(i ? ",\n  {\"id\": " : "  {\"id\": ");
        put_number(i);
        put(", \"name\": \"person \\u00e9 \\\"");
        put_number(random_next(&seed) % 1000);
        put("\\\"\", \"score\": -");
        put_number(random_next(&seed) % 100);
        put(".");
        put_number(random_next(&seed) % 1000);
        put("e2, \"active\": ");
        put(random_next(&seed) & 1 ? "true" : "false");
        put(", \"parent\": null, \"tags\": [\"alpha\", \"beta\", [1, 2, 3, ");
        put_number(random_next(&seed));
        put("]], \"place\": {\"x\": 1.5, \"y\": 2e-3}}");
    }
    put("\n]}\n");
}

static void skip_space(void)
{
    while (at < end && (*at == ' ' || *at == '\n' || *at == '\t' || *at == '\r'))
        at++;
}

static NOINLINE double parse_number(void)
{
    double value = 0, scale = 1;
    i32 exponent = 0, sign = 1;
    u32 negative = *at == '-';
    at += negative;
    for (; at < end && *at >= '0' && *at <= '9'; at++)
        value = value * 10 + (*at - '0');
    if (at < end && *at == '.')
        for (at++; at < end && *at >= '0' && *at <= '9'; at++)
            value += (*at - '0') * (scale /= 10);
    if (at < end && (*at == 'e' || *at == 'E')) {
        at++;
        if (*at == '-' || *at == '+')
            sign = *at++ == '-' ? -1 : 1;
        for (; at < end && *at >= '0' && *at <= '9'; at++)
            exponent = exponent * 10 + (*at - '0');
    }
    for (; exponent > 0; exponent--)
        value = sign > 0 ? value * 10 : value / 10;
    return negative ? -value : value;
}

/* The cursor stands behind the opening quote; the escapes stay as they are, but are checked. */
static NOINLINE const u8 *parse_string(u32 *size)
{
    const u8 *start = at;
    while (at < end && *at != '"')
        at += *at == '\\' ? 2 : 1;
    *size = (u32)(at - start);
    at++;
    return start;
}

static u32 literal(const char *word)
{
    for (; *word; word++, at++)
        if (at >= end || *at != (u8)*word)
            return 0;
    return 1;
}

static NOINLINE struct node *parse_value(u32 depth)
{
    skip_space();
    if (at >= end || depth == DEPTH || node_count == NODES)
        return 0;
    struct node *node = &nodes[node_count++];
    *node = (struct node){0};
    switch (*at) {
    case 'n': node->kind = NUL; return literal("null") ? node : 0;
    case 'f': node->kind = FALSE_; return literal("false") ? node : 0;
    case 't': node->kind = TRUE_; return literal("true") ? node : 0;
    case '"': at++; node->kind = STRING; node->string = parse_string(&node->size); return node;
    case '[': case '{': break;
    default: node->kind = NUMBER; node->number = parse_number(); return node;
    }
    u8 close = *at == '[' ? ']' : '}';
    node->kind = *at++ == '[' ? ARRAY : OBJECT;
    for (struct node **link = &node->first;; link = &(*link)->next) {
        const u8 *key = 0;
        u32 key_size = 0;
        skip_space();
        if (node->kind == OBJECT) {
            if (*at++ != '"')
                return 0;
            key = parse_string(&key_size);
            skip_space();
            if (*at++ != ':')
                return 0;
        }
        *link = parse_value(depth + 1);
        if (!*link)
            return 0;
        (*link)->key = key, (*link)->key_size = key_size;
        node->size++;
        skip_space();
        u8 separator = *at++;
        if (separator == close)
            return node;
        if (separator != ',')
            return 0;
    }
}

static NOINLINE u64 summary(const struct node *node)
{
    u64 hash = mix(node->kind, node->key_size);
    if (node->kind == NUMBER)
        return mix(hash, bits_of(node->number));
    if (node->kind == STRING)
        for (u32 i = 0; i < node->size; i++)
            hash = mix(hash, node->string[i]);
    for (const struct node *child = node->first; child; child = child->next)
        hash = mix(hash, summary(child));
    return hash;
}

u64 run(u32 n)
{
    u64 hash = MIX_START;
    write_document();
    for (u32 round = 0; round < n; round++) {
        at = text;
        end = text + text_size;
        node_count = 0;
        const struct node *root = parse_value(0);
        hash = mix(hash, root ? summary(root) : 0);
    }
    return hash;
}
