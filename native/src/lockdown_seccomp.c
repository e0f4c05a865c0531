/* The filter of system calls as a table, and the BPF program that is built from it: what the table does not name kills the process. */
#include "lockdown.h"
#include "process.h"
#include <errno.h>
#include <stdbool.h>
#if defined __linux__ && (defined __x86_64__ || defined __aarch64__)
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined __x86_64__
#define MACHINE AUDIT_ARCH_X86_64
#define X32_BIT 0x40000000u
#else
#define MACHINE AUDIT_ARCH_AARCH64
#endif
#ifndef SYS_openat2
#define SYS_openat2 437
#endif
#ifndef SYS_faccessat2
#define SYS_faccessat2 439
#endif
#ifndef SYS_clone3
#define SYS_clone3 435
#endif
#ifndef SECCOMP_RET_KILL_PROCESS
#define SECCOMP_RET_KILL_PROCESS 0x80000000u
#endif
#define F_GET_SEALS_ 1034 /* <fcntl.h> shows them under _GNU_SOURCE only */

enum { COMPILE = 1 << SBX_FILTER_COMPILE, WORKER = 1 << SBX_FILTER_WORKER, FILES = 1 << SBX_FILTER_FILES };
enum { GUEST = WORKER | FILES, ALL = COMPILE | GUEST, NO_FILES = COMPILE | WORKER };
#define REFUSE(error) (SECCOMP_RET_ERRNO | (error))
#define ALLOW SECCOMP_RET_ALLOW
#define KILL SECCOMP_RET_KILL_PROCESS

/* Of one argument: (low word & mask) == value; `whole`: the high word is 0 too. Flags and descriptors are 32 bits wide to the kernel
 * or checked by it in their low word; pointers are not. */
typedef struct {
    uint8_t argument;
    bool whole;
    uint32_t mask, value;
} condition;

#define ANY 0xFFFFFFFFu
#define IS(argument, value) {argument, false, ANY, value}
#define BITS(argument, mask, value) {argument, false, mask, value}
#define NONE_OF(argument, mask) {argument, false, mask, 0}
#define NULL_POINTER(argument) {argument, true, ANY, 0}
#define OWN_PID(argument) {argument, false, 0, 0} /* mask 0: the process's id, known when the program is built */

/* Rows of one call stand together; the first whose conditions all hold decides, and none that holds kills. */
typedef struct {
    int number;
    unsigned filters;
    uint32_t action;
    condition conditions[3];
    unsigned count;
} row;

