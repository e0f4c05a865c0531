/* bytecode: a stack machine running a program of its own (Collatz lengths): fetch, br_table, push, pop. run(n) = sum of the lengths of 1..n. */
#include "kernel.h"

enum op { HALT, PUSH, LOAD, STORE, ADD, SUB, MUL, HALVE, ODD, DUP, SWAP, DROP, LESS, EQUAL, JUMP, JUMP_ZERO, INCREMENT, NEGATE, NOT };

/* Variables: 0 limit, 1 start, 2 value, 3 total. Jump targets are offsets into the program, as the comments number them. */
static const u8 PROGRAM[] = {
    /*  0 */ PUSH, 1, STORE, 1,                  /* start = 1 */
    /*  4 */ LOAD, 0, LOAD, 1, LESS,             /* limit < start? */
    /*  9 */ JUMP_ZERO, 14, LOAD, 3, HALT,       /* yes: the result is total */
    /* 14 */ LOAD, 1, STORE, 2,                  /* value = start */
    /* 18 */ LOAD, 2, PUSH, 1, EQUAL,            /* value == 1? */
    /* 23 */ JUMP_ZERO, 29, INCREMENT, 1,        /* yes: the next start */
    /* 27 */ JUMP, 4,
    /* 29 */ INCREMENT, 3, LOAD, 2, DUP, ODD,    /* total++; value odd? */
    /* 35 */ JUMP_ZERO, 47, PUSH, 3, MUL,        /* yes: 3 * value + 1 */
    /* 40 */ PUSH, 1, ADD, STORE, 2, JUMP, 18,
    /* 47 */ HALVE, STORE, 2, JUMP, 18};         /* no: value / 2 */

static u64 stack[64], variables[4];

static NOINLINE u64 interpret(const u8 *code)
{
    const u8 *pc = code;
    u64 *top = stack;
    for (;;) {
        switch ((enum op)*pc++) {
        case HALT: return *top;
        case PUSH: *++top = *pc++; break;
        case LOAD: *++top = variables[*pc++]; break;
        case STORE: variables[*pc++] = *top--; break;
        case ADD: top--; top[0] += top[1]; break;
        case SUB: top--; top[0] -= top[1]; break;
        case MUL: top--; top[0] *= top[1]; break;
        case HALVE: *top >>= 1; break;
        case ODD: *top &= 1; break;
        case DUP: top++; top[0] = top[-1]; break;
        case SWAP: { u64 value = top[0]; top[0] = top[-1]; top[-1] = value; break; }
        case DROP: top--; break;
        case LESS: top--; top[0] = top[0] < top[1]; break;
        case EQUAL: top--; top[0] = top[0] == top[1]; break;
        case JUMP: pc = code + *pc; break;
        case JUMP_ZERO: pc = *top-- ? pc + 1 : code + *pc; break;
        case INCREMENT: variables[*pc++]++; break;
        case NEGATE: *top = 0 - *top; break;
        case NOT: *top = !*top; break;
        default: return 0;
        }
    }
}

u64 run(u32 n)
{
    for (u32 i = 0; i < 4; i++)
        variables[i] = 0;
    variables[0] = n;
    return interpret(PROGRAM);
}
