"""What a worker or compile process does to itself before it touches anything of a plugin, in the order that SECURITY.md gives."""

from __future__ import annotations

import os
import resource
import signal
from typing import TYPE_CHECKING

from . import native

if TYPE_CHECKING:
    from sandboxhost.limits import ProcessLimits

LEVEL = "none"
"""The lock-down level this version reaches: everything below, and no name spaces, Landlock or seccomp yet."""


def isolate(keep: int) -> int:
    """Step 1: a session of its own, no descriptors beyond stdio and `keep`, no environment, no current directory, default
    signals.

    Returns the parent's process id, for `restrict`.
    """
    parent = os.getppid()
    if os.getpgrp() != os.getpid():  # the leader of a group cannot
        os.setsid()
    os.closerange(3, keep)
    os.closerange(keep + 1, _highest_descriptor())
    os.environ.clear()
    os.chdir("/")
    os.umask(0o077)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_DFL)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # the failed write answers the guest
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    return parent


def _highest_descriptor() -> int:
    """One past the largest descriptor that may be open; limits may have been lowered after it was opened."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return 1 << 20 if hard == resource.RLIM_INFINITY else max(hard, 1 << 16)


def restrict(parent: int, limits: ProcessLimits) -> None:
    """Steps 5 and 6: dies with its parent, gains no privilege, and the kernel's limits. Raises OSError."""
    native.system("sbx_process_follow_parent", parent)
    native.system("sbx_process_no_new_privileges")
    for kind, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
        (resource.RLIMIT_DATA, None if native.sanitized() else limits.data),
        (resource.RLIMIT_CPU, limits.cpu_seconds),
        (resource.RLIMIT_NOFILE, limits.open_files),
        (resource.RLIMIT_FSIZE, limits.file_bytes),
    ):
        if value is not None:
            lower(kind, value)


def seal() -> None:
    """Step 10, after the last thread has started: no more processes, no look from outside. Raises OSError."""
    lower(resource.RLIMIT_NPROC, 0)
    native.system("sbx_process_not_dumpable")


def lower(kind: int, value: int) -> None:
    """Sets a limit, soft and hard, to `value` or what it is already, whichever is less."""
    _, hard = resource.getrlimit(kind)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))
