"""`sandboxhost doctor`: the layers of the lock-down on this machine for this user, each tried in a real process, not guessed."""
from __future__ import annotations

import json
import os
import platform
import tempfile
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from . import lockdown, wire
from .cgroups import CONTROLLERS, Groups
from .errors import ProtocolError, SandboxError, WorkerError, WorkerStartError
from .limits import GroupLimits, Limits, ProcessLimits
from .options import LAYERS, LEVELS, CompileOptions, Level, WorkerOptions
from .process import Process
from .transport import Transport
from .wire import Direction

__all__ = ["examine", "main"]

WITH_DIRECTORY = "worker with a directory"
SECONDS = 30.0
"""What a process gets to say how far it came."""
BELOW_MINIMUM = 1
"""Exit code: a process reaches less than a host accepts by default."""

ADVICE: Mapping[str, str] = {
    "namespaces": "let this user make namespaces: sysctl user.max_user_namespaces above 0; Debian: also"
                  " kernel.unprivileged_userns_clone=1; Ubuntu: kernel.apparmor_restrict_unprivileged_userns=0, or a profile; a"
                  " container: a seccomp profile that permits unshare; root needs CAP_SYS_ADMIN for workers with directories",
    "root": "needs what namespaces need, or CAP_SYS_CHROOT",
    "user": "root needs CAP_SETUID, CAP_SETGID and CAP_CHOWN, and user ids from 0x70000000 on; or run the application as another"
            " user",
    "capabilities": "nothing should prevent this: please report it",
    "privileges": "needs Linux 3.5",
    "exec-gain": "needs Linux 6.3 (the filter of system calls forbids the same)",
    "landlock": "needs Linux 5.13 built with CONFIG_SECURITY_LANDLOCK and booted with landlock among the modules of lsm=",
    "seccomp": "needs x86-64 or aarch64, and a kernel with CONFIG_SECCOMP_FILTER (Linux 4.14)",
}  # fmt: skip

GROUP_ADVICE = (
    "a systemd unit: Delegate=yes and DelegateSubgroup=NAME (systemd-run takes both with -p, with --user too); a container:"
    " cgroup version 2 mounted writable, and its processes in a group below the top; elsewhere: GroupLimits(use=\"own\"), where"
    " nothing else manages this process's group")
"""What to do for control groups; a host runs plugins without them, too."""


class Finding(NamedTuple):
    """What one kind of process reached."""

    process: str
    level: Level
    seconds: float
    """From its start to its word that it is locked down."""
    missing: Mapping[str, str]
    """Layer -> the system's reason."""
    failure: str = ""
    """Why it did not come up, or is not what it says; the level is "none" then."""

    def state(self, layer: str) -> str:
        """"holds", "missing", "unknown" or "none needed"."""
        if self.failure:
            return "unknown"
        if layer in self.missing:
            return "missing"
        return "none needed" if layer == "user" and (os.geteuid() or self.process == WITH_DIRECTORY) else "holds"


def examine() -> list[Finding]:
    """Starts a worker without directories, one with a directory and a compile process, looks at each and ends it."""
    with tempfile.TemporaryDirectory(prefix="sandboxhost-doctor-") as folder:
        granted = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            return [
                _find("worker", lambda process: _boot(process, ())),
                _find(WITH_DIRECTORY, lambda process: _boot(process, (granted,))),
                _find("compile process", _compile),
            ]
        finally:
            os.close(granted)


def control_groups() -> dict[str, str]:
    """Controller -> "" when a process of ours was put into a group of its own below this one's, else why not."""
    groups = Groups(GroupLimits(processors=1.0))
    found = {controller: groups.missing.get(controller, "") for controller in CONTROLLERS}
    group, process = groups.new(), None
    try:
        process = Process("spare", group.joins() if group else ())
        end = time.monotonic() + SECONDS
        while group and not group.holds(process.pid) and not process.reap(0.005) and time.monotonic() < end:
            pass
        if group is None or not group.holds(process.pid):
            found.update(dict.fromkeys(groups.usable, "the process did not get into it"))
    except WorkerStartError as exc:
        found.update(dict.fromkeys(groups.usable, str(exc)))
    finally:
        if process is not None:
            process.close()
        groups.release(group)
        groups.close()
    return found


def _find(title: str, ask: Callable[[Process], tuple[str, str]]) -> Finding:
    began = time.monotonic()
    try:
        process = Process("compile" if ask is _compile else "worker")
    except WorkerStartError as exc:
        return Finding(title, "none", 0.0, {}, str(exc))
    try:
        level, words = ask(process)
        seconds = time.monotonic() - began
        lockdown.check(process.pid, level, words, "none")
        missing = dict(part.split(": ", 1) for part in words.split("; ") if ": " in part)
        return Finding(title, next(known for known in LEVELS if known == level), seconds, missing)
    except (SandboxError, OSError) as exc:
        process.reap(1.0)
        words = ": ".join(filter(None, (str(exc), process.reason, process.last_words())))
        return Finding(title, "none", time.monotonic() - began, {}, words)
    finally:
        process.close()


