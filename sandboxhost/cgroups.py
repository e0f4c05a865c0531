"""Control groups: one around each worker, below the application's own, where that is its to divide (cgroups(7), version 2 and 1).

The kernel's documentation (admin-guide/cgroup-v2, "Delegation") and systemd's say who may make groups where: only who was given
the subtree. So it is not enough that a directory can be written to, as root can everywhere: see `_given`. Everything is tried
with a real group; what does not work is kept in words, and a worker without a group is no failure.
"""
from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from .limits import GroupLimits
from .logs import logger

__all__ = ["CONTROLLERS", "Group", "Groups", "Place", "places"]

CONTROLLERS = ("memory", "pids", "cpu")
PREFIX = "sandboxhost-"
"""How the names of our groups begin; the host's process id, its start and a number follow."""
PERIOD = 100_000
"""Microseconds over which processor time is shared out, the kernel's default."""
PATIENCE = 1.0
"""Seconds that the kernel gets, at the end of a host, to let go of the groups of processes that have ended."""
NOT_GIVEN = "the group of this process is not delegated to its user"


class Place(NamedTuple):
    """Where this process is in one hierarchy."""

    version: int
    controllers: frozenset[str]
    """Of version 1: those of the hierarchy. Of version 2: those that no hierarchy of version 1 has."""
    top: str
    """The mount point, beyond which nothing is ours."""
    directory: str
    """The group of this process."""


def places(membership: str, mountinfo: str) -> list[Place]:
    """From /proc/self/cgroup and /proc/self/mountinfo (cgroups(7), proc_pid_mountinfo(5)): those that are mounted and within
    sight."""
    mounts: list[tuple[str, str, str, set[str]]] = []
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) >= 5 and len(kind) >= 3 and kind[0] in ("cgroup", "cgroup2"):
            mounts.append((kind[0], _plain(fields[3]), _plain(fields[4]), set(kind[2].split(","))))
    found: list[Place] = []
    for line in membership.splitlines():
        number, names, path = (*line.split(":", 2), "", "")[:3]
        version = 2 if number == "0" and not names else 1
        controllers = frozenset(names.split(",")) & set(CONTROLLERS)
        if version == 1 and not controllers:
            continue
        for type_, root, top, options in mounts:
            if (type_ == "cgroup2") == (version == 2) and controllers <= options:
                below = _below(path, root)
                if below is not None:
                    found.append(Place(version, controllers, top, top.rstrip("/") + below if below else top))
                    break
    taken = frozenset().union(*(place.controllers for place in found))
    return [p._replace(controllers=frozenset(CONTROLLERS) - taken) if p.version == 2 else p for p in found]


def _plain(field: str) -> str:
    for octal, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(octal, character)
    return field


def _below(path: str, root: str) -> str | None:
    """A group's path as seen from a mount of `root`: "" or "/…"; None: it is out of sight."""
    if ".." in path.split("/") or ".." in root.split("/"):
        return None
    if root != "/":
        if path != root and not path.startswith(root + "/"):
            return None
        path = path[len(root):]
    return path.rstrip("/")


def _given(directory: str, top: str, version: int) -> bool:
    """Whether the subtree was given to this process's user: systemd has marked it so (Delegate=), it belongs to a user that is
    not root, or it is all that a container can see (only the very root group has no cgroup.type)."""
    for mark in ("user.delegate", "trusted.delegate"):
        try:
            if os.getxattr(directory, mark) == b"1":
                return True
        except OSError:
            pass
    try:
        mine = os.geteuid() != 0 and os.stat(directory).st_uid == os.geteuid()
    except OSError:
        return False
    return mine or (version == 2 and directory == top and os.path.exists(f"{directory}/cgroup.type"))


@dataclass
class _Parent:
    """A group in which we make others."""

    version: int
    directory: str
    controllers: tuple[str, ...]


