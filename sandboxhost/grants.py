"""Grants: what a plugin may reach outside its own memory. Nothing is granted unless it is named here."""
from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .errors import ManifestError

__all__ = ["DirectoryGrant", "Grants"]


MAX_DIRECTORIES = 200
"""Their descriptors travel to a worker in one message, which the kernel bounds."""


class DirectoryGrant(NamedTuple):
    """One directory of the host that the guest sees."""

    guest: str
    """Path under which the guest sees it."""
    host: str
    """Absolute path in the application's file system; opened by the host when the plugin is loaded."""
    writable: bool


def _strings(values: object, name: str) -> tuple[str, ...]:
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise ManifestError(f"grants.{name}: expected a list of texts, got {values!r}", key=name)
    items = tuple(values)
    for item in items:
        if not isinstance(item, str):
            raise ManifestError(f"grants.{name}: expected text, got {item!r}", key=name)
        if "\0" in item:
            raise ManifestError(f"grants.{name}: {item!r} contains a NUL character", key=name)
    return items


@dataclass(frozen=True)
class Grants:
    """What a plugin may reach. The default grants nothing.

    Raises ManifestError for a value that cannot be granted, naming the field.
    """

    directories: Mapping[str, Any] = field(default_factory=dict)
    """{guest path: host path, or (host path, "ro" | "rw")}. A bare host path is read-only. WASI paths are resolved beneath it."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Environment variables that the guest sees."""
    arguments: tuple[str, ...] = ()
    """Command-line arguments after the program's name, for a command that is run without its own."""
    clock: float | None = None
    """Resolution in seconds to which the guest sees the real clocks (1e-9: full). None: a clock that starts at 0 and moves by a
    fixed step at each look, the same in every run."""
    random_seed: int | None = None
    """Seed of the guest's random numbers, for runs that repeat. None: unpredictable ones."""
    functions: tuple[tuple[str, str], ...] | None = None
    """The application's functions that the plugin may import, as (module, name). None: every function registered with the host
    under `@host.function` (registering is granting); (): none."""

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        directories = map(_directory, *_items(self.directories))
        set_(self, "directories", {d.guest: (d.host, "rw" if d.writable else "ro") for d in directories})
        if len(self.directories) > MAX_DIRECTORIES:
            raise ManifestError(f"grants.directories: more than {MAX_DIRECTORIES}", key="directories")
        _mapping(self.environment, "environment")
        _strings(self.environment.values(), "environment")
        for name in _strings(self.environment, "environment"):
            if not name or "=" in name:
                raise ManifestError(f"grants.environment: {name!r} is no variable's name", key="environment")
        set_(self, "environment", dict(self.environment))
        set_(self, "arguments", _strings(self.arguments, "arguments"))
        if self.clock is not None and (type(self.clock) not in (int, float) or not 0 < self.clock < 1e9):
            raise ManifestError(f"grants.clock: expected a resolution in seconds or None, got {self.clock!r}", key="clock")
        if self.random_seed is not None and (type(self.random_seed) is not int or not 0 <= self.random_seed < 2**64):
            raise ManifestError(f"grants.random_seed: expected 0 to 2^64-1 or None, got {self.random_seed!r}", key="random_seed")
        if self.functions is not None:
            set_(self, "functions", tuple(_function(item) for item in self.functions))

    def directory_list(self) -> list[DirectoryGrant]:
        """The directories in the order of the guest's descriptors 3, 4, …"""
        return [DirectoryGrant(guest, host, mode == "rw") for guest, (host, mode) in self.directories.items()]

    @property
    def variables(self) -> tuple[str, ...]:
        """`environment` as NAME=value."""
        return tuple(f"{name}={value}" for name, value in self.environment.items())

    @property
    def clock_ns(self) -> int | None:
        """`clock` in nanoseconds, at least 1."""
        return None if self.clock is None else max(1, round(self.clock * 1e9))

    def narrowed_to(self, directories: Mapping[str, str] | None = None, environment: Iterable[str] | None = None,
                    functions: Iterable[tuple[str, str]] | None = None) -> Grants:
        """These grants without what the manifest does not wish for; None leaves a kind as it is. Never grants anything more:
        a wish of "ro" makes a writable directory read-only, a wish of "rw" changes nothing."""
        kept = dict(self.directories)
        if directories is not None:
            kept = {guest: (host, "ro" if directories[guest] == "ro" else mode)
                    for guest, (host, mode) in kept.items() if guest in directories}
        variables = dict(self.environment)
        if environment is not None:
            wanted = set(environment)
            variables = {name: value for name, value in variables.items() if name in wanted}
        allowed = self.functions
        if functions is not None:
            wished = tuple(functions)
            allowed = wished if allowed is None else tuple(f for f in allowed if f in wished)
        return Grants(kept, variables, self.arguments, self.clock, self.random_seed, allowed)


def _mapping(value: object, name: str) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        raise ManifestError(f"grants.{name}: expected a mapping, got {value!r}", key=name)
    return value


def _items(directories: object) -> tuple[list[Any], list[Any]]:
    mapping = _mapping(directories, "directories")
    return list(mapping.keys()), list(mapping.values())


def _directory(guest: object, value: object) -> DirectoryGrant:
    if not isinstance(guest, str) or not guest or "\0" in guest:
        raise ManifestError(f"grants.directories: {guest!r} is no guest path", key="directories")
    host, mode = value if isinstance(value, (tuple, list)) and len(value) == 2 else (value, "ro")
    if not isinstance(host, (str, os.PathLike)) or mode not in ("ro", "rw"):
        raise ManifestError(
            f"grants.directories: {guest!r}: expected a path or (path, 'ro' or 'rw'), got {value!r}", key="directories")
    return DirectoryGrant(guest, os.path.abspath(os.fspath(host)), mode == "rw")


def _function(item: object) -> tuple[str, str]:
    if not isinstance(item, (tuple, list)) or len(item) != 2 or not all(isinstance(part, str) for part in item):
        raise ManifestError(f"grants.functions: expected (module, name), got {item!r}", key="functions")
    return item[0], item[1]
