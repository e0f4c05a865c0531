"""Supervision: how a host watches, replaces and renews its workers. One frozen value with every default."""
from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from .errors import ManifestError
from .limits import parse_size

__all__ = ["Supervision"]


@dataclass(frozen=True, kw_only=True)
class Supervision:
    """How workers are supervised. Seconds are floats, sizes bytes or text such as "512MiB"; None switches a rule off.

    Raises ManifestError for a value of the wrong type or range, naming the field.
    """

    spares: int = 1
    """Processes that are started ahead, with everything imported but nothing granted and no socket opened: one becomes a worker
    of whichever domain needs one. Each costs the memory of an idle worker (some 12 MiB of its own) and no processor time."""
    quarantine_losses: int | None = 3
    """So many workers lost with a plugin's call in flight, within `quarantine_seconds`, and it is quarantined (`Quarantined`)."""
    quarantine_seconds: float = 60.0
    """That time; also how long a plugin runs in workers of its own after a loss that it shared with others."""
    restarts: int = 20
    """Losses of one domain within `restart_seconds` that are replaced at once; those beyond wait, each longer than the one
    before: `backoff` seconds, doubled each time up to `max_backoff`, times 0.5 to 1 by chance."""
    restart_seconds: float = 10.0
    backoff: float = 0.05
    max_backoff: float = 2.0
    boot_seconds: float = 30.0
    """A worker that is not READY by then is killed."""
    boot_attempts: int = 3
    """So many workers of a domain in a row that ended by themselves before READY, and no further one is started."""
    watch_seconds: float | None = 0.5
    """Workers with calls are looked at so often, idle ones every second: memory, and whether they are stopped (SIGSTOP), which
    gets them killed. None: never looked at, and then neither `resident` nor `recycle_growth` holds."""
    resident: int | str | None = "4GiB"
    """Resident memory of a worker without what it shares (RSS - shared): it is killed beyond it (`Loss.MEMORY`)."""
    recycle_seconds: float | None = None
    """A worker of that age is renewed: replaced first, then it ends its calls, then itself. One that holds the instance of a
    persistent plugin is left alone; so for all three rules."""
    recycle_calls: int | None = None
    """The same after so many calls."""
    recycle_growth: int | str | None = None
    """The same when it has so many bytes more resident (as above) than when it was first looked at."""

    def __post_init__(self) -> None:
        for name, least in (("spares", 0), ("restarts", 0), ("boot_attempts", 1)):
            self._check(name, (int,), least, 10_000)
        for name in ("quarantine_losses", "recycle_calls"):
            if getattr(self, name) is not None:
                self._check(name, (int,), 1, 2**63)
        for name in ("quarantine_seconds", "restart_seconds", "backoff", "max_backoff", "boot_seconds"):
            self._check(name, (int, float), 0, 1e9)
        for name in ("watch_seconds", "recycle_seconds"):
            if getattr(self, name) is not None:
                self._check(name, (int, float), 0.01, 1e9)
        for name in ("resident", "recycle_growth"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, parse_size(getattr(self, name), name))

    def _check(self, name: str, kinds: tuple[type, ...], least: float, most: float) -> None:
        value = getattr(self, name)
        if type(value) not in kinds or not least <= value <= most:
            raise ManifestError(f"{name}: expected {least:g} to {most:g}, got {value!r}", key=name)

    def replace(self, **changes: Any) -> Supervision:
        """A copy with other values."""
        return dataclasses.replace(self, **changes)
