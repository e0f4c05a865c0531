/* Namespaces, root directory, user and capabilities: who the process is and what it could see, were it to get past the filter. */
#include "lockdown.h"
#include <errno.h>
#ifdef __linux__
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#endif
#define MDWE_REFUSE_EXEC_GAIN 1

static int write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int error = write(fd, text, strlen(text)) < 0 ? -errno : 0;
    close(fd);
    return error;
}

static int map_ids(unsigned user, unsigned group)
{
    char map[40];
    snprintf(map, sizeof map, "%u %u 1\n", user, user);
    int error = write_file("/proc/self/uid_map", map);
    if (!error)
        error = write_file("/proc/self/setgroups", "deny");
    snprintf(map, sizeof map, "%u %u 1\n", group, group);
    return error ? error : write_file("/proc/self/gid_map", map);
}

int sbx_lockdown_namespaces(int user_namespace)
{
    const int spaces = CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNS | CLONE_NEWCGROUP;
    unsigned user = geteuid(), group = getegid();
    if (unshare(spaces) == 0)
        return 0;
    if (!user_namespace || unshare(CLONE_NEWUSER | spaces))
        return -errno;
    return map_ids(user, group);
}

int sbx_lockdown_root(const char *directory)
{
    return chdir(directory) || chroot(".") || chdir("/") ? -errno : 0;
}

int sbx_lockdown_user(uint32_t id, const char *directory, const char *file)
{
    if (*directory && (chown(directory, id, id) || chown(file, id, id)))
        return -errno;
    if (setgroups(0, NULL) || setresgid(id, id, id) || setresuid(id, id, id))
        return -errno;
    return 0;
}

int sbx_lockdown_capabilities(uint64_t keep)
{
    /* Without CAP_SETPCAP the bounding set stays, which then means nothing: no_new_privs lets no exec raise a capability. */
    for (unsigned i = 0; prctl(PR_CAPBSET_READ, i, 0, 0, 0) >= 0; i++)
        if (!(keep >> i & 1))
            prctl(PR_CAPBSET_DROP, i, 0, 0, 0);
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];
    if (syscall(SYS_capget, &header, data))
        return -errno;
    for (unsigned i = 0; i < 2; i++) {
        data[i].permitted &= (uint32_t)(keep >> 32 * i);
        data[i].effective = data[i].permitted;
        data[i].inheritable = 0;
    }
    return syscall(SYS_capset, &header, data) ? -errno : 0;
}

int sbx_lockdown_no_exec_gain(void)
{
    return prctl(PR_SET_MDWE, MDWE_REFUSE_EXEC_GAIN, 0, 0, 0) ? -errno : 0;
}
#else
int sbx_lockdown_namespaces(int user_namespace)
{
    (void)user_namespace;
    return -ENOSYS;
}

int sbx_lockdown_root(const char *directory)
{
    (void)directory;
    return -ENOSYS;
}

int sbx_lockdown_user(uint32_t id, const char *directory, const char *file)
{
    (void)id;
    (void)directory;
    (void)file;
    return -ENOSYS;
}

int sbx_lockdown_capabilities(uint64_t keep)
{
    (void)keep;
    return -ENOSYS;
}

int sbx_lockdown_no_exec_gain(void) { return -ENOSYS; }
#endif
