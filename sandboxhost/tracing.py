"""OpenTelemetry: spans around what an application asks of a plugin, for a host that was given a tracer. Without one none of this
is imported, and no call passes through it."""
from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .calls import CallFuture, Waiter
from .errors import SandboxError, code_of
from .generations import Generation, Recipe, Reloaded
from .plugin import Plugin
from .router import Finish
from .statistics import Usage
from .values import FunctionType

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

    from .host import Host

__all__ = ["TracedPlugin", "load_span"]


@contextmanager
def load_span(tracer: Tracer, recipe: Recipe) -> Iterator[Span]:
    """Around `Host.load`."""
    attributes = {"sandboxhost.tenant": recipe.tenant} | ({"sandboxhost.plugin": recipe.name} if recipe.name else {})
    with tracer.start_as_current_span("sandboxhost.load", attributes=attributes) as span, _outcome(span):
        yield span


@contextmanager
def _outcome(span: Span) -> Iterator[None]:
    """Writes into the span what kind of end it was; the exception itself is recorded by who made the span current."""
    try:
        yield
    except BaseException as exc:
        span.set_attribute("sandboxhost.outcome", code_of(exc) if isinstance(exc, SandboxError) else type(exc).__name__)
        usage = getattr(exc, "usage", None)
        if isinstance(usage, Usage):
            _use(span, usage)
        raise
    span.set_attribute("sandboxhost.outcome", "ok")


def _use(span: Span, usage: Usage) -> None:
    span.set_attribute("sandboxhost.worker.pid", usage.worker)
    span.set_attribute("sandboxhost.worker.time_ns", usage.time_ns)
    if usage.fuel:
        span.set_attribute("sandboxhost.fuel", usage.fuel)


class TracedPlugin(Plugin):
    """A plugin whose calls are spans: sandboxhost.call, .submit, .map, .run, .reload. Host functions that run in the calling
    thread are within the span of their call."""

    def __init__(self, tracer: Tracer, live: Generation, recipe: Recipe, host: Callable[[], Host | None]) -> None:
        super().__init__(live, recipe, host)
        self._tracer = tracer

    def sibling(self, live: Generation) -> Plugin:
        """See Plugin.sibling."""
        return TracedPlugin(self._tracer, live, self.recipe, self._host)

    def _attributes(self, function: str) -> dict[str, str | int]:
        return {"sandboxhost.plugin": self.name, "sandboxhost.tenant": self.recipe.tenant, "sandboxhost.function": function,
                "sandboxhost.generation": self.generation}

    @contextmanager
    def _span(self, kind: str, function: str) -> Iterator[Span]:
        title, attributes = f"sandboxhost.{kind}", self._attributes(function)
        with self._tracer.start_as_current_span(title, attributes=attributes) as span, _outcome(span):
            yield span

    def _perform(self, function: str, arguments: tuple[Any, ...]) -> tuple[FunctionType, Finish]:
        with self._span("call", function) as span:
            type_, item = super()._perform(function, arguments)
            _use(span, item.usage)
            return type_, item

    def submit(self, function: str, *arguments: Any) -> CallFuture:
        """See Plugin.submit. The span ends with the call, and is a child of what was current here."""
        from opentelemetry.trace import Status, StatusCode

        span = self._tracer.start_span("sandboxhost.submit", attributes=self._attributes(function))

        def fail(exc: BaseException) -> None:
            span.record_exception(exc)
            span.set_status(Status(StatusCode.ERROR, f"{type(exc).__name__}: {exc}"))
            span.set_attribute("sandboxhost.outcome", code_of(exc))

        def end(done: Future[Any]) -> None:
            exc = done.exception()
            _use(span, future.usage)
            if exc is None:
                span.set_attribute("sandboxhost.outcome", "ok")
            else:
                fail(exc)
            span.end()

        try:
            future = super().submit(function, *arguments)
        except BaseException as exc:
            fail(exc)
            span.end()
            raise
        Future.add_done_callback(future, end)  # where the future is done, not in a thread of the application's callbacks
        return future

    def map(self, function: str, rows: Iterable[Any], *, return_exceptions: bool = False) -> list[Any]:
        """See Plugin.map: one span for all rows."""
        with self._span("map", function) as span:
            found = super().map(function, rows, return_exceptions=return_exceptions)
            span.set_attribute("sandboxhost.rows", len(found))
            return found

    def _run(self, descriptors: tuple[int, ...], arguments: Sequence[str], stdin: bytes, environment: Mapping[str, str] | None,
             stdio: str) -> tuple[Waiter, Finish]:
        with self._span("run", "_start") as span:
            waiter, item = super()._run(descriptors, arguments, stdin, environment, stdio)
            _use(span, item.usage)
            return waiter, item

    def reload(self, source: str | os.PathLike[str] | bytes, *, allow_changes: bool = False,
               trial: Callable[[Plugin], Any] | None = None) -> Reloaded:
        """See Plugin.reload."""
        with self._span("reload", "") as span:
            done = super().reload(source, allow_changes=allow_changes, trial=trial)
            span.set_attribute("sandboxhost.generation", done.generation)
            return done