class Group:
    """The groups of one process: one directory, or with version 1 one for each hierarchy."""

    def __init__(self) -> None:
        self.directories: list[str] = []
        self._oom = ""

    def joins(self) -> list[str]:
        """The files into which the process writes "0" to be in them."""
        return [f"{directory}/cgroup.procs" for directory in self.directories]

    def holds(self, pid: int) -> bool:
        """Whether the process is in all of them."""
        return all(str(pid) in _read(path).split() for path in self.joins())

    def oom_kills(self) -> int | None:
        """How many of its processes the kernel's out-of-memory killer has ended; None: this group does not count them."""
        for line in _read(self._oom).splitlines() if self._oom else ():
            name, _, count = line.partition(" ")
            if name == "oom_kill" and count.isdigit():
                return int(count)
        return None

    def make(self, parent: _Parent, name: str, limits: GroupLimits) -> None:
        """One of its directories, with its limits. Raises OSError; `remove` then takes away what there is."""
        directory = f"{parent.directory}/{name}"
        os.mkdir(directory, 0o755)
        self.directories.append(directory)
        for file, value, needed in _settings(parent.version, parent.controllers, limits):
            try:
                _write(f"{directory}/{file}", value)
            except OSError as exc:
                if needed:
                    raise OSError(exc.errno, f"{file}: {exc.strerror}") from None
        if "memory" in parent.controllers:
            self._oom = f"{directory}/{'memory.events' if parent.version == 2 else 'memory.oom_control'}"

    def remove(self) -> bool:
        """True when nothing is left. The kernel refuses as long as a process is in it."""
        self.directories = [directory for directory in self.directories if not _remove(directory)]
        return not self.directories


def _settings(version: int, controllers: Iterable[str], limits: GroupLimits) -> list[tuple[str, str, bool]]:
    """(file, value, whether the limit is none without it). Swap would only delay the end of a group that has no memory left."""
    found: list[tuple[str, str, bool]] = []
    if "memory" in controllers:
        size = str(limits.memory)
        found += ([("memory.max", size, True), ("memory.swap.max", "0", False), ("memory.oom.group", "1", False)] if version == 2
                  else [("memory.limit_in_bytes", size, True), ("memory.memsw.limit_in_bytes", size, False)])
    if "pids" in controllers:
        found.append(("pids.max", str(limits.processes), True))
    if "cpu" in controllers:
        quota = str(max(1000, int((limits.processors or 0.0) * PERIOD)))
        found += ([("cpu.max", f"{quota} {PERIOD}", True)] if version == 2
                  else [("cpu.cfs_period_us", str(PERIOD), True), ("cpu.cfs_quota_us", quota, True)])
    return found


