"""Where one call's events go: to a caller that waits, to a Future, or to a batch. Host functions are run here."""
from __future__ import annotations

import queue
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol

from .errors import HostFunctionError, ProtocolError, SandboxError
from .host_functions import HostFunction, Threads, current_call
from .logs import TAIL_BYTES, GuestLines, LineBudget, attach, last_lines, logger
from .options import RunOptions
from .router import Finish, InvokeHost, Part
from .statistics import Usage
from .values import FunctionType

__all__ = ["Binding", "CallFuture", "Events", "Waiter"]


class Answering(Protocol):
    """What answers host functions and cancels: the core."""

    def host_result(self, call_id: int, sequence: int, ok: bool, payload: bytes) -> None: ...
    def cancel(self, call_id: int) -> None: ...


@dataclass(frozen=True)
class Binding:
    """What the calls of one plugin have in common."""

    plugin: str
    backend: Answering
    functions: tuple[tuple[HostFunction, FunctionType], ...]
    """The application's functions by the index that HOST_CALL uses, with the type that the module imports."""
    threads: Threads
    tenant: str = ""
    budget: LineBudget = field(default_factory=LineBudget)
    """For lines in the log."""


class Events(ABC):
    """Base of the sinks: collects output, runs host functions, remembers what they raised."""

    def __init__(self, binding: Binding, function: str, keep_output: bool = False, descriptors: tuple[int, ...] = ()) -> None:
        self.binding, self.function, self.descriptors = binding, function, descriptors
        self.output: tuple[list[bytes], list[bytes]] = ([], [])
        """Pieces of stdout and of stderr, when they are kept."""
        self.raised: BaseException | None = None
        self._keep = keep_output
        self._lines: GuestLines | None = None

    def emit(self, stream: int, data: bytes, call_id: int = 0) -> None:
        """The guest wrote something."""
        if self._keep:
            self.output[stream - 1].append(data)
            return
        if self._lines is None:
            self._lines = GuestLines(self.binding.plugin, self.function, self.binding.tenant, call_id, self.binding.budget)
        self._lines.write(stream, data)

    def part(self, item: Part) -> None:
        """Rows of a call of many have their outcome; it comes under the core's lock, before `finish`."""
        raise ProtocolError("rows of a call that has none")

    @abstractmethod
    def invoke(self, item: InvokeHost) -> None:
        """A host function is wanted: `answer` it somewhere."""

    @abstractmethod
    def finish(self, item: Finish) -> None:
        """The outcome: hand it to `ended`."""

    def ended(self, item: Finish) -> SandboxError | None:
        """The error of the outcome, complete with its cause."""
        if self._lines is not None:
            self._lines.close()
        if item.error is not None:
            self.complete_error(item.error)
        return item.error

    def complete_error(self, error: SandboxError) -> None:
        """Gives an error of the call its cause, and the last lines of the guest: of output that is kept those of stderr, or of
        stdout where there is nothing on it."""
        if isinstance(error, HostFunctionError):
            error.__cause__ = error.__cause__ or self.raised
        if self._lines is not None:
            attach(error, self._lines.tail())
        elif self._keep:
            attach(error, next((lines for pieces in reversed(self.output) if (lines := _kept_lines(pieces))), ()))

    def call_host(self, call_id: int, index: int, payload: bytes) -> bytes:
        """Runs a function of the application on behalf of the call; packed results. Raises what it raises (and remembers it)."""
        token = current_call.set((self.binding.backend, call_id))
        try:
            if index >= len(self.binding.functions):
                raise ProtocolError(f"HostCall.function: {index} of {len(self.binding.functions)}")
            function, wanted = self.binding.functions[index]
            return function.run(wanted, payload)
        except BaseException as exc:
            self.raised = exc
            raise
        finally:
            current_call.reset(token)

    def answer(self, item: InvokeHost) -> None:
        """Runs the function and sends its answer. Raises only what is no Exception (KeyboardInterrupt, SystemExit)."""
        ok, payload = True, b""
        try:
            payload = self.call_host(item.call, item.function, item.payload)
        except BaseException as exc:
            ok, payload = False, f"{type(exc).__name__}: {exc}"[:1000].encode("utf-8", "replace")
            if not isinstance(exc, Exception):
                raise
        finally:
            self.binding.backend.host_result(item.call, item.sequence, ok, payload)


def _kept_lines(pieces: list[bytes]) -> tuple[str, ...]:
    found = b""
    for piece in reversed(pieces):
        found = piece[-TAIL_BYTES:] + found
        if len(found) >= TAIL_BYTES:
            break
    return last_lines(found[-TAIL_BYTES:].splitlines())


