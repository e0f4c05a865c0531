"""The load: clients that call in every way there is, and write each call and each outcome into the ledger."""

from __future__ import annotations

import itertools
import queue
import random
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from sandboxhost import (
    Cancelled,
    DeadlineExceeded,
    Grants,
    HostClosed,
    HostFunctionError,
    LimitExceeded,
    MemoryLimit,
    Overloaded,
    Plugin,
    ProtocolError,
    SandboxError,
    Trap,
    UnknownFunction,
    WorkerError,
    WorkerLost,
)

from . import guests
from .ledger import FACTOR, Ledger
from .world import Gate, World

PATIENCE = 30.0
"""Seconds after which a call is said to have no outcome; its deadline is a small part of that."""
ANY: tuple[type[SandboxError], ...] = (WorkerLost, DeadlineExceeded, HostClosed, Overloaded, ProtocolError, MemoryLimit)
"""How any call may end while faults are injected. ProtocolError: the worker answered what the function cannot return;
MemoryLimit: a neighbour has all that its process may use."""
REFUSED = (Overloaded, UnknownFunction)
"""Outcomes that say that nothing was started."""
_loads = itertools.count(1)


class Client(threading.Thread):
    """One thread of the application."""

    def __init__(self, number: int, seed: int, gate: Gate, ledger: Ledger, errands: queue.SimpleQueue[tuple[str, int]]) -> None:
        super().__init__(name=f"chaos-client-{number}", daemon=True)
        self._random = random.Random(f"{seed} client {number}")
        self._gate, self._ledger, self._errands = gate, ledger, errands

    def run(self) -> None:
        """Until the gate ends."""
        while (world := self._gate.enter()) is not None:
            try:
                self._act(world)
            except BaseException:
                self._ledger.problem(f"a client met what it did not expect:\n{traceback.format_exc()}")
            finally:
                self._gate.leave()

    def _act(self, world: World) -> None:
        try:
            errand, how = self._errands.get_nowait()
        except queue.Empty:
            (errand,), how = self._random.choices(_ACTIONS, _WEIGHTS), self._random.getrandbits(16)
        getattr(self, f"_{errand}")(world, how)

    # ---- one call, in one of two ways

    def _one(self, plugin: Plugin, function: str, *arguments: Any, expected: Callable[[int], Any] | None,
             errors: tuple[type[SandboxError], ...] = (), recorded: bool = True) -> Any:
        """Issues a call, waits for it here or by a future, notes the outcome. expected: None, if it cannot return."""
        number = self._ledger.issue(f"{plugin.name}.{function}", plugin.name == "patient", recorded)
        try:
            if self._random.random() < 0.5:
                value = plugin.call(function, number, *arguments)
            else:
                future = plugin.submit(function, number, *arguments)
                self._ledger.future(number, future)
                value = future.result(PATIENCE)
        except SandboxError as exc:
            self._failed(number, exc, errors)
            return None
        except TimeoutError:
            return None  # of the future: no outcome, which settling finds
        self._ledger.result(number, value, expected(number) if expected else "no result at all")
        return value

    def _failed(self, number: int, error: BaseException, errors: tuple[type[BaseException], ...] = ()) -> None:
        if not isinstance(error, (*ANY, *errors)):
            self._ledger.problem(f"call {number} ended with {type(error).__name__}: {error}")
        self._ledger.error(number, error, False if isinstance(error, REFUSED) else None)
        if isinstance(error, HostClosed):
            time.sleep(0.002)  # until the gate is shut

    # ---- actions

    def _plain(self, world: World, how: int) -> None:
        for _ in range(10):
            self._one(world.patient if how & 1 else world.bee, "plain", expected=_answer, recorded=False)

    def _record(self, world: World, how: int) -> None:
        for _ in range(5):
            self._one(world.patient if how & 1 else world.bee, "record", expected=_answer)

    def _work(self, world: World, how: int) -> None:
        self._one(world.patient if how & 1 else world.bee, "work", 1 + how * 100, expected=_answer)

    def _bump(self, world: World, how: int) -> None:
        for _ in range(3):
            number = self._ledger.issue("kept.bump")
            try:
                pair = world.kept.call("bump", number)
            except SandboxError as exc:
                self._failed(number, exc)
                continue
            self._ledger.result(number, pair, self._ledger.pair(world, pair))

    def _fail(self, world: World, how: int) -> None:
        self._one(world.bee, "fail", expected=None, errors=(Trap,))

    def _nested(self, world: World, how: int) -> None:
        self._one(world.bee, "nested", expected=_answer, errors=(HostFunctionError,))

    def _spin(self, world: World, how: int) -> None:
        self._one(world.runaway, "bulk" if how & 1 else "spin", expected=None)

    def _slow(self, world: World, how: int) -> None:
        self._one(world.runaway, "pause", how % 400, expected=_answer)

    def _hog(self, world: World, how: int) -> None:
        self._one(world.hog, "hog", expected=_answer, errors=(LimitExceeded, Trap))

    def _betray(self, world: World, how: int) -> None:
        self._one(world.bee, "betray", how, expected=lambda _: (guests.MAGIC, how))

    def _many(self, world: World, how: int) -> None:
        """Futures, some of which are cancelled."""
        plugin = world.patient if how & 1 else world.bee
        numbers = [self._ledger.issue("submit", how & 1 == 1) for _ in range(12)]
        futures = []
        for number in numbers:
            try:
                future = plugin.submit("work", number, 10_000)
            except SandboxError as exc:
                self._failed(number, exc)
                continue
            self._ledger.future(number, future)
            futures.append((number, future))
        for _, future in futures[:: 1 + how % 5]:
            future.cancel()
        for number, future in futures:
            try:
                self._ledger.result(number, future.result(PATIENCE), number * FACTOR)
            except SandboxError as exc:
                self._failed(number, exc, (Cancelled,))
            except TimeoutError:
                pass  # no outcome, which settling finds

    def _map(self, world: World, how: int) -> None:
        """Rows; in half of the cases the first that fails ends it."""
        plugin = world.patient if how & 1 else world.bee
        numbers = [self._ledger.issue("map", how & 1 == 1) for _ in range(50)]
        try:
            outcomes: Sequence[Any] = plugin.map("record", [(number,) for number in numbers], return_exceptions=how & 2 == 2)
        except SandboxError as exc:
            outcomes = [exc] * len(numbers)
        if len(outcomes) != len(numbers):
            self._ledger.problem(f"map gave {len(outcomes)} outcomes for {len(numbers)} rows")
        for number, outcome in zip(numbers, outcomes, strict=False):
            if isinstance(outcome, BaseException):
                self._failed(number, outcome)
            else:
                self._ledger.result(number, outcome, number * FACTOR)

    def _run(self, world: World, how: int) -> None:
        """A command: what goes in comes out, by message or by shared memory."""
        number = self._ledger.issue("command", recorded=False)
        text = number.to_bytes(8, "little") * (10 if how & 1 else 40_000)
        try:
            done = world.command.run(stdin=text)
        except SandboxError as exc:
            self._failed(number, exc)
        else:
            self._ledger.result(number, (done.exit_code, done.stdout == text), (0, True))

    def _note(self, world: World, how: int) -> None:
        """A file in the granted directory; it must not be there yet."""
        self._one(world.scribe, "note", expected=lambda _: 0)

    def _load(self, world: World, how: int) -> None:
        """A module that no cache has seen: loaded, called, unloaded while calls may be pending."""
        number = self._ledger.issue("load", recorded=False)
        grants = Grants(directories={"/": world.folder}) if how & 4 else None
        data = guests.unique(next(_loads)) if how & 1 else guests.bee()
        try:
            plugin = world.host.load(data, name="passing", limits=world.limits, grants=grants)
        except (SandboxError, OSError) as exc:
            self._failed(number, exc, (WorkerError, LimitExceeded, OSError))
            return
        self._ledger.result(number, plugin.name, "passing")
        futures = []
        for _ in range(4):
            mine = self._ledger.issue("passing.record")
            try:
                future = plugin.submit("record", mine)
            except SandboxError as exc:
                self._failed(mine, exc)
                continue
            self._ledger.future(mine, future)
            futures.append((mine, future))
        plugin.unload()
        if how & 1:
            world.host.delete_compiled_module(data)
        for mine, future in futures:
            try:
                self._ledger.result(mine, future.result(PATIENCE), mine * FACTOR)
            except SandboxError as exc:
                self._failed(mine, exc, (Cancelled, UnknownFunction))
            except TimeoutError:
                pass  # no outcome, which settling finds


def _answer(number: int) -> int:
    return number * FACTOR


_SHARES = {
    "plain": 6, "record": 6, "work": 6, "bump": 4, "fail": 2, "nested": 3, "many": 3, "map": 4, "run": 3, "note": 3, "spin": 1,
    "load": 1,
}  # fmt: skip
_ACTIONS, _WEIGHTS = tuple(_SHARES), tuple(_SHARES.values())
