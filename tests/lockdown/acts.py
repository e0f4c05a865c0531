"""Forbidden acts: system calls as code inside a worker could make them, and what refuses each."""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any, NamedTuple

X86 = platform.machine() == "x86_64"
KILLED = "SIGSYS"


class Scene(NamedTuple):
    """What the acts aim at."""

    host: int
    """A process that is not the actor's: the test's own."""
    page: int
    """A page of the actor's memory that may be written."""
    iovec: int
    """Address of a struct iovec."""


class Act(NamedTuple):
    """One system call: its number on x86-64 and aarch64 (-1: none), its arguments, and its outcome when it is refused."""

    name: str
    x86: int
    arm: int
    arguments: Callable[[Scene], tuple[Any, ...]] = lambda scene: ()
    refused: str = KILLED
    free: str = ""
    """Its outcome without the filter of system calls; "": whatever it is, no SIGSYS (what the other layers leave of it depends on
    who runs the tests)."""

    @property
    def number(self) -> int:
        """On this machine."""
        return self.x86 if X86 else self.arm


def _to(*arguments: Any) -> Callable[[Scene], tuple[Any, ...]]:
    return lambda scene: arguments


AT_FDCWD = -100
PATH = b"/etc/passwd"
UNIX = b"\1\0/run/some.socket\0"
INET = b"\2\0\0\x50\x7f\0\0\1" + bytes(8)

FILES = (
    Act("open", 2, -1, _to(PATH, 0), "EPERM"),
    Act("openat", 257, 56, _to(AT_FDCWD, PATH, 0), "EPERM"),
    Act("openat2", 437, 437, _to(AT_FDCWD, PATH, bytes(24), 24), "EPERM"),
    Act("stat", 4, -1, _to(PATH, bytes(256)), "EPERM"),
    Act("lstat", 6, -1, _to(PATH, bytes(256)), "EPERM"),
    Act("newfstatat", 262, 79, _to(AT_FDCWD, PATH, bytes(256), 0), "EPERM"),
    Act("statx", 332, 291, _to(AT_FDCWD, PATH, 0, 0, bytes(256)), "EPERM"),
    Act("access", 21, -1, _to(PATH, 0), "EPERM"),
    Act("faccessat", 269, 48, _to(AT_FDCWD, PATH, 0), "EPERM"),
)
"""Without filter, Landlock and another root directory each of them succeeds."""

