"""The router's ear: what workers say, checked against what they were asked, and what becomes of it. Part of router.Router."""
from __future__ import annotations

from typing import Any

from . import wire
from .errors import LimitExceeded, Loss, PayloadTooLarge, ProtocolError, SandboxError
from .router_messages import most_outputs, place
from .router_state import CallState, Emit, Instruction, InvokeHost, Kill, Part, Plugin, WorkerState
from .statistics import Usage

__all__ = ["WorkerSide"]


class WorkerSide:
    """Handlers by kind of message. Each raises ProtocolError for what the worker may not say."""

    plugins: dict[int, Plugin]
    _out: list[Instruction]
    _late: int
    _protocol_errors: int
    _mean: float

    def _finish(self, call: CallState, payload: bytes = b"", error: SandboxError | None = None,
                usage: Usage | None = None) -> None:
        raise NotImplementedError

    def _send(self, worker: WorkerState, message: Any) -> None:
        raise NotImplementedError

    def _ready(self, worker: WorkerState, message: wire.Ready, now: float) -> None:
        if worker.state != "starting" or not 0 < message.threads <= 4096:
            raise ProtocolError(f"Ready: unexpected from a worker that is {worker.state}, with {message.threads} threads")
        worker.state, worker.threads, worker.level = "ready", message.threads, message.level

    def _loaded(self, worker: WorkerState, message: wire.Loaded, now: float) -> None:
        call = worker.calls.get(message.id)
        plugin_id = call.spec.plugin if call is not None and call.spec.kind == "load" else worker.loads.pop(message.id, None)
        if plugin_id is None and message.id in worker.abandoned:
            left = worker.abandoned.pop(message.id)
            plugin_id = left.plugin if left.load else None
            self._late += 1
        if plugin_id is None or plugin_id != message.plugin:
            raise ProtocolError(f"Loaded.id: {message.id} is no load of this worker")
        if plugin_id in worker.plugins:
            worker.plugins[plugin_id] = True
        if call is not None:
            self._finish(call, usage=Usage())

    def _mine(self, worker: WorkerState, message: Any, final: bool) -> CallState | None:
        """The call that the message is about; None when it has ended here already."""
        call = worker.calls.get(message.id)
        if call is not None:
            return call
        left = worker.abandoned.get(message.id)
        if left is None:
            raise ProtocolError(f"{type(message).__name__}.id: call {message.id} is not in flight on this worker")
        if final:
            del worker.abandoned[message.id]
            self._late += 1
        elif left.messages:
            left.messages -= 1
        else:
            raise ProtocolError(f"{type(message).__name__}.id: call {message.id} has ended, and goes on")
        return None

    def _result(self, worker: WorkerState, message: wire.Result, now: float) -> None:
        call = self._mine(worker, message, final=True)
        if call is None:
            return
        if call.spec.kind == "load":
            raise ProtocolError(f"Result.id: {message.id} is a load")
        rows = call.spec.rows
        if call.spec.kind == "rows" and (message.payload or (call.done < rows and not (call.spec.stop and call.failed))):
            raise ProtocolError(f"Result.id: {call.done} of {rows} rows of call {call.id} had an outcome, or there is a payload")
        usage = Usage(message.fuel, message.time_ns, message.memory)
        allowed = self.plugins[call.spec.plugin].limits.result_bytes
        self._mean += (message.time_ns / 1e9 / rows - self._mean) / 16
        if len(message.payload) > allowed:
            text = f"the result has {len(message.payload)} bytes, {allowed} are allowed"
            self._finish(call, error=PayloadTooLarge(text, limit="result_bytes", allowed=allowed), usage=usage)
        else:
            self._finish(call, message.payload, usage=usage)

    def _row_results(self, worker: WorkerState, message: wire.RowResults, now: float) -> None:
        call = self._mine(worker, message, final=False)
        if call is not None:
            self._next_rows(call, message.first, message.rows, "RowResults")
            if len(message.payload) != message.rows * call.spec.row_bytes:
                raise ProtocolError(f"RowResults.payload: {len(message.payload)} bytes for {message.rows} rows of "
                                    f"{call.spec.row_bytes}")
            self._out.append(Part(call.id, call.done - message.rows, message.rows, message.payload, None))

    def _row_failed(self, worker: WorkerState, message: wire.RowFailed, now: float) -> None:
        error = wire.failure(message)
        call = self._mine(worker, message, final=False)
        if call is not None:
            self._next_rows(call, message.row, 1, "RowFailed")
            call.failed = call.failed or {}
            call.failed[message.code] = call.failed.get(message.code, 0) + 1
            place(error, self.plugins[call.spec.plugin].name, call.spec.function, Usage(worker=worker.pid))
            self._out.append(Part(call.id, call.done - 1, 1, b"", error))

    def _next_rows(self, call: CallState, first: int, rows: int, name: str) -> None:
        """Counts rows whose outcome has come. Raises ProtocolError: not those that are next."""
        if call.spec.kind != "rows" or call.base + first != call.done or not 0 < rows <= call.spec.rows - call.done or (
                call.failed and call.spec.stop):
            raise ProtocolError(f"{name}: rows {first} to {first + rows} of call {call.id} are not the next ones")
        call.done += rows

    def _failed(self, worker: WorkerState, message: wire.Failed, now: float) -> None:
        error = wire.failure(message)
        load = worker.loads.pop(message.id, None)
        if load is not None:
            worker.plugins.pop(load, None)
            for waiting in [c for c in worker.calls.values() if c.spec.plugin == load]:
                self._finish(waiting, error=wire.failure(message))
            return
        call = self._mine(worker, message, final=True)
        if call is None:
            return
        if call.spec.kind == "load":
            worker.plugins.pop(call.spec.plugin, None)
        self._finish(call, error=error, usage=Usage(message.fuel, message.time_ns, message.memory))

    def _host_call(self, worker: WorkerState, message: wire.HostCall, now: float) -> None:
        call = self._mine(worker, message, final=False)
        if call is None:
            self._send(worker, wire.HostResult(message.id, message.sequence, False, b"the call has ended"))
            return
        allowed = self.plugins[call.spec.plugin].limits.host_calls * call.spec.rows
        if call.asked or not message.sequence:
            raise ProtocolError(f"HostCall.sequence: {message.sequence} while call {call.id} waits for {call.asked or 'none'}")
        call.host_calls += 1
        if call.host_calls > allowed:
            text = f"more than {allowed} calls of host functions"
            self._finish(call, error=LimitExceeded(text, limit="host_calls", allowed=allowed))
            self._send(worker, wire.Cancel(message.id))
            self._send(worker, wire.HostResult(message.id, message.sequence, False, b"too many calls of host functions"))
        else:
            call.asked = message.sequence
            self._out.append(InvokeHost(call.id, message.sequence, message.function, message.payload))

    def _output(self, worker: WorkerState, message: wire.Output, now: float) -> None:
        call = self._mine(worker, message, final=False)
        if call is None:
            return
        call.output += len(message.data)
        call.outputs += 1
        limits = self.plugins[call.spec.plugin].limits
        if message.stream not in (wire.STDOUT, wire.STDERR):
            raise ProtocolError(f"Output.stream: {message.stream}")
        if call.output > limits.output_bytes * call.spec.rows:
            raise ProtocolError(f"Output.data: call {call.id} wrote {call.output} bytes, more than a worker lets pass")
        if call.outputs > most_outputs(limits, call.spec.rows):
            raise ProtocolError(f"Output.data: call {call.id} wrote {call.output} bytes in {call.outputs} messages")
        self._out.append(Emit(call.id, message.stream, message.data))

    def _bye(self, worker: WorkerState, message: wire.Bye, now: float) -> None:
        worker.state = "killed"
        self._out.append(Kill(worker.id, f"it left: {message.reason}", Loss.EXIT))

    def _warm(self, worker: WorkerState, message: wire.Warm, now: float) -> None:
        """A spare that got its domain before it had imported everything."""
        if worker.warm:
            raise ProtocolError("Warm: said twice")
        worker.warm = True

    _HANDLERS: dict[type[Any], Any] = {  # noqa: RUF012
        wire.Ready: _ready, wire.Loaded: _loaded, wire.Result: _result, wire.Failed: _failed, wire.HostCall: _host_call,
        wire.Output: _output, wire.Bye: _bye, wire.RowResults: _row_results, wire.RowFailed: _row_failed, wire.Warm: _warm,
    }

    def _violation(self, worker: WorkerState, text: str) -> None:
        if worker.state != "killed":
            self._protocol_errors += 1
            worker.state = "killed"
            self._out.append(Kill(worker.id, f"it broke the protocol: {text}"))