#define CALL(name, filters, action) {SYS_##name, filters, action, {{0, false, 0, 0}}, 0}
#define WHEN(name, filters, action, ...) \
    {SYS_##name, filters, action, {__VA_ARGS__}, sizeof((condition[]){__VA_ARGS__}) / sizeof(condition)}

static const row table[] = {
    /* Memory. Nothing writable becomes executable: machine code is mapped from the sealed descriptors that the host passes. */
    WHEN(mmap, ALL, ALLOW, NONE_OF(2, PROT_EXEC)),
    WHEN(mmap, GUEST, ALLOW, BITS(2, PROT_READ | PROT_WRITE | PROT_EXEC, PROT_READ | PROT_EXEC),
         BITS(3, MAP_TYPE | MAP_ANONYMOUS | MAP_FIXED, MAP_PRIVATE)),
    WHEN(mprotect, ALL, ALLOW, NONE_OF(2, PROT_EXEC)),
    CALL(munmap, ALL, ALLOW),
    CALL(mremap, ALL, ALLOW),
    CALL(madvise, ALL, ALLOW),
    CALL(mincore, GUEST, ALLOW),
    CALL(brk, ALL, ALLOW),

    /* Bytes, through descriptors that are there. */
    CALL(read, ALL, ALLOW),
    CALL(write, ALL, ALLOW),
    CALL(readv, ALL, ALLOW),
    CALL(writev, ALL, ALLOW),
    CALL(lseek, ALL, ALLOW),
    CALL(close, ALL, ALLOW),
    CALL(fstat, ALL, ALLOW),
    CALL(pread64, GUEST, ALLOW),
    CALL(preadv, GUEST, ALLOW),
    CALL(pwrite64, GUEST, ALLOW),
    CALL(pwritev, GUEST, ALLOW),
    CALL(pwritev2, GUEST, ALLOW),
    CALL(fsync, GUEST, ALLOW),
    CALL(fdatasync, GUEST, ALLOW),
    CALL(ftruncate, GUEST, ALLOW),
    CALL(fallocate, GUEST, ALLOW),
    CALL(fadvise64, GUEST, ALLOW),
    WHEN(fcntl, ALL, ALLOW, IS(1, F_GETFD)),
    WHEN(fcntl, ALL, ALLOW, IS(1, F_GETFL)),
    WHEN(fcntl, ALL, ALLOW, IS(1, F_GET_SEALS_)),
    WHEN(fcntl, ALL, ALLOW, IS(1, F_DUPFD_CLOEXEC)),
    WHEN(ioctl, ALL, ALLOW, IS(1, TCGETS)),
    WHEN(ioctl, ALL, ALLOW, IS(1, FIONREAD)),
    CALL(ioctl, ALL, REFUSE(EPERM)),

    /* The sockets that are there. Nothing that names an address: a guest's stdin may be a socket of the application's. */
    WHEN(sendto, ALL, ALLOW, NULL_POINTER(4)),
    CALL(recvfrom, ALL, ALLOW),
    CALL(recvmsg, ALL, ALLOW),
    CALL(shutdown, GUEST, ALLOW),
    CALL(getsockopt, GUEST, ALLOW),

    /* Waiting. */
#ifdef SYS_poll
    CALL(poll, ALL, ALLOW),
#endif
    CALL(ppoll, ALL, ALLOW),
#ifdef SYS_epoll_wait
    CALL(epoll_wait, GUEST, ALLOW),
#endif
    CALL(epoll_pwait, GUEST, ALLOW),
    CALL(epoll_ctl, GUEST, ALLOW),
    CALL(futex, ALL, ALLOW),
    CALL(nanosleep, ALL, ALLOW),
    CALL(clock_nanosleep, ALL, ALLOW),
    CALL(sched_yield, ALL, ALLOW),
    CALL(restart_syscall, ALL, ALLOW),

    /* About itself. */
    CALL(clock_gettime, ALL, ALLOW),
    CALL(clock_getres, ALL, ALLOW),
    CALL(gettimeofday, ALL, ALLOW),
    CALL(getrandom, ALL, ALLOW),
    CALL(getpid, ALL, ALLOW),
    CALL(gettid, ALL, ALLOW),
    CALL(getuid, ALL, ALLOW),
    CALL(geteuid, ALL, ALLOW),
    CALL(getgid, ALL, ALLOW),
    CALL(getegid, ALL, ALLOW),
    CALL(getrusage, ALL, ALLOW),
    CALL(getcpu, ALL, ALLOW),
    CALL(sched_getaffinity, ALL, ALLOW),
    CALL(membarrier, ALL, ALLOW),
    CALL(set_robust_list, ALL, ALLOW),
    CALL(rseq, ALL, ALLOW),

    /* Signals to itself, and the end. */
    CALL(rt_sigreturn, ALL, ALLOW),
    CALL(rt_sigprocmask, ALL, ALLOW),
    CALL(rt_sigaction, ALL, ALLOW),
    CALL(sigaltstack, ALL, ALLOW),
    WHEN(tgkill, ALL, ALLOW, OWN_PID(0)),
    CALL(exit, ALL, ALLOW),
    CALL(exit_group, ALL, ALLOW),

    /* What the C library and Python try and do without. */
    CALL(clone3, ALL, REFUSE(ENOSYS)),
    WHEN(clone, ALL, REFUSE(EAGAIN), BITS(0, CLONE_THREAD, CLONE_THREAD)),
    WHEN(prctl, ALL, REFUSE(EINVAL), IS(0, 0x53564D41)), /* PR_SET_VMA: names for mappings */
    CALL(sysinfo, ALL, REFUSE(EPERM)),
    CALL(uname, ALL, REFUSE(EPERM)),

    /* Files. Where a directory is granted: only what takes a descriptor of it; Landlock says which. Elsewhere looking is refused
     * and changing kills. */
    CALL(openat2, FILES, ALLOW),
    CALL(newfstatat, FILES, ALLOW),
    CALL(getdents64, FILES, ALLOW),
    CALL(utimensat, FILES, ALLOW),
    CALL(mkdirat, FILES, ALLOW),
    CALL(unlinkat, FILES, ALLOW),
#ifdef SYS_renameat
    CALL(renameat, FILES, ALLOW),
#endif
    WHEN(renameat2, FILES, ALLOW, IS(4, 0)),
    CALL(linkat, FILES, ALLOW),
    CALL(symlinkat, FILES, ALLOW),
    CALL(readlinkat, FILES, ALLOW),
    CALL(openat2, NO_FILES, REFUSE(EPERM)),
    CALL(newfstatat, NO_FILES, REFUSE(EPERM)),
    CALL(getdents64, NO_FILES, REFUSE(EPERM)),
    WHEN(utimensat, WORKER, ALLOW, NULL_POINTER(1)),
    CALL(readlinkat, NO_FILES, REFUSE(EPERM)),
#ifdef SYS_open
    CALL(open, ALL, REFUSE(EPERM)),
    CALL(stat, ALL, REFUSE(EPERM)),
    CALL(lstat, ALL, REFUSE(EPERM)),
    CALL(access, ALL, REFUSE(EPERM)),
    CALL(readlink, ALL, REFUSE(EPERM)),
#endif
    CALL(openat, ALL, REFUSE(EPERM)),
    CALL(statx, ALL, REFUSE(EPERM)),
    CALL(faccessat, ALL, REFUSE(EPERM)),
    CALL(faccessat2, ALL, REFUSE(EPERM)),
    CALL(getcwd, ALL, REFUSE(EPERM)),
};

enum { ROWS = sizeof table / sizeof *table, MAX_PROGRAM = 16 * ROWS + 16 };

typedef struct {
    struct sock_filter code[MAX_PROGRAM];
    size_t length;
} program;

static void put(program *p, uint16_t code, uint32_t k)
{
    p->code[p->length++] = (struct sock_filter){code, 0, 0, k};
}

static void load(program *p, size_t offset) { put(p, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset); }

static size_t low_word(unsigned argument) /* both machines are little-endian */
{
    return offsetof(struct seccomp_data, args) + 8u * argument;
}

/* A jump if the accumulator is not `value`; where to is not known yet. */
static void unless(program *p, uint32_t value) { put(p, BPF_JMP | BPF_JEQ | BPF_K, value); }

/* The tests of one row, then its action; every test that fails goes on behind it. */
static void put_row(program *p, const row *r)
{
    size_t tests[6], count = 0;
    for (unsigned i = 0; i < r->count; i++) {
        const condition *c = &r->conditions[i];
        load(p, low_word(c->argument));
        if (c->mask && c->mask != ANY)
            put(p, BPF_ALU | BPF_AND | BPF_K, c->mask);
        tests[count++] = p->length;
        unless(p, c->mask ? c->value : (uint32_t)getpid());
        if (c->whole) {
            load(p, low_word(c->argument) + 4);
            tests[count++] = p->length;
            unless(p, 0);
        }
    }
    put(p, BPF_RET | BPF_K, r->action);
    for (size_t i = 0; i < count; i++)
        p->code[tests[i]].jf = (uint8_t)(p->length - tests[i] - 1);
}

static void build(program *p, unsigned filter)
{
    p->length = 0;
    load(p, offsetof(struct seccomp_data, arch));
    put(p, BPF_JMP | BPF_JEQ | BPF_K, MACHINE);
    p->code[1].jt = 1;
    put(p, BPF_RET | BPF_K, KILL);
    load(p, offsetof(struct seccomp_data, nr));
#ifdef X32_BIT
    put(p, BPF_JMP | BPF_JGE | BPF_K, X32_BIT);
    p->code[p->length - 1].jf = 1;
    put(p, BPF_RET | BPF_K, KILL);
#endif
    for (size_t i = 0; i < ROWS;) {
        int number = table[i].number;
        size_t call = p->length, before;
        bool last = false; /* a row without conditions decides in any case */
        unless(p, (uint32_t)number);
        before = p->length;
        for (; i < ROWS && table[i].number == number; i++) {
            if (table[i].filters & 1u << filter && !last) {
                put_row(p, &table[i]);
                last = !table[i].count;
            }
        }
        if (p->length == before) {
            p->length = call; /* not in this filter */
            continue;
        }
        if (!last)
            put(p, BPF_RET | BPF_K, KILL);
        p->code[call].jf = (uint8_t)(p->length - call - 1);
    }
    put(p, BPF_RET | BPF_K, KILL);
}

size_t sbx_lockdown_filter_length(int filter)
{
    program p;
    build(&p, (unsigned)filter);
    return p.length;
}

int sbx_lockdown_seccomp(int filter)
{
    program p;
    if (filter < 0 || filter > SBX_FILTER_FILES)
        return -EINVAL;
    build(&p, (unsigned)filter);
    struct sock_fprog whole = {(unsigned short)p.length, p.code};
    long result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &whole);
    return result == 0 ? 0 : result > 0 ? -EBUSY : -errno; /* > 0: a thread that has a filter of its own */
}
#else
size_t sbx_lockdown_filter_length(int filter)
{
    (void)filter;
    return 0;
}

int sbx_lockdown_seccomp(int filter)
{
    (void)filter;
    return -ENOSYS;
}
#endif
