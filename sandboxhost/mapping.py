"""`Plugin.map`: many calls of one function, in chunks of many rows where the signature allows, in the order of the rows."""
from __future__ import annotations

import queue
import struct
import time
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from .calls import BatchEvents, RowsEvents
from .errors import Cancelled, Overloaded, PayloadTooLarge, SandboxError, SignatureMismatch, UnknownFunction
from .generations import Generation
from .router import CallSpec, Finish
from .values import SLOT_FORMATS, FunctionType, ValueType, pack, unpack

if TYPE_CHECKING:
    from .plugin import Plugin

__all__ = ["Mapping"]

FIRST_ROWS, MOST_ROWS = 16, 1024
"""Rows of the first chunks, and of the largest."""
CHUNK_SECONDS = 0.002
"""What a chunk should take, measured on those before: long against the cost of a message, short against a caller's patience."""
GROWTH = 4
"""A chunk has at most so many times the rows of those before."""
AHEAD = 2
"""Chunks under way for every thread of the workers: one runs, one waits."""


@lru_cache(maxsize=512)
def _block(types: tuple[ValueType, ...], rows: int) -> struct.Struct:
    return struct.Struct("<" + "".join(SLOT_FORMATS[t] for t in types) * rows)


def plain(values: tuple[Any, ...]) -> Any:
    """What `call` returns: None, the one result, or the tuple of results."""
    return values[0] if len(values) == 1 else (values or None)


def pack_rows(types: tuple[ValueType, ...], rows: list[Any], function: str) -> bytes:
    """The arguments of all rows; a row is a tuple, or the one argument. Raises SignatureMismatch."""
    kinds = set(map(type, rows))
    flat: Iterable[Any] | None = None
    if kinds == {tuple} and set(map(len, rows)) == {len(types)}:
        flat = chain.from_iterable(rows)
    elif len(types) == 1 and not any(issubclass(kind, tuple) for kind in kinds):
        flat = rows
    if flat is not None:
        try:
            return _block(types, len(rows)).pack(*flat)
        except (struct.error, OverflowError, TypeError):
            pass  # an unsigned integer, or an error whose words are found below
    return b"".join(pack(types, row if isinstance(row, tuple) else (row,), function) for row in rows)


def unpack_rows(types: tuple[ValueType, ...], rows: int, payload: bytes) -> list[Any]:
    """The results of so many rows, each as `call` returns it."""
    if not types:
        return [None] * rows
    if len(types) == 1:
        return list(_block(types, rows).unpack(payload))
    return list(_block(types, 1).iter_unpack(payload))