OTHERS = (
    Act("readlinkat", 267, 78, _to(AT_FDCWD, b"/", bytes(16), 16), "EPERM"),
    Act("getcwd", 79, 17, _to(bytes(4096), 4096), "EPERM", "ok"),
    Act("uname", 63, 160, _to(bytes(1024)), "EPERM", "ok"),
    Act("ioctl TIOCSTI", 16, 29, _to(0, 0x5412, b"x"), "EPERM", "ENOTTY"),
    Act("chdir", 80, 49, _to(b"/")),
    Act("chroot", 161, 51, _to(b"/")),
    Act("pivot_root", 155, 41, _to(b"/", b"/")),
    Act("mount", 165, 40, _to(b"x", b"/", b"tmpfs", 0, 0)),
    Act("umount2", 166, 39, _to(b"/nowhere", 0)),
    Act("mount_setattr", 442, 442, _to(AT_FDCWD, b"/nowhere", 0, bytes(32), 32)),
    Act("open_tree", 428, 428, _to(AT_FDCWD, b"/", 0)),
    Act("move_mount", 429, 429, _to(-1, b"", -1, b"", 0)),
    Act("fsopen", 430, 430, _to(b"tmpfs", 0)),
    Act("mknodat", 259, 33, _to(AT_FDCWD, b"/node", 0o20600, 0x103)),
    Act("mkdirat", 258, 34, _to(AT_FDCWD, b"/made", 0o700)),
    Act("symlinkat", 266, 36, _to(b"/etc", AT_FDCWD, b"/link")),
    Act("linkat", 265, 37, _to(AT_FDCWD, b"/nowhere", AT_FDCWD, b"/link", 0)),
    Act("unlinkat", 263, 35, _to(AT_FDCWD, b"/nowhere", 0)),
    Act("renameat2", 316, 276, _to(AT_FDCWD, b"/nowhere", AT_FDCWD, b"/elsewhere", 0)),
    Act("truncate", 76, 45, _to(b"/nowhere", 0)),
    Act("fchmodat", 268, 53, _to(AT_FDCWD, b"/nowhere", 0o777)),
    Act("fchownat", 260, 54, _to(AT_FDCWD, b"/nowhere", 0, 0, 0)),
    Act("setxattr", 188, 5, _to(b"/nowhere", b"user.x", b"", 0, 0)),
    Act("inotify_init1", 294, 26, _to(0)),
    Act("fanotify_init", 300, 262, _to(0, 0)),
    Act("name_to_handle_at", 303, 264, _to(AT_FDCWD, b"/", bytes(16), bytes(8), 0)),
    Act("open_by_handle_at", 304, 265, _to(AT_FDCWD, bytes(16), 0)),
    Act("quotactl", 179, 60, _to(0, b"/dev/null", 0, 0)),
    Act("swapon", 167, 224, _to(b"/nowhere", 0)),
    Act("acct", 163, 89, _to(b"/nowhere")),
    Act("socket unix", 41, 198, _to(1, 1, 0), KILLED, "ok"),
    Act("socket inet", 41, 198, _to(2, 1, 0), KILLED, "ok"),
    Act("socket netlink", 41, 198, _to(16, 3, 0), KILLED, "ok"),
    Act("socketpair", 53, 199, _to(1, 1, 0, bytes(8)), KILLED, "ok"),
    Act("connect unix", 42, 203, _to(3, UNIX, len(UNIX))),
    Act("connect inet", 42, 203, _to(3, INET, len(INET))),
    Act("bind", 49, 200, _to(3, UNIX, len(UNIX))),
    Act("listen", 50, 201, _to(3, 1)),
    Act("accept4", 288, 242, _to(3, 0, 0, 0)),
    Act("sendto an address", 44, 206, _to(3, b"x", 1, 0, UNIX, len(UNIX))),
    Act("sendmsg", 46, 211, _to(-1, bytes(56), 0), KILLED, "EBADF"),
    Act("setsockopt", 54, 208, _to(-1, 1, 2, bytes(4), 4), KILLED, "EBADF"),
    Act("ptrace", 101, 117, lambda s: (16, s.host, 0, 0)),
    Act("process_vm_readv", 310, 270, lambda s: (s.host, s.iovec, 1, s.iovec, 1, 0)),
    Act("process_vm_writev", 311, 271, lambda s: (s.host, s.iovec, 1, s.iovec, 1, 0)),
    Act("process_madvise", 440, 440, _to(-1, 0, 0, 0, 0), KILLED, "EBADF"),
    Act("kill of the host", 62, 129, lambda s: (s.host, 0)),
    Act("tgkill of the host", 234, 131, lambda s: (s.host, s.host, 0)),
    Act("tkill of the host", 200, 130, lambda s: (s.host, 0)),
    Act("rt_sigqueueinfo", 129, 138, lambda s: (s.host, 0, bytes(128))),
    Act("pidfd_open", 434, 434, lambda s: (s.host, 0), KILLED, "ok"),
    Act("pidfd_send_signal", 424, 424, _to(-1, 0, 0, 0), KILLED, "EBADF"),
    Act("pidfd_getfd", 438, 438, _to(-1, 0, 0), KILLED, "EBADF"),
    Act("kcmp", 312, 272, lambda s: (s.host, s.host, 0, 0, 0)),
    Act("prlimit of the host", 302, 261, lambda s: (s.host, 7, 0, bytes(16))),
    Act("setrlimit", 160, 164, _to(4, bytes(16)), KILLED, "ok"),
    Act("setpriority of the host", 141, 140, lambda s: (0, s.host, 19)),
    Act("sched_setaffinity of the host", 203, 122, lambda s: (s.host, 8, b"\1" + bytes(7))),
    Act("sched_setscheduler", 144, 119, _to(0, 0, bytes(4)), KILLED, "ok"),
    Act("migrate_pages", 256, 238, lambda s: (s.host, 0, 0, 0)),
    Act("move_pages", 279, 239, lambda s: (s.host, 0, 0, 0, 0, 0)),
    Act("fork", 57, -1),
    Act("clone", 56, 220, _to(17, 0, 0, 0, 0)),
    Act("clone of a thread", 56, 220, _to(0x10000, 0, 0, 0, 0), "EAGAIN", "EINVAL"),
    Act("clone3", 435, 435, _to(bytes(88), 88), "ENOSYS"),
    Act("execve", 59, 221, _to(b"/bin/true", 0, 0)),
    Act("execveat", 322, 281, _to(AT_FDCWD, b"/bin/true", 0, 0, 0)),
    Act("mmap writable and executable", 9, 222, _to(0, 4096, 7, 0x22, -1, 0)),
    Act("mmap executable, anonymous", 9, 222, _to(0, 4096, 5, 0x22, -1, 0), KILLED, "ok"),
    Act("mmap executable, shared", 9, 222, _to(0, 4096, 5, 1, 3, 0)),
    Act("mprotect executable", 10, 226, lambda s: (s.page, 4096, 5)),
    Act("mprotect writable and executable", 10, 226, lambda s: (s.page, 4096, 7)),
    Act("pkey_mprotect", 329, 288, lambda s: (s.page, 4096, 5, -1)),
    Act("remap_file_pages", 216, 234, _to(0, 4096, 0, 0, 0)),
    Act("mlock", 149, 228, lambda s: (s.page, 4096)),
    Act("memfd_create", 319, 279, _to(b"x", 0), KILLED, "ok"),
    Act("memfd_secret", 447, 447, _to(0)),
    Act("userfaultfd", 323, 282, _to(0)),
    Act("io_uring_setup", 425, 425, _to(1, bytes(120))),
    Act("io_uring_enter", 426, 426, _to(-1, 0, 0, 0, 0, 0)),
    Act("io_setup", 206, 0, _to(1, bytes(8)), KILLED, "ok"),
    Act("keyctl", 250, 219, _to(0, -3, 0)),
    Act("add_key", 248, 217, _to(b"user", b"x", b"x", 1, -3)),
    Act("request_key", 249, 218, _to(b"user", b"x", 0, 0)),
    Act("bpf", 321, 280, _to(0, bytes(128), 128)),
    Act("perf_event_open", 298, 241, _to(bytes(128), 0, -1, -1, 0)),
    Act("seccomp", 317, 277, _to(2, 0, bytes(4))),
    Act("landlock_create_ruleset", 444, 444, _to(0, 0, 1)),
    Act("prctl PR_SET_DUMPABLE", 157, 167, _to(4, 1, 0, 0, 0), KILLED, "ok"),
    Act("prctl PR_SET_PDEATHSIG", 157, 167, _to(1, 0, 0, 0, 0), KILLED, "ok"),
    Act("arch_prctl", 158, -1, _to(0x1003, bytes(8)), KILLED, "ok"),
    Act("modify_ldt", 154, -1, _to(0, 0, 0)),
    Act("iopl", 172, -1, _to(3)),
    Act("personality", 135, 92, _to(0xFFFFFFFF), KILLED, "ok"),
    Act("unshare", 272, 97, _to(0x4000000)),
    Act("setns", 308, 268, _to(-1, 0), KILLED, "EBADF"),
    Act("setuid", 105, 146, _to(0)),
    Act("setresuid", 117, 147, _to(0, 0, 0)),
    Act("setgroups", 116, 159, _to(0, 0)),
    Act("capset", 126, 91, _to(b"\x22\x05\x08\x20" + bytes(4), bytes(24)), KILLED, "ok"),
    Act("sethostname", 170, 161, _to(b"x", 1)),
    Act("settimeofday", 164, 170, _to(0, 0)),
    Act("syslog", 103, 116, _to(2, bytes(8), 8)),
    Act("reboot", 169, 142, _to(0, 0, 0, 0)),
    Act("kexec_load", 246, 104, _to(0, 0, 0, -1)),
    Act("init_module", 175, 105, _to(0, 0, b"")),
    Act("finit_module", 313, 273, _to(-1, b"", 0)),
    Act("delete_module", 176, 106, _to(b"nosuch", 0)),
    Act("shmget", 29, 194, _to(0, 4096, 0o600)),
    Act("msgget", 68, 186, _to(0, 0o600)),
    Act("semget", 64, 190, _to(0, 1, 0o600)),
    Act("pipe2", 293, 59, _to(bytes(8), 0), KILLED, "ok"),
    Act("dup3", 292, 24, _to(3, 3, 0), KILLED, "EINVAL"),
    Act("eventfd2", 290, 19, _to(0, 0), KILLED, "ok"),
    Act("timer_create", 222, 107, _to(1, 0, bytes(8)), KILLED, "ok"),
    Act("fcntl F_SETFL", 72, 25, _to(3, 4, 0), KILLED, "ok"),
    Act("fcntl F_SETOWN", 72, 25, lambda s: (3, 8, s.host)),
    Act("x32 getpid", 0x40000000 | 39, -1),
    Act("a call that no kernel knows", 4000, 4000, refused=KILLED, free="ENOSYS"),
)

ACTS = {act.name: act for act in (*FILES, *OTHERS) if act.number >= 0}
