"""A worker process through its wire: calls, errors, limits, deadlines, host functions, commands, loading, its end."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from sandboxhost import options, shm, wire
from sandboxhost.errors import (
    DeadlineExceeded,
    FuelExhausted,
    GuestExit,
    LimitExceeded,
    LinkError,
    MemoryLimit,
    PayloadTooLarge,
    ProtocolError,
    SignatureMismatch,
    StackLimit,
    Trap,
    UnknownFunction,
    WorkerError,
)
from sandboxhost.limits import Limits
from sandboxhost.process import Process
from sandboxhost.values import FunctionType, ValueType, pack, unpack
from sandboxworker import native

from .driver import I32, WorkerDriver, binary, image_of

VOID = FunctionType()
BINARY = FunctionType((I32, I32), (I32,))
UNARY = FunctionType((I32,), (I32,))
ASK = (("app", "ask"),)
PLUGIN = binary("""(module
    (import "app" "ask" (func $ask (param i32) (result i32)))
    (memory (export "m") 1)
    (global $calls (mut i32) (i32.const 0))
    (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
    (func (export "ask") (param i32) (result i32) (call $ask (local.get 0)))
    (func (export "ask for ever") (loop (drop (call $ask (i32.const 0))) (br 0)))
    (func (export "loop") (loop (br 0)))
    (func $recurse (export "recurse") (call $recurse))
    (func (export "trap") unreachable)
    (func (export "count") (result i32) (global.set $calls (i32.add (global.get $calls) (i32.const 1))) (global.get $calls))
    (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
    (func (export "hog") (loop (br_if 0 (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable)
    (func (export "ref") (result funcref) (ref.func 0))
    (func (export "take") (param funcref externref) (result externref) (local.get 1))
    (elem declare func 0))""")


@pytest.fixture
def loaded(worker: WorkerDriver) -> Iterator[WorkerDriver]:
    """The shared worker with PLUGIN as plugin 1, afresh."""
    answer = worker.load(PLUGIN, functions=ASK)
    assert answer == wire.Loaded(worker.next_id, 1)
    yield worker
    worker.send(wire.Unload(1))


def test_ready_says_who_it_is(worker: WorkerDriver) -> None:
    assert worker.ready == wire.Ready(worker.process.pid, 2, native.build_id(), "full", "")


def test_a_call_and_its_usage(loaded: WorkerDriver) -> None:
    assert loaded.result(BINARY, "add", 2, 40) == (42,)
    id_ = loaded.call("add", BINARY.params, (-1, -1))
    answer = loaded.expect(wire.Result)
    assert answer.id == id_ and unpack(BINARY.results, answer.payload) == (-2,)
    assert answer.memory == 65536 and answer.time_ns > 0 and answer.fuel == 0


def test_errors_travel_as_themselves(loaded: WorkerDriver) -> None:
    with pytest.raises(Trap, match="^unreachable") as trap:
        loaded.result(VOID, "trap")
    assert trap.value.cause == "unreachable" and [f.name for f in trap.value.frames] == ["trap"]
    with pytest.raises(UnknownFunction, match="plugin exports no function 'nothing'"):
        loaded.result(VOID, "nothing")
    with pytest.raises(UnknownFunction, match="'m'"):
        loaded.result(VOID, "m")
    with pytest.raises(SignatureMismatch, match="expected 2 params, but passed 0"):
        loaded.result(VOID, "add")
    with pytest.raises(StackLimit, match="^call stack exhausted") as stack:
        loaded.result(VOID, "recurse")
    assert stack.value.allowed == 20_000
    with pytest.raises(UnknownFunction, match="plugin 99 is not loaded"):
        loaded.result(VOID, "add", plugin=99)
    assert loaded.result(BINARY, "add", 2, 40) == (42,)


def test_references_do_not_leave_the_process(loaded: WorkerDriver) -> None:
    with pytest.raises(ProtocolError, match="funcref"):
        loaded.result(FunctionType((), (ValueType.FUNCREF,)), "ref")
    take = FunctionType((ValueType.FUNCREF, ValueType.EXTERNREF), (ValueType.EXTERNREF,))
    assert loaded.result(take, "take", None, 7) == (7,)
    loaded.next_id += 1
    forged = struct.pack("<QQ", 0xDEAD_BEEF, 0)
    loaded.send(wire.Call(loaded.next_id, 1, 0, "take", wire.Signed(-1), wire.Signed(10**10), forged))
    assert isinstance(wire.failure(loaded.expect(wire.Failed)), SignatureMismatch)


def test_fresh_instances_share_nothing_and_a_persistent_one_remembers(loaded: WorkerDriver) -> None:
    counter = FunctionType((), (I32,))
    assert [loaded.result(counter, "count") for _ in range(3)] == [(1,)] * 3
    loaded.load(PLUGIN, plugin=2, functions=ASK, instance="persistent")
    assert [loaded.result(counter, "count", plugin=2) for _ in range(3)] == [(1,), (2,), (3,)]
    with pytest.raises(Trap):
        loaded.result(VOID, "trap", plugin=2)
    assert loaded.result(counter, "count", plugin=2) == (4,)
    ids = [loaded.call("count", plugin=2) for _ in range(200)]
    answers = [loaded.expect(wire.Result) for _ in ids]
    assert [a.id for a in answers] == ids  # in order, though there are two threads
    assert [unpack((I32,), a.payload)[0] for a in answers] == list(range(5, 205))
    loaded.send(wire.Unload(2))


def test_deadline_and_cancellation(loaded: WorkerDriver) -> None:
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        loaded.result(VOID, "loop", seconds=0.1)
    assert 0.1 <= time.monotonic() - started < 25
    ids = [loaded.call("loop", seconds=60) for _ in range(2)]  # both threads are busy
    waiting = loaded.call("loop", seconds=60)  # and this one waits
    other = loaded.call("add", BINARY.params, (2, 40))
    loaded.send(wire.Cancel(waiting), wire.Cancel(10**9), *map(wire.Cancel, ids))
    answers = {m.id: m for m in (loaded.receive() for _ in range(4))}
    assert [answers[i].code for i in (*ids, waiting)] == ["cancelled"] * 3
    assert unpack((I32,), answers[other].payload) == (42,)


def test_a_call_whose_deadline_passes_in_the_queue_never_starts(loaded: WorkerDriver) -> None:
    ids = [loaded.call("loop", seconds=0.3) for _ in range(2)]
    late = loaded.call("ask", UNARY.params, (1,), seconds=0.05)
    answers = [loaded.expect(wire.Failed) for _ in range(3)]  # no HOST_CALL among them
    assert {m.id for m in answers} == {*ids, late} and {m.code for m in answers} == {"deadline"}


def test_host_functions(loaded: WorkerDriver) -> None:
    id_ = loaded.call("ask", UNARY.params, (5,))
    asked = loaded.expect(wire.HostCall)
    assert (asked.id, asked.function, unpack((I32,), asked.payload)) == (id_, 0, (5,))
    loaded.send(wire.HostResult(id_, asked.sequence, True, pack((I32,), (-7,))))
    assert unpack((I32,), loaded.expect(wire.Result).payload) == (-7,)

    id_ = loaded.call("ask", UNARY.params, (5,))
    asked = loaded.expect(wire.HostCall)
    loaded.send(wire.HostResult(id_, asked.sequence, False, "mir fällt nichts ein".encode()))
    failed = loaded.expect(wire.Failed)
    assert (failed.code, failed.text) == ("host_function", "mir fällt nichts ein")

    id_ = loaded.call("ask", UNARY.params, (5,))
    asked = loaded.expect(wire.HostCall)
    loaded.send(wire.HostResult(id_, asked.sequence, True, b"short"))
    assert loaded.expect(wire.Failed).code == "host_function"


def test_late_and_foreign_answers_change_nothing(loaded: WorkerDriver) -> None:
    id_ = loaded.call("ask", UNARY.params, (5,))
    asked = loaded.expect(wire.HostCall)
    wrong = pack((I32,), (1,))
    loaded.send(
        wire.HostResult(id_ + 1000, 1, True, wrong), wire.HostResult(id_, asked.sequence + 1, True, wrong),
        wire.HostResult(id_, asked.sequence, True, pack((I32,), (2,))), wire.HostResult(id_, asked.sequence, True, wrong),
    )  # fmt: skip
    assert unpack((I32,), loaded.expect(wire.Result).payload) == (2,)
    assert loaded.result(BINARY, "add", 2, 40) == (42,)


def test_a_waiting_call_is_cancelled_and_times_out(loaded: WorkerDriver) -> None:
    id_ = loaded.call("ask", UNARY.params, (5,), seconds=60)
    asked = loaded.expect(wire.HostCall)
    loaded.send(wire.Cancel(id_))
    assert loaded.expect(wire.Failed).code == "cancelled"
    loaded.send(wire.HostResult(id_, asked.sequence, True, pack((I32,), (2,))))
    loaded.call("ask", UNARY.params, (5,), seconds=0.05)
    loaded.expect(wire.HostCall)
    assert loaded.expect(wire.Failed).code == "deadline"
    assert loaded.result(BINARY, "add", 2, 40) == (42,)


def test_a_host_function_may_call_the_plugin_on_top(loaded: WorkerDriver) -> None:
    """Deeper than there are threads: each call runs on the thread of its parent."""
    calls, depth = [loaded.call("ask", UNARY.params, (0,))], 10
    asked = [loaded.expect(wire.HostCall)]
    for n in range(1, depth):
        calls.append(loaded.call("ask", UNARY.params, (n,), parent=calls[-1]))
        asked.append(loaded.expect(wire.HostCall))
    assert [a.id for a in asked] == calls
    for n in reversed(range(depth)):
        loaded.send(wire.HostResult(calls[n], asked[n].sequence, True, pack((I32,), (n * n,))))
        answer = loaded.expect(wire.Result)
        assert answer.id == calls[n] and unpack((I32,), answer.payload) == (n * n,)


def test_the_limit_on_host_calls(loaded: WorkerDriver) -> None:
    loaded.load(PLUGIN, plugin=3, functions=ASK, limits=Limits(host_calls=3))
    loaded.call("ask for ever", plugin=3)
    for n in range(1, 4):
        asked = loaded.expect(wire.HostCall)
        assert asked.sequence == n
        loaded.send(wire.HostResult(asked.id, asked.sequence, True, pack((I32,), (0,))))
    error = wire.failure(loaded.expect(wire.Failed))
    assert isinstance(error, LimitExceeded) and error.limit == "host_calls"


def test_limits_of_memory_fuel_and_results(loaded: WorkerDriver) -> None:
    loaded.load(PLUGIN, plugin=4, functions=ASK, limits=Limits(memory="4MiB", fuel=10_000))
    assert loaded.result(UNARY, "grow", 63, plugin=4, fuel=10_000) == (1,)
    assert loaded.result(UNARY, "grow", 64, plugin=4, fuel=10_000) == (-1,)
    with pytest.raises(MemoryLimit) as hog:
        loaded.result(VOID, "hog", plugin=4, fuel=10_000)
    assert hog.value.allowed == 4 * 2**20 and isinstance(hog.value.__cause__, Trap)
    with pytest.raises(FuelExhausted) as fuel:
        loaded.result(VOID, "loop", plugin=4, fuel=10_000)
    assert fuel.value.allowed == 10_000
    loaded.call("add", BINARY.params, (2, 40), plugin=4, fuel=10_000)
    assert 0 < loaded.expect(wire.Result).fuel < 10
    loaded.load(PLUGIN, plugin=5, functions=ASK, limits=Limits(result_bytes=4))
    with pytest.raises(PayloadTooLarge) as large:
        loaded.result(BINARY, "add", 2, 40, plugin=5)
    assert large.value.limit == "result_bytes" and large.value.allowed == 4
    loaded.send(wire.Unload(4), wire.Unload(5))


def failure_of(answer: Any) -> Exception:
    assert isinstance(answer, wire.Failed), answer
    return wire.failure(answer)


def test_loading_refuses_what_is_not_granted(worker: WorkerDriver) -> None:
    error = failure_of(worker.load(PLUGIN, plugin=6))
    assert isinstance(error, LinkError) and 'unknown import: "app"."ask"' in str(error)
    error = failure_of(worker.load(binary('(module (import "app" "ask" (memory 1)))'), plugin=6, functions=ASK))
    assert isinstance(error, LinkError)
    error = failure_of(worker.load(binary('(module (import "wasi_snapshot_preview1" "nothing" (func)))'), plugin=6))
    assert isinstance(error, LinkError) and "unknown import" in str(error)
    error = failure_of(worker.load(binary("(module (memory 100))"), plugin=6, limits=Limits(memory="1MiB")))
    assert isinstance(error, MemoryLimit)
    with pytest.raises(UnknownFunction, match="not loaded"):
        worker.result(VOID, "add", plugin=6)


def test_loading_refuses_images_that_are_not_sealed_or_not_ours(worker: WorkerDriver) -> None:
    image = image_of(PLUGIN)
    options_ = options.LoadOptions("fresh", 0, ASK, (), (), (), None, None, Limits().to_wire(), len(image)).encode()

    def load(fd: int) -> Exception:
        worker.process.send(wire.encode([wire.Descriptors("load", 7, 1)]), [fd])
        os.close(fd)
        worker.next_id += 1
        worker.send(wire.Load(worker.next_id, 7, "p", options_))
        return failure_of(worker.receive())

    unsealed = shm.create("image")
    os.write(unsealed, image)
    assert isinstance(load(unsealed), WorkerError)
    assert isinstance(load(shm.sealed_copy(b"not an image", "image")), WorkerError)
    foreign = bytearray(image)
    foreign[10] ^= 1  # the build id
    assert isinstance(load(shm.sealed_copy(bytes(foreign), "image")), WorkerError)
    assert isinstance(load(shm.sealed_copy(image[:-1], "image")), WorkerError)
    worker.send(wire.Load(worker.next_id, 8, "p", options_))
    assert isinstance(failure_of(worker.receive()), ProtocolError)  # no descriptors came


def test_unloading_while_a_call_runs_lets_it_end(worker: WorkerDriver) -> None:
    worker.load(PLUGIN, plugin=9, functions=ASK)
    id_ = worker.call("ask", UNARY.params, (1,), plugin=9)
    asked = worker.expect(wire.HostCall)
    worker.send(wire.Unload(9), wire.Unload(9), wire.HostResult(id_, asked.sequence, True, pack((I32,), (5,))))
    assert unpack((I32,), worker.expect(wire.Result).payload) == (5,)
    with pytest.raises(UnknownFunction):
        worker.result(BINARY, "add", 1, 2, plugin=9)


def test_loading_and_unloading_leaves_no_descriptor(worker: WorkerDriver, tmp_path: Path) -> None:
    """Also when the load fails, and with directories."""
    wasi = binary("""(module (import "wasi_snapshot_preview1" "sched_yield" (func (result i32)))
        (func (export "f") (drop (call 0))))""")

    def cycle() -> None:
        worker.load(wasi, plugin=10, directories=[("/data", tmp_path, True)])
        worker.result(VOID, "f", plugin=10)
        failure_of(worker.load(PLUGIN, plugin=11, directories=[("/data", tmp_path, True)]))
        worker.send(wire.Unload(10))

    def count() -> int:
        with pytest.raises(UnknownFunction):  # an answer: what was sent before is done
            worker.result(VOID, "f", plugin=12)
        return len(os.listdir(f"/proc/{worker.process.pid}/fd"))

    cycle()
    before = count()
    for _ in range(5):
        cycle()
    end = time.monotonic() + 10  # a thread answers before it lets go of what the call used
    while count() > before and time.monotonic() < end:
        time.sleep(0.01)
    assert count() <= before


# ---- WASI commands

COMMAND = binary("""(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "environ_get" (func $environ (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ_sizes (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 2)
    (data (i32.const 0) "\\00\\10\\00\\00")
    (func $say (param $fd i32) (param $length i32)
        (i32.store (i32.const 4) (local.get $length))
        (drop (call $write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8))))
    (func (export "_start")
        ;; stdin to stdout
        (i32.store (i32.const 4) (i32.const 60000))
        (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
        (call $say (i32.const 1) (i32.load (i32.const 8)))
        ;; arguments to stderr, then variables
        (drop (call $sizes (i32.const 16) (i32.const 20)))
        (drop (call $args (i32.const 0x800) (i32.const 0x1000)))
        (call $say (i32.const 2) (i32.load (i32.const 20)))
        (drop (call $environ_sizes (i32.const 24) (i32.const 28)))
        (drop (call $environ (i32.const 0x800) (i32.const 0x1000)))
        (call $say (i32.const 2) (i32.load (i32.const 28)))
        ;; exit code: the number of arguments
        (call $exit (i32.load (i32.const 16))))
    (func (export "exit") (call $exit (i32.const 3)))
    (func (export "say") (param i32 i32) (call $say (local.get 0) (local.get 1))))""")


def test_a_command_with_captured_output(worker: WorkerDriver) -> None:
    worker.load(COMMAND, plugin=20)
    for _ in range(2):
        code, stdout, stderr = worker.command(("cmd", "a", "böse"), b"input\0bytes", ("X=1", "Y=2"), plugin=20)
        assert (code, stdout, stderr) == (3, b"input\0bytes", "cmd\0a\0böse\0X=1\0Y=2\0".encode())
    assert worker.command((), plugin=20) == (0, b"", b"")
    with pytest.raises(GuestExit) as caught:
        worker.result(VOID, "exit", plugin=20)
    assert caught.value.code == 3


def test_a_command_on_descriptors(worker: WorkerDriver, tmp_path: Path) -> None:
    worker.load(COMMAND, plugin=20)
    (tmp_path / "in").write_bytes(b"from a file")
    fds = [os.open(tmp_path / "in", os.O_RDONLY), *(os.open(tmp_path / n, os.O_CREAT | os.O_WRONLY) for n in ("out", "err"))]
    assert worker.command(("cmd",), plugin=20, descriptors=tuple(fds)) == (1, b"", b"")
    for fd in fds:
        os.close(fd)
    assert (tmp_path / "out").read_bytes() == b"from a file" and (tmp_path / "err").read_bytes() == b"cmd\0"


def test_output_of_a_library_call_and_its_limit(worker: WorkerDriver) -> None:
    worker.load(COMMAND, plugin=21, limits=Limits(output_bytes=100))
    say = (I32, I32)
    id_ = worker.call("say", say, (1, 60), plugin=21)
    assert worker.expect(wire.Output) == wire.Output(id_, wire.STDOUT, bytes(60))
    assert worker.expect(wire.Result).id == id_
    id_ = worker.call("say", say, (2, 200), plugin=21)  # the rest is dropped
    assert worker.expect(wire.Output) == wire.Output(id_, wire.STDERR, bytes(100))
    assert worker.expect(wire.Result).id == id_
    with pytest.raises(PayloadTooLarge) as caught:
        worker.command(("cmd",), b"x" * 150, plugin=21)
    assert caught.value.limit == "output_bytes"


def test_a_module_that_is_no_command(loaded: WorkerDriver) -> None:
    with pytest.raises(UnknownFunction, match="_start"):
        loaded.command(("x",))
    loaded.load(binary('(module (func (export "_start") (param i32)))'), plugin=22)
    with pytest.raises(SignatureMismatch, match="_start"):
        loaded.command(("x",), plugin=22)


def test_a_reactor_is_initialised_before_its_first_call(worker: WorkerDriver) -> None:
    worker.load(binary("""(module (global $g (mut i32) (i32.const 0)) (func $s (global.set $g (i32.const 1))) (start $s)
        (func (export "_initialize") (global.set $g (i32.add (global.get $g) (i32.const 10))))
        (func (export "f") (result i32) (global.get $g)))"""), plugin=23)  # fmt: skip
    assert worker.result(FunctionType((), (I32,)), "f", plugin=23) == (11,)


# ---- the process


@pytest.fixture
def own_worker() -> Iterator[WorkerDriver]:
    driver = WorkerDriver(threads=1)
    yield driver
    driver.close()


def ended(driver: WorkerDriver) -> str:
    assert driver.process.reap(10), "the worker did not end"
    return driver.process.reason


def test_stop_ends_it_with_code_0(own_worker: WorkerDriver) -> None:
    own_worker.send(wire.Stop())
    assert ended(own_worker) == "exit code 0" and own_worker.process.last_words() == ""


def test_stop_ends_it_in_the_middle_of_a_call(own_worker: WorkerDriver) -> None:
    own_worker.load(PLUGIN, functions=ASK)
    own_worker.call("loop", seconds=60)
    own_worker.send(wire.Stop())
    assert ended(own_worker) == "exit code 0"


def test_it_ends_when_the_lifeline_does(own_worker: WorkerDriver) -> None:
    own_worker.load(PLUGIN, functions=ASK)
    own_worker.call("loop", seconds=60)
    own_worker.process.lifeline.shutdown(socket.SHUT_RDWR)
    assert ended(own_worker) == "exit code 71"


def test_it_dies_with_its_parent(tmp_path: Path) -> None:
    """Also when the parent is killed and a copy of the lifeline lives on elsewhere."""
    said, say = os.pipe()
    parent = os.fork()
    if parent == 0:
        try:
            driver = WorkerDriver(threads=1)
            os.write(say, f"{driver.process.pid}\n".encode())
            signal.pause()
        finally:
            os._exit(1)
    os.close(say)
    worker = int(os.read(said, 100))
    os.close(said)
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    end = time.monotonic() + 10
    while os.path.exists(f"/proc/{worker}") and "State:\tZ" not in Path(f"/proc/{worker}/status").read_text():
        assert time.monotonic() < end, "the worker outlived its parent"
        time.sleep(0.01)


def test_a_broken_frame_ends_it_with_a_reason(own_worker: WorkerDriver) -> None:
    own_worker.transport.send(own_worker.identity, b"\xc1")
    assert "not msgpack" in own_worker.expect(wire.Bye).reason
    assert ended(own_worker) == "exit code 70"


def test_the_basic_sandbox_from_outside(own_worker: WorkerDriver) -> None:
    pid = own_worker.process.pid
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
    assert status["NoNewPrivs"] == "1" and status["Umask"] == "0077"
    limits = Path(f"/proc/{pid}/limits").read_text()
    rows = {line[:26].strip(): line[26:].split()[:2] for line in limits.splitlines()[1:]}
    for name in ("Max core file size", "Max locked memory", "Max processes", "Max msgqueue size"):
        assert rows[name] == ["0", "0"], name
    assert rows["Max open files"] == ["1024", "1024"]
    assert rows["Max data size"] == (["unlimited"] * 2 if native.sanitized() else [str(8 * 2**30)] * 2)
    assert os.getsid(pid) == pid
    assert Path(f"/proc/{pid}/environ").stat().st_uid == 0 or not os.access(f"/proc/{pid}/environ", os.R_OK)
    folder = own_worker.boot.endpoint.removeprefix("ipc://").removesuffix("/router")
    assert os.readlink(f"/proc/{pid}/cwd") == os.readlink(f"/proc/{pid}/root") == f"{folder} (deleted)"
    kinds = [os.readlink(f"/proc/{pid}/fd/{fd}").split(":")[0] for fd in os.listdir(f"/proc/{pid}/fd")]
    assert not [k for k in kinds if k.startswith("/") and k != "/dev/null"], kinds


def test_only_the_host_starts_it() -> None:
    """By hand there is no lifeline: wrong usage is said, and a missing host is noticed."""
    env = {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-m", "sandboxworker"], capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 2 and "Started by sandboxhost" in done.stderr
    process = Process("worker")
    process.send(wire.encode([wire.Stop()]))
    assert process.reap(10) and process.reason == "exit code 70" and "expected Boot" in process.last_words()
    process.close()


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGBUS, signal.SIGTERM, signal.SIGABRT], ids=lambda n: n.name)
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "in a guest"])
def test_a_signal_sent_from_outside_ends_it(own_worker: WorkerDriver, number: signal.Signals, busy: bool) -> None:
    """Also those that the guard pages' handler takes: only a fault of a guest is a trap."""
    if busy:
        own_worker.load(PLUGIN, functions=ASK)
        own_worker.call("loop", seconds=60)
        end = time.monotonic() + 10
        while time.monotonic() < end and psutil.Process(own_worker.process.pid).cpu_times().user < 0.3:
            time.sleep(0.01)
    os.kill(own_worker.process.pid, number)
    assert ended(own_worker) == f"killed by {number.name}"


# ---- calls of many rows, and the lifeline as a way for calls


def rows_message(driver: WorkerDriver, function: str, rows: int, payload: bytes, stop: bool = False) -> wire.CallRows:
    driver.next_id += 1
    return wire.CallRows(driver.next_id, 1, function, rows, stop, wire.Signed(-1), wire.Signed(10**10), payload)


def test_rows_that_are_no_rows_end_with_an_error(own_worker: WorkerDriver) -> None:
    """A host that counts wrongly gets words, and the worker goes on."""
    own_worker.load(binary('(module (func (export "f") (param i32) (result i32) (local.get 0)))'))
    wrong = ((3, bytes(25), "not 3 rows"), (2, bytes(32), "but passed 2"), (2, b"", "but passed 0"), (0, b"", "rows: 0"))
    for rows, payload, words in wrong:
        own_worker.send(rows_message(own_worker, "f", rows, payload))
        assert words in own_worker.expect(wire.Failed).text
    own_worker.send(rows_message(own_worker, "absent", 1, bytes(8)))
    assert "exports no function" in own_worker.expect(wire.Failed).text
    own_worker.send(rows_message(own_worker, "f", 2, bytes(8) + b"\x07" + bytes(3) + b"\xff" * 4))
    assert own_worker.expect(wire.RowResults)[1:] == (0, 2, bytes(8) + b"\x07" + bytes(7))
    assert own_worker.expect(wire.Result).payload == b""


def test_a_call_by_the_lifeline_is_answered_there(own_worker: WorkerDriver) -> None:
    own_worker.load(binary('(module (func (export "f") (param i32) (result i32) (local.get 0)))'))
    own_worker.process.lifeline.settimeout(10)
    for number in range(100, 120):
        call = wire.Call(number, 1, 0, "f", wire.Signed(-1), wire.Signed(10**10), number.to_bytes(8, "little"))
        own_worker.process.send(wire.encode([call]))
        result = wire.decode_result(own_worker.process.lifeline.recv(65536))
        assert result is not None and (result.id, result.payload) == (number, number.to_bytes(8, "little"))
    own_worker.process.send(wire.encode([call._replace(plugin=9)]))
    (failed,) = wire.decode(own_worker.process.lifeline.recv(65536), wire.Direction.TO_HOST)
    assert isinstance(failed, wire.Failed) and "not loaded" in failed.text


@pytest.mark.parametrize("datagram", [b"\xc1", wire.encode([wire.Stop()]), wire.encode([wire.Unload(1)]), b"\x90"])
def test_what_does_not_belong_on_the_lifeline_ends_the_worker(own_worker: WorkerDriver, datagram: bytes) -> None:
    own_worker.process.send(datagram)
    assert own_worker.expect(wire.Bye).reason
    assert ended(own_worker) == "exit code 70"


def test_parts_of_an_exchange_that_are_not_there(own_worker: WorkerDriver) -> None:
    """A host that says what is not so gets words, and no access outside of the mapping."""
    own_worker.load(binary('(module (memory (export "memory") 1) (func (export "_start")))'))
    record = options.RunOptions(("p",), (), b"", "capture").encode()

    def run(offset: int, length: int, output: int, room: int) -> Any:
        own_worker.next_id += 1
        whole = wire.Run(own_worker.next_id, 1, 0, wire.Signed(-1), wire.Signed(10**10), record)
        own_worker.send(whole._replace(offset=wire.Signed(offset), length=length, output=output, room=room))
        return own_worker.receive()

    assert "no descriptors came" in run(0, 10, 4096, 4096).text
    with open("/dev/null") as nothing:
        own_worker.process.send(wire.encode([wire.Descriptors("exchange", 0, 1)]), [nothing.fileno()])
    assert "cannot be mapped" in run(0, 10, 4096, 4096).text
    shared = shm.create("exchange")
    os.ftruncate(shared, 65536)
    own_worker.process.send(wire.encode([wire.Descriptors("exchange", 0, 1)]), [shared])
    os.close(shared)
    for part in ((0, 65537, 65537, 0), (65536, 1, 65537, 0), (0, 10, 4096, 61441), (2**62, 2**62, 0, 0), (0, 100, 50, 10)):
        assert "in an exchange of 65536" in run(*part).text
    assert isinstance(run(0, 10, 4096, 61440), wire.Result)


def test_a_thread_that_fails_ends_the_process_and_says_why() -> None:
    """Else its calls, or all deadlines, would be waited for in vain."""
    program = """
import threading, time
from sandboxworker import loop
threading.excepthook = loop.thread_failed
def fail(): raise LookupError("an error of our own")
threading.Thread(target=fail).start()
time.sleep(60)"""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=env, timeout=60, check=False)
    assert ended.returncode == 70 and "LookupError: an error of our own" in ended.stderr
