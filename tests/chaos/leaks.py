"""The leak oracle: what this process owns that a host might leave behind, by kind, and what of it is new."""

from __future__ import annotations

import gc
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil

from sandboxhost import cgroups

LISTING = "the listing itself"
WORK = "sandboxhost-"
"""How the names of our temporary directories begin."""


def belongings() -> dict[str, Any]:
    """What this process owns now."""
    gc.collect()
    shared = Path("/dev/shm")
    return {
        "descriptors": {fd: kind for fd in os.listdir("/proc/self/fd") if (kind := _target(fd)) != LISTING},
        "mappings": _mappings(),
        "children": {child.pid for child in psutil.Process().children(recursive=True)},
        "shared memory": {name for name in os.listdir(shared) if name.startswith("sbx-")} if shared.is_dir() else set(),
        "directories": {entry for entry in os.listdir(tempfile.gettempdir()) if entry.startswith(WORK)},
        "control groups": control_groups(),
        "threads": {thread.name for thread in threading.enumerate()},
    }


def control_groups(pid: int | None = None) -> set[str]:
    """The groups that hosts in the process (this one) have made, wherever they may have made some."""
    known = cgroups.places(*(Path(f"/proc/self/{name}").read_text(encoding="utf-8") for name in ("cgroup", "mountinfo")))
    parents = {parent for place in known for parent in (place.directory, os.path.dirname(place.directory))}
    mine = f"{cgroups.PREFIX}{pid or os.getpid()}-"
    entries = ((parent, name) for parent in parents if os.path.isdir(parent) for name in os.listdir(parent))
    return {f"{parent}/{name}" for parent, name in entries if name.startswith(mine)}


def _target(fd: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}").split(":")[0]
    except FileNotFoundError:
        return LISTING


def _mappings() -> set[str]:
    """Shared memory of ours that is mapped here: where, and which."""
    lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    return {line.split()[0] + " " + line.split()[5] for line in lines if "memfd:sandboxhost" in line}


def left_behind(before: dict[str, Any], patience: float = 3.0) -> dict[str, Any]:
    """What is there now and was not then; waits a moment for threads to end."""
    end = time.monotonic() + patience
    while True:
        after = belongings()
        left = {
            "descriptors": {
                fd: kind for fd, kind in after["descriptors"].items() if fd not in before["descriptors"]
            },
            **{key: after[key] - before[key] for key in before if key != "descriptors"},
        }
        left = {key: value for key, value in left.items() if value}
        if not left or time.monotonic() > end:
            return left
        time.sleep(0.01)
