/* What a worker or compile process asks of the kernel for itself, where Python has no call for it. */
#include "process.h"
#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#include <sys/syscall.h>
#endif

bool sbx_process_sanitized(void)
{
#if defined __SANITIZE_ADDRESS__
    return true;
#elif defined __has_feature
    return __has_feature(address_sanitizer);
#else
    return false;
#endif
}

uint8_t *sbx_process_map_shared(int fd, uint64_t size)
{
    void *p = size && size <= SIZE_MAX ? mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
    return p == MAP_FAILED ? NULL : p;
}

int sbx_process_fstat(int fd, struct stat *st)
{
#if defined __linux__ && (defined __x86_64__ || defined __aarch64__) && defined SYS_fstat
    return (int)syscall(SYS_fstat, fd, st); /* the C library's structure is the kernel's */
#else
    return fstat(fd, st);
#endif
}

int64_t sbx_process_file_size(int fd)
{
    struct stat st;
    return sbx_process_fstat(fd, &st) ? -1 : (int64_t)st.st_size;
}

#ifdef __linux__

int sbx_process_follow_parent(int parent)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0))
        return -errno;
    return getppid() == (pid_t)parent ? 0 : -ESRCH; /* it may have died before the call */
}

int sbx_process_no_new_privileges(void)
{
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ? -errno : 0;
}

int sbx_process_not_dumpable(void)
{
    return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) ? -errno : 0;
}
#else /* the lifeline is what is left */
int sbx_process_follow_parent(int parent)
{
    return getppid() == (pid_t)parent ? 0 : -ESRCH;
}

int sbx_process_no_new_privileges(void)
{
    return 0;
}

int sbx_process_not_dumpable(void)
{
    return 0;
}
#endif
