"""Data of one call that the next must not see: slots, grown memories, halves of results, WASI's structures, shared memory."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from sandboxhost import Host, wire
from sandboxhost.limits import Limits
from sandboxhost.values import FunctionType
from sandboxworker.call_engine import CallEngine
from tests.e2e.test_large import COPY
from tests.wasi.guest import ALL_RIGHTS, BUFFER, DIRECTORY, RESULT, SUCCESS, Guest
from tests.workers.driver import I32, WorkerDriver, binary

from .executors import EXECUTORS, TIERS, Executor, exports

PAGE = 65_536
CANARY = 0x5EC12E7_DEADBEEF

LOCALS = 60
SPRAY = f"""(module
    (func $spray (export "spray") (param $n i32) (result i64) (local {"i64 " * LOCALS}) (local {"f64 " * LOCALS})
        {"".join(f"(local.set {1 + i} (i64.const {CANARY}))" for i in range(LOCALS))}
        {"".join(f"(local.set {1 + LOCALS + i} (f64.reinterpret_i64 (i64.const {CANARY})))" for i in range(LOCALS))}
        (if (local.get $n) (then (drop (call $spray (i32.sub (local.get $n) (i32.const 1))))))
        {"".join(f"(local.get {1 + i})" for i in range(LOCALS))} {"i64.and " * (LOCALS - 1)}))"""


def _reader(name: str, body: str) -> str:
    """Gathers the bits of locals that nothing was written to, at several depths of calls; `body` runs before."""
    ints = " ".join(f"(local.get {1 + i}) i64.or" for i in range(LOCALS))
    floats = " ".join(f"(i64.reinterpret_f64 (local.get {1 + LOCALS + i})) i64.or" for i in range(LOCALS))
    refs = "(if (i32.eqz (ref.is_null (local.get $r))) (then (unreachable)))"
    return f"""(func ${name} (export "{name}") (param $n i32) (result i64)
        (local {"i64 " * LOCALS}) (local {"f64 " * LOCALS}) (local $s f32) (local $i i32) (local $r externref) {refs} {body}
        (i64.const 0) {ints} {floats}
        (i64.or (i64.extend_i32_u (i32.reinterpret_f32 (local.get $s)))) (i64.or (i64.extend_i32_u (local.get $i)))
        (if (result i64) (local.get $n) (then (call ${name} (i32.sub (local.get $n) (i32.const 1)))) (else (i64.const 0)))
        i64.or)"""


READERS = {
    "plain": "",
    "branch": """(if (i32.gt_u (local.get $n) (i32.const 1000))
        (then (local.set 1 (i64.const -1)) (local.set 70 (f64.const 1)) (local.set $r (table.get (i32.const 0)))))""",
    "loop": "(block (loop (br_if 1 (i32.lt_u (local.get $n) (i32.const 1000))) (local.set 2 (i64.const -1)) (br 0)))",
    "dead": "(block (br 0) (local.set 3 (i64.const -1)))",
}
READ = f"(module (table 1 externref) {' '.join(_reader(name, body) for name, body in READERS.items())})"


@pytest.mark.parametrize("tier", TIERS)
def test_data_of_one_call_in_slots_that_nobody_set(tier: str) -> None:
    """Locals are zero, whatever stood in the stack of the call engine that serves one plugin after the other."""
    executor, engine = Executor(tier, False), CallEngine()
    with executor.store() as first, executor.store() as second:
        spray, read = exports(first, SPRAY), exports(second, READ)
        for depth in (0, 1, 5, 40):
            for name in READERS:
                assert engine.invoke(spray["spray"], (depth,)) == (CANARY,)
                assert engine.invoke(read[name], (depth,)) == (0,)


@pytest.mark.parametrize("executor", EXECUTORS, ids=str)
def test_data_of_one_call_in_memories_that_are_used_again(executor: Executor) -> None:
    """Address space is kept from one store to the next; what was in it, also in pages that were grown, is not."""
    text = """(module (memory (export "m") MIN 64) (func (export "spoil")
        (drop (memory.grow (i32.const 40)))
        (memory.fill (i32.const 0) (i32.const 0xEE) (i32.mul (memory.size) (i32.const 65536)))))"""
    for round_ in range(3):
        for minimum in (0, 1, 2, 20):
            with executor.store() as store:
                made: Any = exports(store, text.replace("MIN", str(minimum)))
                memory = made["m"]
                assert memory.read(0, minimum * PAGE) == bytes(minimum * PAGE), round_
                assert memory.grow(30) == minimum
                assert memory.read(0, memory.byte_size) == bytes(memory.byte_size), round_
                made["spoil"].call()
                assert memory.read(0, 1) == b"\xee"


def test_data_of_one_call_in_the_halves_of_results() -> None:
    """i32 and f32 take eight bytes on the wire; the upper four are zero, though slots and registers held other things."""
    worker = WorkerDriver(threads=1)
    gets = "(local.get 0) " * 4
    data = binary(f"""(module (memory 1)
        (func $id (param i64) (result i64) (local.get 0))
        (func (export "spray") (param i64) (result i64 i64 i64 i64) {gets})
        (func (export "one f32") (param i64) (result f32) (f32.reinterpret_i32 (i32.wrap_i64 (call $id (local.get 0)))))
        (func (export "one i32") (param i64) (result i32) (i32.wrap_i64 (call $id (local.get 0))))
        (func (export "more") (param i64) (result i32 f32 i32 f32) (i32.wrap_i64 (call $id (local.get 0))) (f32.const 1)
            (i32.wrap_i64 (i64.load (i32.const 0))) (f32.demote_f64 (f64.reinterpret_i64 (local.get 0)))))""")  # fmt: skip
    try:
        for number, tier in enumerate(TIERS, 1):
            worker.load(data, plugin=number, tier=tier)
            for name, results in (("spray", 4), ("one f32", 1), ("spray", 4), ("one i32", 1), ("spray", 4), ("more", 4)):
                worker.next_id += 1
                payload = struct.pack("<Q", CANARY)
                worker.send(wire.Call(worker.next_id, number, 0, name, wire.Signed(-1), wire.Signed(10**10), payload))
                answer = worker.expect(wire.Result)
                assert len(answer.payload) == 8 * results
                if name != "spray":
                    assert [half for _, half in struct.iter_unpack("<II", answer.payload)] == [0] * results, name
    finally:
        worker.close()


def test_data_of_one_call_in_the_gaps_of_structures(tmp_path: Path) -> None:
    """What WASI writes has gaps between its fields; they get zeros or nothing, never bytes of the host's stack."""
    (tmp_path / "file").write_bytes(b"x")
    with Guest() as guest:
        directory = guest.grant(tmp_path)
        file = guest.opened(directory, "file", 0, ALL_RIGHTS)
        itself = guest.opened(directory, ".", DIRECTORY, ALL_RIGHTS)
        calls: dict[str, tuple[Any, int, list[tuple[int, int]]]] = {
            "fdstat": (lambda: guest.fd_fdstat_get(file, BUFFER), 24, [(1, 2), (4, 8)]),
            "filestat": (lambda: guest.fd_filestat_get(file, BUFFER), 64, [(17, 24)]),
            "path_filestat": (lambda: guest.path_filestat_get(directory, 0, *guest.path("file"), BUFFER), 64, [(17, 24)]),
            "prestat": (lambda: guest.fd_prestat_get(directory, BUFFER), 8, [(1, 4)]),
            "readdir": (lambda: guest.fd_readdir(itself, BUFFER, 24, 0, RESULT), 24, [(21, 24)]),
            "poll": (lambda: poll_into_buffer(guest, file), 64, [(11, 16), (26, 32), (43, 48), (58, 64)]),
        }  # fmt: skip
        for fill in (b"\0", b"\xa5"):
            for name, (act, size, gaps) in calls.items():
                guest.memory.write(BUFFER, fill * (size + 64))
                assert act() == SUCCESS, name
                data = guest.memory.read(BUFFER, size + 64)
                assert data[:size] != fill * size and data[size:] == fill * 64, f"{name}: more than its size"
                for start, end in gaps:
                    assert data[start:end] in (bytes(end - start), fill * (end - start)), name