class Waiter(Events):
    """For a caller that waits: it runs the host functions itself."""

    def __init__(self, binding: Binding, function: str, keep_output: bool = False, descriptors: tuple[int, ...] = ()) -> None:
        super().__init__(binding, function, keep_output, descriptors)
        self._items: queue.SimpleQueue[Finish | InvokeHost] = queue.SimpleQueue()
        self.run: RunOptions | None = None
        """A command whose stdin is too large for its message: its options, whole."""

    def invoke(self, item: InvokeHost) -> None:
        """A host function is wanted."""
        self._items.put(item)

    def finish(self, item: Finish) -> None:
        """The outcome."""
        self._items.put(item)

    def take(self) -> Finish | None:
        """The outcome if it is there; host functions that are wanted by now are run. Raises only what is no Exception."""
        while not self._items.empty():
            item = self._items.get()
            if isinstance(item, Finish):
                return item
            self.answer(item)
        return None

    def wait(self, call_id: int) -> Finish:
        """The outcome, when it has no error. Raises the error; an interrupt (Ctrl-C) cancels the call."""
        try:
            while True:
                item = self._items.get()
                if isinstance(item, Finish):
                    break
                self.answer(item)
        except BaseException:
            self.binding.backend.cancel(call_id)
            raise
        return self.outcome(item)

    def outcome(self, item: Finish) -> Finish:
        """The outcome, when it has no error. Raises the error."""
        error = self.ended(item)
        if error is not None:
            raise error
        return item


class CallFuture(Future[Any]):
    """The future of one call. `cancel` asks for its end: the outcome is then Cancelled, or the result if that came first."""

    def __init__(self) -> None:
        super().__init__()
        self.call_id = 0
        self.backend: Answering | None = None
        self.threads: Threads | None = None
        self.usage = Usage()
        """What the call used; set before the future is done."""

    def add_done_callback(self, fn: Callable[[Future[Any]], object]) -> None:
        """Calls `fn(future)` once the future is done: in a thread of the host, so that it may block and call plugins itself."""
        if self.done() or self.threads is None:
            super().add_done_callback(fn)
            return
        threads = self.threads
        super().add_done_callback(lambda future: threads.submit(lambda: _call_back(fn, future)))

    def cancel(self) -> bool:
        """Asks for the call's end; False when it is done already. The future is done soon after, with its one outcome."""
        if self.done() or self.backend is None:
            return False
        self.backend.cancel(self.call_id)
        return True


def _call_back(fn: Callable[[Future[Any]], object], future: Future[Any]) -> None:
    try:
        fn(future)
    except Exception:
        logger.exception("a callback of %r failed", future)


class FutureEvents(Events):
    """For a Future: host functions run in threads of the host."""

    def __init__(self, binding: Binding, function: str, future: CallFuture, convert: Callable[[Finish], Any]) -> None:
        super().__init__(binding, function)
        self.future, self._convert = future, convert

    def invoke(self, item: InvokeHost) -> None:
        """A host function is wanted."""
        self.binding.threads.submit(lambda: self.answer(item))

    def finish(self, item: Finish) -> None:
        """The outcome."""
        error = self.ended(item)
        self.future.usage = item.usage
        if error is not None:
            self.future.set_exception(error)
            return
        try:
            value = self._convert(item)
        except SandboxError as exc:
            self.future.set_exception(exc)
        else:
            self.future.set_result(value)


class BatchEvents(Events):
    """For one call of a batch: outcomes go into the batch's queue with their position; the waiting thread runs host functions."""

    def __init__(self, binding: Binding, function: str, position: int,
                 items: queue.SimpleQueue[tuple[BatchEvents, Finish | InvokeHost]]) -> None:
        super().__init__(binding, function)
        self.position, self._items = position, items

    def invoke(self, item: InvokeHost) -> None:
        """A host function is wanted."""
        self._items.put((self, item))

    def finish(self, item: Finish) -> None:
        """The outcome."""
        self._items.put((self, item))


class RowsEvents(BatchEvents):
    """For a call of many rows; `position` is that of its first."""

    def __init__(self, binding: Binding, function: str, position: int, rows: int,
                 items: queue.SimpleQueue[tuple[BatchEvents, Finish | InvokeHost]]) -> None:
        super().__init__(binding, function, position, items)
        self.rows = rows
        self.parts: list[Part] = []
        """In the order of the rows; complete but for those that the outcome of the whole is for."""

    def part(self, item: Part) -> None:
        """Some of the rows."""
        if isinstance(item.error, HostFunctionError):
            item.error.__cause__ = self.raised
        self.parts.append(item)

    def ended(self, item: Finish) -> SandboxError | None:
        """The error of the whole. What the guest wrote comes with the end of all rows: it goes with the one row that failed, and
        with none where several did."""
        error = super().ended(item)
        failed = [part.error for part in self.parts if part.error is not None]
        if error is None and len(failed) == 1:
            self.complete_error(failed[0])
        return error