def _boot(process: Process, directories: Sequence[int]) -> tuple[str, str]:
    """A worker's level and words. Raises WorkerError, ProtocolError, OSError."""
    transport, identity = Transport(), b"\x01" + os.urandom(15)
    try:
        endpoint, listener = transport.open_endpoint(identity)
        with listener:
            options = WorkerOptions(endpoint, identity, 1, ProcessLimits().to_wire(), (True,) * len(directories))
            process.send(wire.encode([wire.Boot(options.encode())]), [listener.fileno(), *directories])
        end = time.monotonic() + SECONDS
        while time.monotonic() < end and not process.reap(0.002):
            for _, frame in transport.receive():
                if isinstance(frame, ProtocolError):
                    raise frame
                messages = wire.decode(frame or b"", Direction.TO_HOST)
                if messages and isinstance(messages[0], wire.Ready):
                    return messages[0].level, messages[0].missing
        raise WorkerError("it did not come up")
    finally:
        transport.close()


def _compile(process: Process) -> tuple[str, str]:
    """A compile process's. Raises as `_boot`."""
    limits = Limits()
    options = CompileOptions(None, False, False, 0, limits.to_wire(), "auto", None)
    image = os.open(os.devnull, os.O_RDWR)  # it is given nothing to compile
    try:
        process.send(wire.encode([wire.Compile(options.encode())]), [image])
    finally:
        os.close(image)
    try:
        messages = wire.decode(process.receive(wire.MAX_DATAGRAM, SECONDS), Direction.FROM_COMPILER)
    except TimeoutError:
        raise WorkerError("it did not come up") from None
    if messages and isinstance(messages[0], wire.Failed):
        raise wire.failure(messages[0])
    if not messages or not isinstance(messages[0], wire.Locked):
        raise ProtocolError("it did not say what it reached")
    return messages[0].level, messages[0].missing


# ---- telling

def main(as_json: bool) -> int:
    """Prints what was found. Returns the exit code."""
    findings, groups = examine(), control_groups()
    reached = min((f.level for f in findings), key=LEVELS.index)
    enough = LEVELS.index(reached) >= LEVELS.index(lockdown.DEFAULT_MINIMUM)
    if as_json:
        print(json.dumps(_report(findings, groups, reached)))
    else:
        print("\n".join(_lines(findings, groups, reached)))
    return 0 if enough else BELOW_MINIMUM


def _report(findings: list[Finding], groups: Mapping[str, str], reached: Level) -> dict[str, Any]:
    return {
        "system": platform.platform(), "user": os.geteuid(), "level": reached, "minimum": lockdown.DEFAULT_MINIMUM,
        "processes": [
            {"process": f.process, "level": f.level, "seconds": round(f.seconds, 4), "failure": f.failure,
             "layers": {name: {"state": f.state(name), "reason": f.missing.get(name, ""),
                               "advice": ADVICE[name] if name in f.missing else ""} for name in LAYERS}}
            for f in findings],
        "control_groups": {name: {"state": "missing" if why else "holds", "reason": why, "advice": GROUP_ADVICE if why else ""}
                           for name, why in groups.items()},
    }


def _lines(findings: list[Finding], groups: Mapping[str, str], reached: Level) -> list[str]:
    lines = [f"{platform.system()} {platform.release()} on {platform.machine()}, user {os.geteuid()}", ""]
    titles = [f.process for f in findings]
    width, widths = max(map(len, LAYERS)) + 2, [max(len(title), len("seccomp-only")) + 2 for title in titles]
    lines.append("".join([" " * width, *(f"{title:{wide}}" for title, wide in zip(titles, widths, strict=True))]).rstrip())
    for name, what in LAYERS.items():
        cells = [f.state(name).upper() if name in f.missing else f.state(name) for f in findings]
        row = "".join(f"{cell:{wide}}" for cell, wide in zip(cells, widths, strict=True))
        lines.append(f"{name:{width}}{row}{what}")
    row = "".join(f"{f.level:{wide}}" for f, wide in zip(findings, widths, strict=True))
    lines += [f"{'level':{width}}{row}(verified from outside)"]
    row = ", ".join(f"{name} {'MISSING' if why else 'holds'}" for name, why in groups.items())
    lines += [f"{'groups':{width}}{row:{sum(widths)}}a control group around each worker", ""]
    for finding in findings:
        if finding.failure:
            lines.append(f"{finding.process}: {finding.failure}")
    for name in LAYERS:
        reasons = [f"    {f.process}: {f.missing[name]}" for f in findings if name in f.missing]
        if reasons:
            lines += [f"{name} is missing", *reasons, *_advice(ADVICE[name])]
    if any(groups.values()):
        reasons = [f"    {name}: {why}" for name, why in groups.items() if why]
        lines += ["control groups are missing, without which a host does run plugins", *reasons, *_advice(GROUP_ADVICE)]
    enough = LEVELS.index(reached) >= LEVELS.index(lockdown.DEFAULT_MINIMUM)
    verdict = (f"A host runs plugins here: every process reaches {reached!r} or more" if enough else
               f"A host refuses to run plugins here unless it is told minimum_level={reached!r}")
    lines.append(f"{verdict}; {lockdown.DEFAULT_MINIMUM!r} is what it asks for.")
    return lines


def _advice(text: str) -> list[str]:
    return [*textwrap.wrap(text, 110, initial_indent="    -> ", subsequent_indent="       "), ""]