class Mapping:
    """One `map` under way. Rows are numbered from 0; results and errors are kept by row."""

    def __init__(self, plugin: Plugin, function: str, rows: Iterable[Any], return_exceptions: bool) -> None:
        self._plugin, self._function, self._collect = plugin, function, return_exceptions
        self._live = plugin.live
        self._type: FunctionType = self._live.signature(function)
        self._source: Iterator[Any] = iter(rows)
        self._items: queue.SimpleQueue[tuple[BatchEvents, Any]] = queue.SimpleQueue()
        self._running: dict[int, tuple[int, int]] = {}
        """First row of a chunk, or the row -> (id of its call, number of rows)."""
        self._results: list[Any] = []
        self._errors: dict[int, SandboxError] = {}
        self._more = True
        self._rows = FIRST_ROWS
        limits = plugin.limits
        self._most = max(1, limits.pending_calls // 2)
        self._in_chunks = (
            plugin.in_chunks and all(t in SLOT_FORMATS for t in (*self._type.params, *self._type.results))
            and 8 * len(self._type.results) <= limits.result_bytes)
        self._patience = CHUNK_SECONDS if limits.deadline is None else min(CHUNK_SECONDS, limits.deadline / 10)

    def run(self) -> list[Any]:
        """See Plugin.map."""
        try:
            while self._more or self._running:
                self._feed()
                if self._running:
                    self._take()
        except BaseException:
            self._cancel(-1)
            while self._running:  # each has an outcome soon; none is under way when this returns
                self._forget(*self._items.get())
            raise
        if self._errors and not self._collect:
            raise self._errors[min(self._errors)]
        for row, error in self._errors.items():
            self._results[row] = error
        return self._results

    # ---- calls

    def _feed(self) -> None:
        """Submits calls as long as there is room and something to submit."""
        ahead = AHEAD * (1 if self._plugin.persistent else self._plugin.width()) if self._in_chunks else self._most
        while self._more and len(self._running) < ahead:
            room = self._most - sum(rows for _, rows in self._running.values())
            wanted = min(self._rows if self._in_chunks else self._most, room)
            if wanted < 1:
                return
            chunk = list(islice(self._source, wanted))
            self._more = len(chunk) == wanted
            if chunk:
                self._submit(chunk)

    def _submit(self, chunk: list[Any]) -> None:
        """Accepted as a whole, by the generation of now; one that was replaced meanwhile has accepted nothing."""
        while True:
            live = self._plugin.live
            if live is not self._live and live.signature(self._function) != self._type:
                raise SignatureMismatch(f"{self._function}: the plugin was reloaded, and what was {self._type} is now "
                                        f"{live.signature(self._function)}", plugin=live.name, function=self._function)
            self._live = live
            try:
                return self._submit_to(live, chunk)
            except UnknownFunction:
                if self._plugin.live is live:
                    raise

    def _submit_to(self, live: Generation, chunk: list[Any]) -> None:
        first = len(self._results)
        params = self._type.params
        events: list[BatchEvents]
        if self._in_chunks:
            if 8 * len(params) > live.limits.argument_bytes:
                allowed = live.limits.argument_bytes
                text = f"the arguments have {8 * len(params)} bytes, {allowed} are allowed"
                raise PayloadTooLarge(text, limit="argument_bytes", allowed=allowed, plugin=live.name, function=self._function)
            payload = pack_rows(params, chunk, self._function)
            specs = [live.rows_spec(self._function, payload, len(chunk), 8 * len(self._type.results), not self._collect)]
            events = [RowsEvents(live.binding, self._function, first, len(chunk), self._items)]
            rows = len(chunk)
        else:
            specs = [live.spec(self._function, pack(params, row if isinstance(row, tuple) else (row,), self._function),
                               batch=True) for row in chunk]
            events = [BatchEvents(live.binding, self._function, first + i, self._items) for i in range(len(chunk))]
            rows = 1
        ids = self._start(specs, events)
        self._results.extend([None] * len(chunk))
        self._running.update((event.position, (call_id, rows)) for event, call_id in zip(events, ids, strict=True))

    def _start(self, specs: list[CallSpec], events: list[BatchEvents]) -> list[int]:
        """Waits for room as long as calls of the same `map` occupy it."""
        while True:
            try:
                return self._plugin.backend.submit(specs, events)
            except Overloaded as exc:
                if not self._running:
                    raise
                time.sleep(exc.retry_after)

    def _cancel(self, after: int) -> None:
        """Ends the calls whose rows lie behind a row; nothing more is submitted."""
        self._more = False
        for first, (call_id, _) in self._running.items():
            if first > after:
                self._plugin.backend.cancel(call_id)

    # ---- outcomes

    def _take(self) -> None:
        """One event: a host function that is wanted, or the outcome of a call."""
        events, item = self._items.get()
        if not isinstance(item, Finish):
            events.answer(item)
            return
        if isinstance(events, RowsEvents):
            self._take_rows(events, item)
        else:
            error = events.ended(item)
            if error is None:
                self._results[events.position] = plain(unpack(self._type.results, item.payload, self._function))
            else:
                self._errors[events.position] = error
        del self._running[events.position]
        if self._errors and not self._collect:
            self._cancel(min(self._errors))

    def _take_rows(self, events: RowsEvents, item: Finish) -> None:
        row = events.position
        for part in events.parts:
            if part.error is not None:
                self._errors[row] = part.error
            else:
                self._results[row:row + part.rows] = unpack_rows(self._type.results, part.rows, part.payload)
            row += part.rows
        error = events.ended(item)
        left = events.position + events.rows - row
        if left:
            rest = error or Cancelled("a row before it failed", plugin=self._plugin.name, function=self._function)
            for missing in range(row, row + (left if self._collect else 1)):
                self._errors.setdefault(missing, rest)
        else:
            self._adapt(events.rows, item.usage.time_ns / 1e9)

    def _adapt(self, rows: int, seconds: float) -> None:
        """The size of chunks to come, from the time that one took."""
        fitting = int(self._patience * rows / max(seconds, 1e-9))
        size = max(1, min(fitting, rows * GROWTH, MOST_ROWS))
        self._rows = 1 << (size.bit_length() - 1)  # few sizes: a block's format is made once

    def _forget(self, events: BatchEvents, item: Any) -> None:
        if isinstance(item, Finish):
            self._running.pop(events.position, None)
