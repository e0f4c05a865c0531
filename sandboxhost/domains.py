"""Trust domains: which plugins may share a process. Pure values."""
from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["DEFAULT", "Directory", "Domain", "domain_of"]


class Directory(NamedTuple):
    """A granted directory by what it is, not by what it is called."""

    device: int
    inode: int
    writable: bool


class Domain(NamedTuple):
    """Workers serve one domain all their life, and only plugins of that domain."""

    tenant: str = ""
    directories: tuple[Directory, ...] = ()
    """What its workers may reach (Landlock), sorted, each once."""
    plugin: int = 0
    """The one plugin that it is for: `isolation="plugin"`, or one that is watched alone; 0: for all that fit."""

    def alone(self, plugin: int) -> Domain:
        """The same reach, for one plugin only."""
        return self._replace(plugin=plugin)

    def __str__(self) -> str:
        words = [f"tenant {self.tenant!r}"] if self.tenant else []
        if self.directories:
            words.append(f"{len(self.directories)} director{'y' if len(self.directories) == 1 else 'ies'}")
        if self.plugin:
            words.append(f"plugin {self.plugin} alone")
        return ", ".join(words) or "default"


DEFAULT = Domain()
"""Plugins without tenant and directories; its workers start with the host and stay."""


def domain_of(tenant: str, directories: Iterable[Directory], plugin: int = 0) -> Domain:
    """The domain of a plugin with these grants; `plugin` when it wants processes of its own."""
    return Domain(tenant, tuple(sorted(set(directories))), plugin)
