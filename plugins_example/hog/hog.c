/* hog: what a greedy plugin does with memory: takes a given amount, or all it can get and then traps. */

enum { PAGES_PER_MIB = 16, PAGE = 65536 };

/* Takes MiB of memory and writes to each page; gives the pages taken, or -1 where the limit refused one (the rest stays taken). */
__attribute__((export_name("allocate"))) int allocate(int mib)
{
    int taken = 0;
    for (; taken < mib * PAGES_PER_MIB; taken++) {
        unsigned long page = __builtin_wasm_memory_grow(0, 1);
        if (page == (unsigned long)-1)
            return -1;
        *(volatile int *)(page * PAGE) = taken;
    }
    return taken;
}

/* Takes memory until it is refused, then traps (unreachable). */
__attribute__((export_name("devour"))) void devour(void)
{
    while (allocate(1) >= 0)
        ;
    __builtin_trap();
}