def poll_into_buffer(guest: Guest, file: int) -> int:
    """A clock that is due and a file that can be read: two events at BUFFER."""
    guest.put(BUFFER + 0x2000, guest.subscription(1, 0) + guest.subscription(2, 1, fd=file))
    return int(guest.poll_oneoff(BUFFER + 0x2000, BUFFER, 2, RESULT))


DESCRIPTORS = binary("""(module
    (import "wasi_snapshot_preview1" "path_open" (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_renumber" (func $renumber (param i32 i32) (result i32)))
    (memory (export "memory") 1) (data (i32.const 100) "file")
    (func (export "open") (result i32)
        (drop (call $open (i32.const 3) (i32.const 0) (i32.const 100) (i32.const 4) (i32.const 0) (i64.const 2)
            (i64.const 2) (i32.const 0) (i32.const 200)))
        (drop (call $renumber (i32.load (i32.const 200)) (i32.const 0))) (i32.load (i32.const 200)))
    (func (export "read") (param i32) (result i32)
        (i32.store (i32.const 0) (i32.const 300)) (i32.store (i32.const 4) (i32.const 9))
        (i32.shl (call $read (local.get 0) (i32.const 0) (i32.const 1) (i32.const 200)) (i32.const 8))
        (i32.add (i32.load (i32.const 200)))))""")


def test_data_of_one_call_in_tables_of_descriptors(tmp_path: Path) -> None:
    """A file that one call opened, or put in the place of its input, is not open in the next: numbers begin anew."""
    (tmp_path / "file").write_bytes(b"secret")
    worker = WorkerDriver(threads=1)
    try:
        assert isinstance(worker.load(DESCRIPTORS, directories=[("/", tmp_path, False)]), wire.Loaded)
        for _ in range(3):
            assert worker.result(FunctionType((), (I32,)), "open") == (4,)
            assert worker.result(FunctionType((I32,), (I32,)), "read", 4) == (8 << 8,), "BADF, nothing read"
            assert worker.result(FunctionType((I32,), (I32,)), "read", 0) == (0,), "the input is empty, as ever"
    finally:
        worker.close()


def test_data_of_one_call_in_memory_that_host_and_worker_share() -> None:
    """Commands with large input and output, then with little and none, in the same part of the exchange."""
    with Host(workers=1, threads=1) as host:
        first, second = host.load(COPY), host.load(COPY, limits=Limits(memory="1MiB"))
        secret = b"secret " * 100_000
        for plugin, other in ((first, second), (second, first)):
            assert plugin.run(stdin=secret).stdout == secret
            assert other.run(stdin=b"").stdout == b""
            assert other.run(stdin=b"abc").stdout == b"abc"
            large = b"x" * wire.SHARED_BYTES
            assert other.run(stdin=large).stdout == large