class Groups:
    """Makes the groups of a host's workers and removes them. Never raises. Under its owner's lock."""

    def __init__(self, limits: GroupLimits) -> None:
        self.limits = limits
        self.missing: dict[str, str] = {}
        """Controller that is wanted -> why there is none."""
        self.wanted = wanted(limits)
        self._parents: list[_Parent] = []
        self._leaving: list[Group] = []
        self._made = 0
        self._owner = f"{os.getpid()}-{_started(os.getpid())}"
        if self.wanted:
            self._find()
        level = logging.WARNING if limits.use == "own" else logging.INFO
        for controller, why in self.missing.items():
            logger.log(level, "workers get no %s control group: %s", controller, why)

    @property
    def usable(self) -> list[str]:
        """The controllers that workers get a group of."""
        return [controller for controller in self.wanted if controller not in self.missing]

    def new(self) -> Group | None:
        """For a process that is about to be started; None: there is none to be had."""
        self.tidy()
        if not self._parents:
            return None
        self._made += 1
        group = Group()
        try:
            for parent in self._parents:
                group.make(parent, f"{PREFIX}{self._owner}-{self._made}", self.limits)
        except OSError as exc:
            logger.warning("a worker gets no control group: %s", exc)
            self.release(group)
            return None
        return group

    def release(self, group: Group | None) -> None:
        """Its process has ended, or was never there."""
        if group is not None and not group.remove():
            self._leaving.append(group)

    def tidy(self) -> None:
        """Removes what could not be removed before."""
        if self._leaving:
            self._leaving = [group for group in self._leaving if not group.remove()]

    def close(self) -> None:
        """Nothing is left of those that were released, unless the kernel holds on to it."""
        end = time.monotonic() + PATIENCE
        while self._leaving and time.monotonic() < end:
            time.sleep(0.002)
            self.tidy()

    # ---- where

    def _find(self) -> None:
        known = places(_read("/proc/self/cgroup"), _read("/proc/self/mountinfo"))
        self.missing = dict.fromkeys(self.wanted, "it is not mounted within sight of this process")
        for place in known:
            controllers = [controller for controller in self.wanted if controller in place.controllers]
            for directory, own in (place.directory, True), (os.path.dirname(place.directory), False):
                if not controllers or not (directory + "/").startswith(place.top.rstrip("/") + "/") or (
                        not own and place.version == 1):
                    continue
                if not (_given(directory, place.top, place.version) or (own and self.limits.use == "own")):
                    if own:
                        self.missing.update(dict.fromkeys(controllers, NOT_GIVEN))
                    continue
                controllers = self._settle(place, directory, controllers)

    def _settle(self, place: Place, directory: str, controllers: list[str]) -> list[str]:
        """Uses the group as a parent for as many controllers as it can be; returns the others."""
        _sweep(directory)
        usable: list[str] = []
        for controller in controllers:
            why = _enable(directory, controller) if place.version == 2 else ""
            why = why or self._try(_Parent(place.version, directory, (controller,)))
            if why:
                self.missing[controller] = why
            else:
                usable.append(controller)
                del self.missing[controller]
        if usable:
            self._parents.append(_Parent(place.version, directory, tuple(usable)))
        return [controller for controller in controllers if controller not in usable]

    def _try(self, parent: _Parent) -> str:
        """Makes a group for a moment. Returns "", or why it cannot be."""
        group, why = Group(), ""
        try:
            group.make(parent, f"{PREFIX}{self._owner}-try{os.urandom(4).hex()}", self.limits)
        except OSError as exc:
            why = f"{parent.directory}: {exc.strerror}"
        self.release(group)
        return why


def wanted(limits: GroupLimits) -> list[str]:
    """The controllers that the limits ask for."""
    values = (limits.memory, limits.processes, limits.processors)
    return [name for name, value in zip(CONTROLLERS, values, strict=True) if value is not None and limits.use != "off"]


def _enable(directory: str, controller: str) -> str:
    """Version 2: lets the groups below have the controller. Returns "", or why it cannot be."""
    if controller in _read(f"{directory}/cgroup.subtree_control").split():
        return ""
    if controller not in _read(f"{directory}/cgroup.controllers").split():
        return f"{directory} does not have the controller"
    try:
        _write(f"{directory}/cgroup.subtree_control", f"+{controller}")
    except OSError as exc:
        hint = ": processes are in it, not in a group below" if exc.errno == errno.EBUSY else ""
        return f"{directory}: {exc.strerror}{hint}"
    return ""


def _sweep(directory: str) -> None:
    """Removes the groups of hosts that were killed. One in which a process lives cannot be removed."""
    try:
        names = [name for name in os.listdir(directory) if name.startswith(PREFIX)]
    except OSError:
        return
    for name in names:
        pid, _, rest = name.removeprefix(PREFIX).partition("-")
        if pid.isdigit() and _started(int(pid)) != rest.partition("-")[0]:
            _remove(f"{directory}/{name}")


def _started(pid: int) -> str:
    """When the process was started, in clock ticks since boot (proc_pid_stat(5)); "" for one that is not there."""
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 else ""


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _remove(directory: str) -> bool:
    """True: it is not there any more."""
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
