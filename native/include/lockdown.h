/* What a process takes from itself for good, layer by layer; the order is in workers/sandboxworker/bootstrap.py. */
#ifndef SBX_LOCKDOWN_H
#define SBX_LOCKDOWN_H
#include <stddef.h>
#include <stdint.h>

/* Unless it says otherwise a function answers 0 or -errno; -ENOSYS where the kernel, or this system, does not have it. */

/* Namespaces of its own: net, ipc, uts, mount, cgroup. With the capability for it directly; else, if that is wanted, inside a user
 * namespace that maps the caller's ids to themselves. For callers with one thread only. */
int sbx_lockdown_namespaces(int user_namespace);
/* The directory becomes root and current directory. */
int sbx_lockdown_root(const char *directory);
/* No groups, and this uid and gid for good. The directory ("": none) and the file go to that user before. */
int sbx_lockdown_user(uint32_t id, const char *directory, const char *file);
/* Every capability that is not in the mask goes, from all sets, the bounding set included. */
int sbx_lockdown_capabilities(uint64_t keep);
/* Memory never becomes executable that was not so when it was mapped (PR_SET_MDWE). */
int sbx_lockdown_no_exec_gain(void);

/* The kernel's Landlock version; 0: none. */
int sbx_lockdown_landlock_abi(void);
/* No TCP port, no signal and no abstract socket outside; with `files` also no file beneath any directory but these. For this thread
 * and those it starts. */
int sbx_lockdown_landlock(const int *directories, const uint8_t *writable, size_t count, int files);

typedef enum {
    SBX_FILTER_COMPILE, /* no file, no executable mapping */
    SBX_FILTER_WORKER,  /* no file */
    SBX_FILTER_FILES,   /* what WASI's path functions need besides */
} sbx_filter;

/* The filter of system calls, on every thread of the process. no_new_privs must be set. */
int sbx_lockdown_seccomp(int filter);
/* Instructions of a filter; 0: there is none for this machine. */
size_t sbx_lockdown_filter_length(int filter);
#endif
