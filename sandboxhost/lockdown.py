"""Whether a worker or compile process is locked down as it says: looked at from outside, where it cannot lie about it."""
from __future__ import annotations

import os

from .errors import ProtocolError, WorkerStartError, printable
from .options import LEVELS, Level

__all__ = ["DEFAULT_MINIMUM", "check"]

DEFAULT_MINIMUM: Level = "seccomp-only"
"""What a host accepts that is told nothing else."""
FILE_CAPABILITIES = 1 << 1 | 1 << 3
"""CAP_DAC_OVERRIDE and CAP_FOWNER, see capabilities(7): root's workers keep them where directories are granted."""
_SPACES = ("net", "ipc", "uts", "mnt", "cgroup")


def check(pid: int, level: str, missing: str, minimum: Level) -> None:
    """What a process says of itself, before anything of a plugin is sent to it; `missing` are its words for what it lacks.

    Raises ProtocolError (it is not as it says), WorkerStartError (it is less than the minimum).
    """
    if level not in LEVELS:
        raise ProtocolError(f"level: {printable(level, 80)!r}")
    if level != "none":
        _verify_threads(pid, level)
    if level == "full":
        _verify_namespaces(pid)
    if LEVELS.index(level) < LEVELS.index(minimum):
        lacks = printable(missing, 1000) or "it does not say what is missing"
        raise WorkerStartError(
            f"processes on this machine reach lock-down level {level!r} only, and {minimum!r} is the least that is accepted"
            f" ({lacks}); `sandboxhost doctor` says what to change, minimum_level={level!r} accepts it as it is")


def _verify_threads(pid: int, level: str) -> None:
    """The filter of system calls, no_new_privs and no capability, on every thread (proc_pid_status(5))."""
    found = 0
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            try:
                with open(f"/proc/{pid}/task/{thread}/status", "rb") as file:
                    status = file.read()
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has ended in the meantime
            fields = dict(line.split(b":\t", 1) for line in status.splitlines() if b":\t" in line)
            for name, wanted in ((b"Seccomp", b"2"), (b"NoNewPrivs", b"1")):
                if fields.get(name) != wanted:
                    has = fields.get(name, b"none").decode()
                    raise ProtocolError(f"level {level!r}: thread {thread} has {name.decode()} {has}")
            for name in (b"CapPrm", b"CapEff", b"CapInh", b"CapAmb"):
                if int(fields.get(name, b"0"), 16) & ~FILE_CAPABILITIES:
                    raise ProtocolError(f"level {level!r}: thread {thread} has {name.decode()} {fields[name].decode()}")
            found += 1
    except OSError as exc:
        raise WorkerStartError(f"/proc does not show process {pid}, so its lock-down cannot be seen: {exc.strerror}") from exc
    if not found:
        raise ProtocolError(f"level {level!r}: no thread can be looked at")


def _verify_namespaces(pid: int) -> None:
    """Not ours. Who is not root may not look at them; what it may look at is whose ids they count with."""
    try:
        for space in _SPACES:
            if os.readlink(f"/proc/{pid}/ns/{space}") == os.readlink(f"/proc/self/ns/{space}"):
                raise ProtocolError(f"level 'full': the {space} namespace is the host's")
    except OSError:
        ours, theirs = _user_map("self"), _user_map(str(pid))
        if ours == theirs and ours[-1:] != ["1"]:
            raise ProtocolError("level 'full': the user namespace is the host's") from None


def _user_map(process: str) -> list[str]:
    try:
        with open(f"/proc/{process}/uid_map", encoding="ascii") as file:
            return file.read().split()
    except OSError:
        return ["1"]
