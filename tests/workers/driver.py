"""A host for one worker process, in a few lines: sends messages, collects answers. Nothing is simulated on the worker's side."""

from __future__ import annotations

import os
import secrets
import time
from collections import deque
from typing import Any, TypeVar

from sandboxhost import options, shm, wire
from sandboxhost.limits import Limits, ProcessLimits
from sandboxhost.process import Process
from sandboxhost.transport import Transport
from sandboxhost.values import FunctionType, ValueType, pack, unpack
from sandboxworker import native
from sandboxworker.engine import Engine, Module

I32, I64, F64 = ValueType.I32, ValueType.I64, ValueType.F64
TIMEOUT = 20.0
M = TypeVar("M")


def image_of(data: bytes, **engine_options: Any) -> bytes:
    """The image of a module, made in this process."""
    return bytes(native.compile_bytes(data, Engine(**engine_options).options))


class WorkerDriver:
    """One worker process and what it has answered."""

    def __init__(self, threads: int = 2, limits: ProcessLimits | None = None,
                 granted: tuple[bool, ...] | None = None, fds: tuple[int, ...] = ()) -> None:  # fmt: skip
        """granted, fds: WorkerOptions.directories and their descriptors."""
        self.transport = Transport()
        self.identity = b"w" + secrets.token_bytes(15)
        self.process = Process("worker")
        limits = limits or ProcessLimits()
        endpoint, listener = self.transport.open_endpoint(self.identity)
        self.boot = options.WorkerOptions(endpoint, self.identity, threads, limits.to_wire(), granted)
        with listener:
            self.process.send(wire.encode([wire.Boot(self.boot.encode())]), (listener.fileno(), *fds))
        self.answers: deque[Any] = deque()
        self.next_id = 0
        self.ready = self.expect(wire.Ready)

    def close(self) -> None:
        """Kills the worker if it lives."""
        self.process.close()
        self.transport.close()

    def send(self, *messages: Any) -> None:
        """One frame."""
        self.transport.send(self.identity, wire.encode(messages))

    def receive(self) -> Any:
        """The next message. Raises TimeoutError with what the worker wrote to stderr."""
        end, ended = time.monotonic() + TIMEOUT, False
        while not self.answers:
            for worker, frame in self.transport.receive():
                assert worker == self.identity and frame is not None
                self.answers.extend(wire.decode(frame, wire.Direction.TO_HOST))
            if not ended and self.process.reap(0.001):  # its last words may still be on their way
                end, ended = time.monotonic() + 1, True
            if not self.answers and time.monotonic() > end:
                raise TimeoutError(f"{self.process.reason}: {self.process.last_words()}")
        return self.answers.popleft()

    def expect(self, kind: type[M]) -> M:
        """The next message, which must be of this kind."""
        message = self.receive()
        assert isinstance(message, kind), message
        return message

    def load(self, data: bytes, plugin: int = 1, name: str = "plugin", limits: Limits | None = None, directories: Any = (),
             tier: Any = "auto", **more: Any) -> Any:  # fmt: skip
        """Hands a module over; returns the LOADED or FAILED. directories: (guest path, host path, writable)."""
        image = image_of(data, metered=limits is not None and limits.fuel is not None, tier=tier)
        fds = [shm.sealed_copy(image, "image"), *(os.open(host, os.O_RDONLY | os.O_DIRECTORY) for _, host, _ in directories)]
        fields: dict[str, Any] = {
            "instance": "fresh", "calls": 0,
            "functions": (), "directories": tuple((guest, writable) for guest, _, writable in directories),
            "environment": (), "arguments": ("plugin",), "clock_ns": None, "random_seed": 1,
            "limits": (limits or Limits()).to_wire(), "image_bytes": len(image),
        }
        fields |= more
        self.process.send(wire.encode([wire.Descriptors("load", plugin, len(fds))]), fds)
        for fd in fds:
            os.close(fd)
        self.next_id += 1
        self.send(wire.Load(self.next_id, plugin, name, options.LoadOptions(**fields).encode()))
        return self.receive()

    def call(self, function: str, params: tuple[ValueType, ...] = (), values: tuple[Any, ...] = (), *, plugin: int = 1,
             parent: int = 0, fuel: int = wire.UNLIMITED, seconds: float = 10.0) -> int:  # fmt: skip
        """Sends a CALL; returns its id."""
        self.next_id += 1
        left = wire.Signed(int(seconds * 1e9))
        self.send(wire.Call(self.next_id, plugin, parent, function, wire.Signed(fuel), left, pack(params, values)))
        return self.next_id

    def result(self, type_: FunctionType, function: str, *values: Any, **more: Any) -> tuple[Any, ...]:
        """Calls and returns the values; raises what the call failed with."""
        id_ = self.call(function, type_.params, values, **more)
        message = self.receive()
        if isinstance(message, wire.Failed):
            assert message.id == id_
            raise wire.failure(message)
        assert isinstance(message, wire.Result) and message.id == id_, message
        return unpack(type_.results, message.payload)

    def command(self, arguments: tuple[str, ...], stdin: bytes = b"", environment: tuple[str, ...] = (), plugin: int = 1,
                descriptors: tuple[int, ...] = (), seconds: float = 10.0) -> tuple[int, bytes, bytes]:  # fmt: skip
        """Runs a WASI command: (exit code, stdout, stderr); raises what the run failed with."""
        self.next_id += 1
        id_, stdio = self.next_id, "descriptors" if descriptors else "capture"
        if descriptors:
            self.process.send(wire.encode([wire.Descriptors("run", id_, 3)]), descriptors)
        run = options.RunOptions(arguments, environment, stdin, stdio).encode()
        self.send(wire.Run(id_, plugin, 0, wire.Signed(wire.UNLIMITED), wire.Signed(int(seconds * 1e9)), run))
        output = {wire.STDOUT: b"", wire.STDERR: b""}
        while isinstance(message := self.receive(), wire.Output):
            output[message.stream] += message.data
        if isinstance(message, wire.Failed):
            raise wire.failure(message)
        assert isinstance(message, wire.Result) and message.id == id_, message
        return unpack((I32,), message.payload)[0], output[wire.STDOUT], output[wire.STDERR]


def module(text: str) -> Module:
    """A module from its text, by wasmtime."""
    return Module(binary(text))


def binary(text: str) -> bytes:
    """A module's bytes from its text, by wasmtime."""
    import wasmtime

    return bytes(wasmtime.wat2wasm(text))
