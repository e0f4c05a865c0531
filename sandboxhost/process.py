"""One child process of ours: started clean, tied to us by a lifeline, killed for certain, reaped always."""
from __future__ import annotations

import array
import contextlib
import fcntl
import importlib.util
import os
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from .errors import WorkerError, WorkerStartError, printable

__all__ = ["Process"]

LIFELINE_FD = 3
"""Number of the lifeline in the child."""
_MOST_DESCRIPTORS = 65_536
"""As far as is looked where the open ones cannot be listed; the child closes what is beyond."""
_MAX_SAID = 8192
"""Bytes of the child's stderr that are kept."""
MAX_STDERR = 2**20
"""Bytes that a child may write to its stderr in its life."""


@lru_cache(maxsize=1)
def _command() -> tuple[str, ...]:
    """The command line of a child, without its role, and the import paths that follow the role.

    The package's __main__ is started by its path, isolated and without site-packages, which halves the time to start; the few
    folders that it does need are arguments. Raises WorkerStartError.
    """
    folders = []
    for name in ("sandboxworker", "sandboxhost", "msgpack", "zmq", "_cffi_backend"):
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise WorkerStartError(f"the package {name} is not installed")
        origin = Path(spec.origin)
        folders.append(str(origin.parent.parent if spec.submodule_search_locations else origin.parent))
    main = Path(folders[0]) / "sandboxworker" / "__main__.py"
    return str(main), *dict.fromkeys(folders)


