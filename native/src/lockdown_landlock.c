/* Landlock: of files only what lies beneath granted directories; no TCP port, no abstract socket, no signal to anybody outside. */
#include "lockdown.h"
#include <errno.h>
#ifdef __linux__
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The kernel's interface in full, for the headers of the machine that builds may be older than the kernel that runs. */
#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule 445
#define SYS_landlock_restrict_self 446
#endif
enum { CREATE_RULESET_VERSION = 1, RULE_PATH_BENEATH = 1 };
enum {
    WRITE_FILE = 1 << 1, READ_FILE = 1 << 2, READ_DIR = 1 << 3, REMOVE_DIR = 1 << 4, REMOVE_FILE = 1 << 5, MAKE_DIR = 1 << 7,
    MAKE_REG = 1 << 8, MAKE_SYM = 1 << 12, REFER = 1 << 13, TRUNCATE = 1 << 14,
};

struct ruleset {
    uint64_t files, net, scopes;
};

struct beneath {
    uint64_t allowed;
    int32_t parent;
} __attribute__((packed));

/* Rights that a version knows; each is denied where no rule gives it. */
static const struct {
    unsigned file_bits, net_bits, scope_bits;
} versions[] = {
    {13, 0, 0}, /* 1: execute to make_sym */
    {14, 0, 0}, /* 2: refer */
    {15, 0, 0}, /* 3: truncate */
    {15, 2, 0}, /* 4: bind and connect of TCP */
    {16, 2, 0}, /* 5: ioctl of devices */
    {16, 2, 2}, /* 6: abstract Unix sockets, signals; 7 is about logging */
};
enum { VERSIONS = sizeof versions / sizeof *versions };

int sbx_lockdown_landlock_abi(void)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, CREATE_RULESET_VERSION);
    return version > 0 ? (int)version : 0;
}

static int add_directories(int ruleset, const int *directories, const uint8_t *writable, size_t count, uint64_t known)
{
    const uint64_t read = READ_FILE | READ_DIR;
    const uint64_t write = WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | MAKE_SYM | REFER | TRUNCATE;
    for (size_t i = 0; i < count; i++) {
        struct beneath rule = {known & (writable[i] ? read | write : read), directories[i]};
        if (syscall(SYS_landlock_add_rule, ruleset, RULE_PATH_BENEATH, &rule, 0))
            return -errno;
    }
    return 0;
}

int sbx_lockdown_landlock(const int *directories, const uint8_t *writable, size_t count, int files)
{
    int abi = sbx_lockdown_landlock_abi();
    if (!abi)
        return -ENOSYS;
    if (abi > VERSIONS)
        abi = VERSIONS;
    struct ruleset rules = {(1u << versions[abi - 1].file_bits) - 1, (1u << versions[abi - 1].net_bits) - 1,
                            (1u << versions[abi - 1].scope_bits) - 1};
    if (!files)
        rules.files = 0;
    if (!rules.files && !rules.net)
        return 0; /* this version has nothing to forbid but files */
    size_t size = rules.scopes ? sizeof rules : rules.net ? offsetof(struct ruleset, scopes) : offsetof(struct ruleset, net);
    int ruleset = (int)syscall(SYS_landlock_create_ruleset, &rules, size, 0);
    if (ruleset < 0)
        return -errno;
    int error = add_directories(ruleset, directories, writable, files ? count : 0, rules.files);
    if (!error && syscall(SYS_landlock_restrict_self, ruleset, 0))
        error = -errno;
    close(ruleset);
    return error;
}
#else
int sbx_lockdown_landlock_abi(void) { return 0; }

int sbx_lockdown_landlock(const int *directories, const uint8_t *writable, size_t count, int files)
{
    (void)directories;
    (void)writable;
    (void)count;
    (void)files;
    return -ENOSYS;
}
#endif
