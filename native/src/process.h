/* A process's own restrictions; the order they come in is in workers/sandboxworker/bootstrap.py. Each answers 0 or -errno. */
#ifndef SBX_PROCESS_H
#define SBX_PROCESS_H
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

/* SIGKILL when the thread that forked this process ends; -ESRCH when `parent` is not the parent any more. */
int sbx_process_follow_parent(int parent);
/* No privilege by exec, for this thread and those it starts. */
int sbx_process_no_new_privileges(void);
/* No core dump, no ptrace, /proc/PID owned by root. */
int sbx_process_not_dumpable(void);
/* True in a build with AddressSanitizer. */
bool sbx_process_sanitized(void);
/* Maps `size` bytes of a descriptor, shared, for reading and writing, until the process ends; NULL: refused. */
uint8_t *sbx_process_map_shared(int fd, uint64_t size);
/* fstat without a path: C libraries make a call of it that may take one, which the filter of system calls refuses. */
int sbx_process_fstat(int fd, struct stat *st);
/* The size of a descriptor's file, -1: it has none. */
int64_t sbx_process_file_size(int fd);
#endif