class Process:
    """A running `python -m sandboxworker ROLE`. Its owner polls `fd` (readable when it has ended) and `stderr`."""

    def __init__(self, role: str, joins: Sequence[str] = ()) -> None:
        """Starts the process. Raises WorkerStartError. joins: files into which it writes "0" first of all (cgroups.py): it takes
        the kernel some 10 ms each, which the host does not wait for.

        It gets: null stdin and stdout, a pipe as stderr, the lifeline as descriptor 3; no other descriptor; a clean environment;
        default signals. Start it from a thread that lives as long as it should: the child dies with the thread.
        """
        self.role = role
        self.reason = ""
        """How it ended, once `reap` returned True."""
        self.status: int | None = None
        """The same as a number: the exit code, or minus the signal; None: not known."""
        self.said = b""
        """The last of what it wrote to stderr."""
        self.said_bytes = 0
        """How much it wrote there."""
        self.pid = 0
        opened: list[int] = []
        try:
            pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            opened += [pair[0].detach(), pair[1].detach()]
            opened += os.pipe()
            ours, theirs, stderr, their_stderr = opened
            self.pid = self._spawn(role, joins, theirs, their_stderr)
            self.fd = os.pidfd_open(self.pid) if hasattr(os, "pidfd_open") else os.dup(ours)
        except OSError as exc:
            for fd in opened:
                os.close(fd)
            if self.pid:  # there is nobody who would notice its end
                os.kill(self.pid, signal.SIGKILL)
                with contextlib.suppress(ChildProcessError):  # the application was faster
                    os.waitpid(self.pid, 0)
            raise WorkerStartError(f"cannot start a {role} process: {exc}") from exc
        os.close(theirs)
        os.close(their_stderr)
        os.set_blocking(stderr, False)
        self.lifeline, self.stderr = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, fileno=ours), stderr
        self.started = time.monotonic()

    @staticmethod
    def _spawn(role: str, joins: Sequence[str], lifeline: int, stderr: int) -> int:
        actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = []
        moved = False
        if lifeline <= LIFELINE_FD or stderr <= LIFELINE_FD:  # descriptors 0 to 3 were closed here: move ours out of the way
            lifeline, stderr = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (lifeline, stderr))
            moved = True
        actions += [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0), (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                    (os.POSIX_SPAWN_DUP2, stderr, 2), (os.POSIX_SPAWN_DUP2, lifeline, LIFELINE_FD)]
        actions += [(os.POSIX_SPAWN_CLOSE, fd) for fd in _inheritable_fds() if fd > LIFELINE_FD]
        environment = {"LANG": "C.UTF-8"}
        for name in ("LD_LIBRARY_PATH", "ASAN_OPTIONS", "UBSAN_OPTIONS", "LD_PRELOAD"):
            if name in os.environ and os.environ.get("SANDBOXHOST_SANITIZE"):  # a build under test needs its run-time library
                environment[name] = os.environ[name]
        main, *paths = _command()
        arguments = [sys.executable, "-I", "-S", "-B", main, role, *(f"--join={path}" for path in joins), *paths]
        defaults = [s for s in signal.valid_signals() if s not in (signal.SIGKILL, signal.SIGSTOP)]
        try:
            return os.posix_spawn(sys.executable, arguments, environment, file_actions=actions, setsigmask=(), setsigdef=defaults)
        finally:
            if moved:
                os.close(lifeline)
                os.close(stderr)

    def send(self, data: bytes, fds: Sequence[int] = ()) -> None:
        """One datagram on the lifeline, with descriptors. Raises WorkerError when the process does not take it."""
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        end = time.monotonic() + 0.5
        while True:
            try:
                self.lifeline.sendmsg([data], ancillary, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
                return
            except BlockingIOError:
                if time.monotonic() >= end:
                    raise WorkerError(f"process {self.pid} does not read its lifeline") from None
                select.select([], [self.lifeline], [], 0.05)
            except OSError as exc:
                raise WorkerError(f"the lifeline of process {self.pid} is closed: {exc.strerror}") from None

    def receive(self, size: int, timeout: float) -> bytes:
        """One datagram from the lifeline; b"" at its end. Raises TimeoutError, WorkerError (larger than `size`)."""
        self.lifeline.settimeout(max(0.0, timeout) or 1e-6)
        try:
            data, _, flags, _ = self.lifeline.recvmsg(size)
        except TimeoutError:
            raise
        except BlockingIOError:
            raise TimeoutError from None
        except OSError:
            return b""
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            raise WorkerError(f"process {self.pid} sent a datagram of more than {size} bytes")
        return data

    def read_stderr(self) -> bytes:
        """What it has said since the last look; b"" at the end."""
        try:
            data = os.read(self.stderr, 65536)
        except BlockingIOError:
            return b""
        except OSError:
            return b""
        self.said = (self.said + data)[-_MAX_SAID:]
        self.said_bytes += len(data)
        return data

    def last_words(self) -> str:
        """The end of what it said, fit to be shown."""
        for _ in range(MAX_STDERR >> 16):  # it may have left a child that goes on
            if not self.read_stderr():
                break
        return printable(self.said.decode("utf-8", "replace").strip(), 2000)

    def kill(self) -> None:
        """SIGKILL; nothing happens when it has ended."""
        if not self.reason:
            try:
                os.kill(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def reap(self, timeout: float = 0.0) -> bool:
        """True when the process has ended and left nothing; waits at most `timeout` seconds."""
        if self.reason:
            return True
        if timeout > 0:
            poll = select.poll()
            poll.register(self.fd, select.POLLIN)
            poll.poll(timeout * 1000)
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:  # the application has waited for all children, ours too
            self.reason = "its exit status was taken by the application"
            return True
        if pid == 0:
            return False
        code = self.status = os.waitstatus_to_exitcode(status)
        self.reason = f"exit code {code}" if code >= 0 else _signal_words(-code)
        return True

    def close(self) -> None:
        """Ends the process if it has not ended, reaps it, closes every descriptor."""
        self.kill()
        while not self.reap(1.0):
            self.kill()
        self.lifeline.close()
        for fd in (self.stderr, self.fd):
            if fd >= 0:
                os.close(fd)
        self.stderr = self.fd = -1


def _signal_words(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    return f"killed by {name}" + (" (a forbidden system call: an escape attempt?)" if name == "SIGSYS" else "")


def _inheritable_fds() -> list[int]:
    """Descriptors that a child would get besides those we name (Python's own are close-on-exec)."""
    try:
        open_ones = [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:  # in the hardened mode it is root's
        open_ones = list(range(min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], _MOST_DESCRIPTORS)))
    found = []
    for fd in open_ones:
        try:
            if os.get_inheritable(fd):
                found.append(fd)
        except OSError:
            pass  # the listing's own descriptor, or none
    return found
