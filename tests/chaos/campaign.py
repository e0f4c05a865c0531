"""A campaign: rounds of faults under load, each on a host of its own; after each, nothing is left and every call is settled."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import queue
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sandboxhost import process

from . import guests, traitor
from .faults import Fault, Scene, inject
from .leaks import belongings, left_behind
from .ledger import Ledger
from .load import PATIENCE, Client
from .world import Gate, World

CLIENTS = 5
RECOVERY = 60.0
"""Seconds within which a host must serve calls again after the last fault."""

class Campaign:
    """Runs a schedule. `problems`: whatever must not be."""

    def __init__(self, seed: int) -> None:
        self.ledger, self.gate = Ledger(), Gate()
        self.problems: list[str] = []
        self.injected: Counter[str] = Counter()
        self.rounds = self.workers_lost = self.leaks = 0
        self.slowest_close = 0.0
        self._scene: Scene | None = None
        self._folder = Path()
        self._before: dict[str, Any] = {}
        self._errands: queue.SimpleQueue[tuple[str, int]] = queue.SimpleQueue()
        self._clients = [Client(n, seed, self.gate, self.ledger, self._errands) for n in range(CLIENTS)]

    def run(self, faults: Iterator[Fault], step: Callable[[Fault], bool] = lambda _: True) -> None:
        """Injects the faults; ends early when `step` says so or something is wrong."""
        with self._watched(), tempfile.TemporaryDirectory(prefix="chaos-") as place:
            tempfile.tempdir = place  # where nobody else's files are
            for client in self._clients:
                client.start()
            World(self.ledger, Path()).host.close()  # what is imported or opened once in a process is no leak
            self._before = belongings()
            try:
                for fault in faults:
                    self._one(fault)
                    if self.problems or not step(fault):
                        break
            finally:
                if self._scene is not None:
                    self._end_round(True)
                self.gate.end()
                for client in self._clients:
                    client.join(PATIENCE)

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        """Workers are possible traitors; what a thread or a finalizer does not catch is a problem."""
        command, hook, unraisable = process._command, threading.excepthook, sys.unraisablehook
        changed = (traitor.__file__, *command()[1:])
        process._command = lambda: changed  # type: ignore[assignment]
        threading.excepthook = lambda args: self._uncaught(f"thread {args.thread}", args.exc_value)
        sys.unraisablehook = lambda args: self._uncaught(f"{args.err_msg} {args.object!r}", args.exc_value)
        try:
            yield
        finally:
            tempfile.tempdir = None
            process._command, threading.excepthook, sys.unraisablehook = command, hook, unraisable

    def _uncaught(self, where: str, error: BaseException | None) -> None:
        text = "".join(traceback.format_exception(error)) if error is not None else "nothing"
        self.ledger.problem(f"nobody caught, in {where}:\n{text}")

    def _one(self, fault: Fault) -> None:
        scene = self._scene or self._begin_round()
        self._wait(fault.delay, scene)
        self.injected[fault.name] += 1
        if fault.name == "host restart":
            self._end_round(bool(fault.how & 1))
        else:
            inject(fault, scene)
        if self.ledger.problems:
            self.problems += self.ledger.problems

    def _wait(self, seconds: float, scene: Scene) -> None:
        """The time until the next fault; stopped processes whose time has come go on."""
        end = time.monotonic() + seconds
        while True:
            now = time.monotonic()
            for item in [item for item in scene.stopped if item[0] <= now]:
                scene.stopped.remove(item)
                with contextlib.suppress(ProcessLookupError):
                    if item[1] in scene.world.pids("ready", "draining", "starting"):
                        os.kill(item[1], signal.SIGCONT)
            if now >= end:
                return
            time.sleep(min(0.02, end - now))

    # ---- rounds

    def _begin_round(self) -> Scene:
        self.rounds += 1
        self._folder = Path(tempfile.mkdtemp(prefix="chaos-"))
        world = World(self.ledger, self._folder)
        self._scene = Scene(world, self._errands, [])
        self.gate.open(world)
        return self._scene

    def _end_round(self, quiet: bool) -> None:
        """quiet: the clients end first, the host must recover and its tables be empty; else it is closed under load."""
        scene, self._scene = self._scene, None
        assert scene is not None
        world = scene.world
        if quiet:
            self._leave()
            problem = world.recovers(RECOVERY)
            if problem:
                self.problems.append(problem)
            if kept := self._kept(world):
                self.problems.append(f"the host keeps of calls that have ended: {kept}")
        began = time.monotonic()
        self.workers_lost += world.host.statistics().workers_lost
        world.host.close()
        self.slowest_close = max(self.slowest_close, time.monotonic() - began)
        self._leave()
        left = left_behind(self._before, 10.0)
        if left:
            self.leaks += 1
            self.problems.append(f"left behind after round {self.rounds}: {left}")
        for name in self._folder.iterdir():
            self.ledger.ran(guests.number_of(name.name))
        shutil.rmtree(self._folder)
        self.problems += self.ledger.settle()

    def _kept(self, world: World) -> dict[str, Any]:
        """What the tables hold, after a moment in which late answers may come in."""
        end = time.monotonic() + 3.0
        while (kept := world.tables()) and time.monotonic() < end:
            time.sleep(0.01)
        return kept

    def _leave(self) -> None:
        """No client is in the world any more; one that stays has a call without outcome."""
        self.gate.shut()
        if not self.gate.wait_empty(PATIENCE + 5.0):
            with tempfile.TemporaryFile("w+") as file:
                faulthandler.dump_traceback(file)
                file.seek(0)
                self.problems.append(f"a client does not come back:\n{file.read()}")
