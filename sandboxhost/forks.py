"""Forks of the application: the child's copy of a host says so, and touches nothing that is the parent's."""
from __future__ import annotations

import os
import weakref
from types import TracebackType
from typing import Any, NoReturn, Protocol

from .errors import HostForked

__all__ = ["Refusing", "RefusingEngine", "watch"]


class Forked(Protocol):
    """What wants to know."""

    def forked(self) -> None:
        """In the child, right after the fork: other threads are gone, and what they held locked stays so."""


_watched: weakref.WeakSet[Forked] = weakref.WeakSet()


def watch(owner: Forked) -> None:
    """From now on `owner.forked` is called in every child that Python forks (os.fork, multiprocessing, prefork servers)."""
    _watched.add(owner)


def refuse() -> NoReturn:
    """Raises HostForked."""
    raise HostForked("this host belongs to the process that made it, of which this one is a fork: make a Host in each process")


class Refusing:
    """Stands in for a lock in the child: whoever would have taken it gets HostForked."""

    def __enter__(self) -> None:
        refuse()

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None) -> None:
        """Nothing was taken."""


class RefusingEngine:
    """The same for an engine."""

    def __getattr__(self, name: str) -> Any:
        refuse()


def _in_child() -> None:
    for owner in list(_watched):
        owner.forked()


os.register_at_fork(after_in_child=_in_child)
