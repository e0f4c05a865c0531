"""What a worker or compile process does to itself before it touches anything of a plugin, in the order that SECURITY.md gives."""

from __future__ import annotations

import os
import resource
import signal
import traceback
from collections.abc import Callable, Container, Sequence
from typing import TYPE_CHECKING, Literal

from sandboxhost.options import Level

from . import native

if TYPE_CHECKING:
    from sandboxhost.limits import ProcessLimits

FIRST_USER = 0x7000_0000
"""Workers that root starts get the user id FIRST_USER + their process id: a range that systemd's conventions leave unused."""
_FILTERS: dict[str, int] = native.enumeration("sbx_filter")
_DAC_OVERRIDE, _FOWNER = 1 << 1, 1 << 3


def isolate(keep: int) -> int:
    """Step 1: a session of its own, no descriptors beyond stdio and `keep`, no environment, no current directory, default
    signals.

    Returns the parent's process id, for `LockDown`.
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


class LockDown:
    """The layers of this process: `confine` while it has one thread, `seal` when it has all. What the machine refuses is kept in
    `missing`; the host decides whether what is left will do."""

    def __init__(self, parent: int, without: Container[str] = ()) -> None:
        """parent: from `isolate`; without: names of options.LAYERS that are not tried, for tests of the others."""
        self._parent = parent
        self._without = without
        self.missing: dict[str, str] = {}
        """Layer -> why it is not there."""

    def _put_on(self, layer: str, action: Callable[[], None]) -> bool:
        if layer in self._without:
            self.missing[layer] = "not tried"
        else:
            try:
                action()
            except OSError as exc:
                self.missing[layer] = os.strerror(exc.errno or 0)
        return layer not in self.missing

    @property
    def level(self) -> Level:
        """What the layers amount to; right after `seal`."""
        if not self.missing.keys().isdisjoint({"seccomp", "privileges"}):
            return "none"
        if "landlock" in self.missing:
            return "seccomp-only"
        return "no-userns" if "namespaces" in self.missing else "full"

    @property
    def explanation(self) -> str:
        """What is missing, in words."""
        return "; ".join(f"{layer}: {why}" for layer, why in self.missing.items())

    def confine(self, limits: ProcessLimits, directories: Sequence[tuple[int, bool]] | None, endpoint: str = "") -> str:
        """Steps 3 to 8, while there is one thread. directories: (descriptor, writable) of those granted; (): no file at all;
        None: any may come later.

        endpoint: where the process is going to connect to; its directory becomes the root directory. Returns what it is called
        from then on. Raises OSError: the parent is gone, or the kernel's limits cannot be set.
        """
        folder, _, name = endpoint.removeprefix("ipc://").rpartition("/")
        # In a user namespace root would lose what it opens others' files with.
        own_user = os.geteuid() != 0 or directories == ()
        self._put_on("namespaces", lambda: native.system("sbx_lockdown_namespaces", own_user))
        root = os.fsencode(folder or "/proc/self/fdinfo")
        if self._put_on("root", lambda: native.system("sbx_lockdown_root", root)) and folder:
            folder, endpoint = "/", f"ipc:///{name}"
        keep = 0
        if os.geteuid() == 0:
            keep = self._leave_root(directories, folder, name)
        self._put_on("capabilities", lambda: native.system("sbx_lockdown_capabilities", keep))
        native.system("sbx_process_follow_parent", self._parent)  # after the change of user, which forgets it
        self._put_on("privileges", lambda: native.system("sbx_process_no_new_privileges"))
        self._put_on("exec-gain", lambda: native.system("sbx_lockdown_no_exec_gain"))
        _limit(limits)
        native.system("sbx_install_fault_handler")
        native.enter_thread()
        _warm_up()
        fds = [fd for fd, _ in directories or ()]
        writable = bytes(mode for _, mode in directories or ())
        files = directories is not None
        self._put_on("landlock", lambda: native.system("sbx_lockdown_landlock", fds, writable, len(fds), files))
        return endpoint

    def _leave_root(self, directories: Sequence[tuple[int, bool]] | None, folder: str, name: str) -> int:
        """Another user, where no directory is granted. Where one is, the application's files must stay what they are to the
        application: the user stays, and of root's capabilities those that files are opened with. Returns these."""
        if directories == ():
            user, place = FIRST_USER + os.getpid(), folder.rstrip("/")
            paths = (os.fsencode(folder), os.fsencode(f"{place}/{name}"))
            if self._put_on("user", lambda: native.system("sbx_lockdown_user", user, *paths)):
                return 0
        return _DAC_OVERRIDE | _FOWNER if directories != () else 0

    def seal(self, filter_: Literal["COMPILE", "WORKER", "FILES"]) -> None:
        """Steps 10 and 11, after the last thread has started: no more processes, no look from outside, the filter. Raises
        OSError."""
        lower(resource.RLIMIT_NPROC, 0)
        native.system("sbx_process_not_dumpable")
        self._put_on("seccomp", lambda: native.system("sbx_lockdown_seccomp", _FILTERS[f"SBX_FILTER_{filter_}"]))


def _limit(limits: ProcessLimits) -> None:
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


def lower(kind: int, value: int) -> None:
    """Sets a limit, soft and hard, to `value` or what it is already, whichever is less."""
    _, hard = resource.getrlimit(kind)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


def _warm_up() -> None:
    """What Python imports with the first use: it finds no file later."""
    try:
        raise LookupError
    except LookupError:
        traceback.format_exc()
