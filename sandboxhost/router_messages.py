"""What the router says: a call as the message that starts it, and the errors that it ends calls with itself."""
from __future__ import annotations

from typing import NamedTuple

from . import wire
from .errors import DeadlineExceeded, SandboxError
from .limits import Limits
from .router_state import CallSpec, CallState, Plugin
from .statistics import Usage

__all__ = ["Timed", "deadline_error", "most_outputs", "one_message", "place"]

_OUTPUT_BYTES = 4096
"""Bytes of a message of OUTPUT, on the average of a call with much of it, at least."""


class Timed(NamedTuple):
    """A call whose remaining time is filled in when it is sent."""

    call: CallState
    fuel: wire.Signed

    def message(self, now: float) -> wire.Call | wire.Run | wire.CallRows:
        """CALL, RUN or CALL_ROWS; of the last only the rows that have had no outcome."""
        spec, base = self.call.spec, self.call.base
        if spec.kind != "rows":
            return one_message(self.call, self.fuel, now)
        payload = spec.payload[base * (len(spec.payload) // spec.rows):] if base else spec.payload
        return wire.CallRows(self.call.id, spec.plugin, spec.function, spec.rows - base, spec.stop, self.fuel, _left(spec, now),
                             payload)


def one_message(call: CallState, fuel: wire.Signed, now: float) -> wire.Call | wire.Run:
    """CALL or RUN, sent now."""
    spec = call.spec
    if spec.kind == "run":
        return wire.Run(call.id, spec.plugin, spec.parent, fuel, _left(spec, now), spec.payload)
    return wire.Call(call.id, spec.plugin, spec.parent, spec.function, fuel, _left(spec, now), spec.payload)


def _left(spec: CallSpec, now: float) -> wire.Signed:
    return wire.Signed(wire.UNLIMITED if spec.deadline is None else max(0, int((spec.deadline - now) * 1e9)))


def most_outputs(limits: Limits, rows: int) -> int:
    """Messages of OUTPUT that a call of so many rows may have."""
    return rows * (16 + limits.output_bytes // _OUTPUT_BYTES)


def deadline_error(plugin: Plugin, when: str) -> DeadlineExceeded:
    """What a call ends with that reached its deadline `when`."""
    allowed = plugin.limits.deadline or 0.0
    return DeadlineExceeded(f"the call reached its deadline {when}", limit="deadline", allowed=allowed)


def place(error: SandboxError, plugin: str, function: str, usage: Usage) -> None:
    """Writes where it happened into an error that has room for it."""
    for name, value in (("plugin", plugin), ("function", function), ("usage", usage)):
        if name in error.fields:
            setattr(error, name, value)
