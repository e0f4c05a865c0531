"""Large inputs and outputs of commands: in shared memory where there is room, else in messages; the same bytes either way."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from sandboxhost import Grants, Host, Limits, PayloadTooLarge, Trap, WorkerError, WorkerLost, exchange, wire
from sandboxhost.core import Core
from sandboxhost.process import Process

from .conftest import wat

COPY = wat(r"""(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
  (memory (export "memory") 2)
  ;; stdin to stdout, once for the program's name and once more for every argument behind it
  (func (export "_start") (local $n i32) (local $i i32)
    (drop (call $sizes (i32.const 32) (i32.const 36)))
    (i32.store (i32.const 0) (i32.const 65536))
    (block $done (loop $again
      (i32.store (i32.const 4) (i32.const 60000))
      (br_if $done (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
      (br_if $done (i32.eqz (local.tee $n (i32.load (i32.const 8)))))
      (local.set $i (i32.load (i32.const 32)))
      (loop $copies
        (i32.store (i32.const 4) (local.get $n))
        (br_if $done (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
        (br_if $copies (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))
      (br $again)))))""")


NOISY = wat(r"""(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
  (memory (export "memory") 2)
  ;; 64 KiB of stdin to stdout, 6 bytes to stderr; with an argument it traps then
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 65536))
    (i32.store (i32.const 4) (i32.const 65536))
    (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    (i32.store (i32.const 4) (i32.const 6))
    (drop (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)))
    (drop (call $sizes (i32.const 32) (i32.const 36)))
    (if (i32.gt_u (i32.load (i32.const 32)) (i32.const 1)) (then unreachable))))""")


def pattern(size: int) -> bytes:
    return (b"".join(n.to_bytes(4, "little") for n in range(4096)) * (size // 16384 + 1))[:size]


@pytest.mark.parametrize("size", [0, 1, wire.SHARED_BYTES - 1, wire.SHARED_BYTES, 100_001, 2**20, 5 * 2**20 + 3])
def test_the_same_bytes_come_back(host: Host, size: int) -> None:
    plugin = host.load(COPY)
    data = pattern(size)
    for _ in range(2):
        done = plugin.run(stdin=data)
        assert done.stdout == data and done.exit_code == 0 and done.stderr == b""


def test_output_that_outgrows_its_room(workers: Host) -> None:
    """The room is twice the input; this is five times."""
    plugin = workers.load(COPY)
    data = pattern(2**20)
    out = plugin.run(["1", "2", "3", "4"], stdin=data).stdout
    assert len(out) == 5 * len(data) and out[:60000] == out[60000:120000] == data[:60000]
    assert plugin.run(stdin=b"small").stdout == b"small"


def test_each_command_has_its_own_arguments_and_input(host: Host) -> None:
    """Whether the last one of the plugin had the same, others, or none."""
    plugin = host.load(COPY, grants=Grants(arguments=("granted",)))
    large, small = pattern(50_000), b"small"
    for arguments, copies in (((), 2), (("a", "b"), 3), (("b", "a"), 3), ((), 2), (("a",), 2), ((), 2), ((), 2)):
        for data in (large, small, b"", large[1:]):
            done = plugin.run(arguments, stdin=data, environment={"NAME": "value"} if copies == 3 else None)
            assert done.stdout == data * copies and done.exit_code == 0


def test_output_of_a_trap_and_output_beside_stderr(workers: Host) -> None:
    """The answer is not one message then."""
    plugin = workers.load(NOISY)
    data = pattern(100_000)
    done = plugin.run(stdin=data)
    assert (done.stdout, done.stderr) == (data[:65536], data[:6])
    with pytest.raises(Trap, match="unreachable"):
        plugin.run(["trap"], stdin=data)
    assert plugin.run(stdin=data[1:]).stdout == data[1:65537]


def test_limits_hold_in_shared_memory(host: Host) -> None:
    plugin = host.load(COPY, limits=Limits(argument_bytes=100_000, output_bytes=150_000))
    with pytest.raises(PayloadTooLarge):
        plugin.run(stdin=bytes(100_000))
    assert len(plugin.run(stdin=bytes(90_000)).stdout) == 90_000
    with pytest.raises(PayloadTooLarge, match="output"):
        plugin.run(["1"], stdin=bytes(90_000))


def test_without_an_exchange_messages_carry_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "SIZE", 2**20)
    with Host(workers=1) as host:
        plugin = host.load(COPY)
        data = pattern(3 * 2**20)
        assert plugin.run(stdin=data).stdout == data
    def refused() -> None:
        raise OSError("no memory to share")

    monkeypatch.setattr("sandboxhost.core.Exchange", refused)
    with Host(workers=1) as host:
        assert host.load(COPY).run(stdin=data).stdout == data


def test_many_at_once() -> None:
    with Host(workers=2, threads=2) as host:
        plugin = host.load(COPY)
        texts = [pattern(200_000 + 1000 * n)[n:] for n in range(24)]
        with ThreadPoolExecutor(6) as pool:
            assert list(pool.map(lambda text: plugin.run(stdin=text).stdout, texts)) == texts
        backend: Any = host._backend
        assert isinstance(backend, Core)
        assert not backend._sharing and not any(made._regions for made in backend._exchanges.values() if made)


SPIN = wat('(module (memory (export "memory") 1) (func (export "_start") (loop (br 0))))')


def test_a_lost_worker_takes_its_exchange_along() -> None:
    with Host(workers=1, spares=0) as host, ThreadPoolExecutor(1) as pool:
        plugin, endless = host.load(COPY), host.load(SPIN, limits=Limits(deadline=100.0))
        data = pattern(8 * 2**20)
        assert plugin.run(stdin=data).stdout == data
        before = len(os.listdir("/proc/self/fd"))
        lost = pool.submit(endless.run, stdin=data)
        end = time.monotonic() + 60
        while not (busy := [worker.pid for worker in host.statistics().workers if worker.in_flight]):
            assert time.monotonic() < end
            time.sleep(0.001)
        os.kill(busy[0], signal.SIGKILL)
        assert isinstance(lost.exception(60), WorkerLost)
        assert plugin.run(stdin=data).stdout == data
        while len(os.listdir("/proc/self/fd")) > before:  # another thread may be reading a file for a moment
            assert time.monotonic() < end
            time.sleep(0.001)


def test_an_exchange_that_its_worker_does_not_take_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the worker has just died: the call goes on without, and nothing stays open."""
    send = Process.send

    def refuse(self: Process, data: bytes, fds: Sequence[int] = ()) -> None:
        if b"exchange" in data:
            raise WorkerError("the lifeline is closed")
        send(self, data, fds)

    def exchanges() -> list[str]:
        folder = Path("/proc/self/fd")
        return [link for name in os.listdir(folder) if "sandboxhost:exchange" in (link := linked(folder / name))]

    def linked(path: Path) -> str:
        try:
            return os.readlink(path)
        except OSError:  # the listing's own descriptor
            return ""

    with Host(workers=1) as host:
        plugin, before = host.load(COPY), exchanges()
        monkeypatch.setattr(Process, "send", refuse)
        assert plugin.run(stdin=pattern(100_000)).stdout == pattern(100_000)
        assert exchanges() == before
