"""Calls that the core answers on the lifeline: that it does, that nothing differs from calls made elsewhere, and the rest."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any, NoReturn

import pytest

from sandboxhost import wire
from sandboxhost.errors import Cancelled, DeadlineExceeded, FuelExhausted, HostFunctionError, StackLimit, Trap
from sandboxhost.limits import Limits
from sandboxhost.values import FunctionType, ValueType, pack, unpack
from sandboxworker import native
from sandboxworker.call_line import Begun, Gate
from sandboxworker.lifeline import Lifeline
from sandboxworker.plugin import Plugin
from sandboxworker.recycling import kept
from sandboxworker.threads import Pool, Task
from sandboxworker.watchdog import watchdog

from .driver import module
from .test_fresh import plugin

SOURCE = """(module
    (memory 1 4) (global $n (mut i32) (i32.const 0)) (data (i32.const 8) "new")
    (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
    (func (export "mixed") (param i64 f32 f64) (result f64 i64 f32) (local.get 2) (local.get 0) (local.get 1))
    (func (export "bump") (result i32) (i32.store (i32.const 8) (i32.const 0))
        (global.set $n (i32.add (global.get $n) (i32.const 1))) (global.get $n))
    (func (export "data") (result i32) (i32.load (i32.const 8)))
    (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
    (func $inner (param i32) (result i32) (i32.div_s (i32.const 84) (local.get 0)))
    (func (export "divide") (param i32) (result i32) (call $inner (local.get 0)))
    (func $deep (export "deep") (param i32) (result i32) (i32.add (call $deep (local.get 0)) (i32.const 1)))
    (func (export "turn") (param $n i32) (result i32)
        (loop $again
            (br_if $again (i32.lt_s (local.get $n) (i32.const 0)))
            (if (local.get $n) (then (local.set $n (i32.sub (local.get $n) (i32.const 1))) (br $again))))
        (i32.const 7))
    (func (export "same") (param externref) (result externref) (local.get 0)))"""
ASKING = """(module (import "app" "f" (func $f (param i32) (result i32)))
    (func (export "ask") (param i32) (result i32) (i32.add (call $f (local.get 0)) (i32.const 1))))"""
FOREVER = -1
"""Turns."""
TYPES = {
    "add": ("I32 I32", "I32"), "mixed": ("I64 F32 F64", "F64 I64 F32"), "bump": ("", "I32"), "data": ("", "I32"),
    "ask": ("I32", "I32"), "grow": ("I32", "I32"), "divide": ("I32", "I32"),
    "deep": ("I32", "I32"), "turn": ("I32", "I32"), "same": ("EXTERNREF", "EXTERNREF"),
}  # fmt: skip


def type_of(function: str) -> FunctionType:
    params, results = TYPES[function]
    return FunctionType(tuple(ValueType[n] for n in params.split()), tuple(ValueType[n] for n in results.split()))


class Bench:
    """The host's end of a lifeline, and a pool at the other one, in this process, with what it needs of the worker's loop."""

    def __init__(self, threads: int = 1) -> None:
        self.host, worker = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.host.settimeout(60)
        self._fd = worker.detach()
        self.gate = Gate()
        self.lifeline = Lifeline(self._fd, self.gate)
        self.plugins: dict[int, Plugin] = {}
        self.reads = self.takeovers = 0
        self.ids = 0
        watchdog.start()
        self.pool = Pool(threads, self.lifeline.post, self)

    def lifeline_fd(self) -> int:
        return self._fd

    def read_line(self) -> list[Task]:
        found = []
        for message in self.lifeline.next():
            self.reads += 1
            left = message.time_left_ns
            deadline = None if left == wire.UNLIMITED else time.monotonic() + left / 1e9
            found.append(Task(message, self.plugins[message.plugin], deadline, None, (), self.lifeline.post))
        return found

    def begun(self, datagram: bytes, begun: Begun) -> Task:
        self.takeovers += 1
        (message,) = wire.decode(datagram, wire.Direction.TO_WORKER)
        task = Task(message, begun.plugin, None, None, (), self.lifeline.post, None, begun)
        task.context.deadline_ns = begun.deadline_ns
        task.context.seconds = max(0, message.time_left_ns) / 1e9
        return task

    def host_gone(self) -> NoReturn:
        threading.Event().wait()
        raise AssertionError

    def close(self) -> None:
        for number in list(self.plugins):
            self.pool.drop(self.plugins.pop(number))

    def send(self, function: str, *values: Any, plugin: int = 1, seconds: float | None = None) -> int:
        self.ids += 1
        limits = self.plugins[plugin].limits
        left = wire.UNLIMITED if seconds is None else int(seconds * 1e9)
        fuel = wire.UNLIMITED if limits.fuel is None else limits.fuel
        payload = pack(type_of(function).params, values)
        call = wire.Call(self.ids, plugin, 0, function, wire.Signed(fuel), wire.Signed(left), payload)
        self.host.send(wire.encode((call,)))
        return self.ids

    def receive(self) -> Any:
        (message,) = wire.decode(self.host.recv(1 << 17), wire.Direction.TO_HOST)
        return message

    def result(self, function: str, *values: Any, **more: Any) -> Any:
        """The one value; raises what the call failed with. Leaves the message in `last`."""
        number = self.send(function, *values, **more)
        self.last = message = self.receive()
        assert message.id == number
        if isinstance(message, wire.Failed):
            raise wire.failure(message)
        found = unpack(type_of(function).results, message.payload)
        return found[0] if len(found) == 1 else found

    def wait_for(self, number: int) -> None:
        """Until the core runs that call."""
        _eventually(lambda: any(thread.calls._record.running == number for thread in self.pool._threads))

    def rest(self) -> None:
        """Until nothing is under way: an answer goes out before its call lets go of the instance."""
        _eventually(lambda: not self.pool._users and not any(t.calls._record.running for t in self.pool._threads))

    def core(self, function: str, *values: Any, **more: Any) -> Any:
        """The same, by the core alone: the first of its kind is made elsewhere, once on each thread that happens to read it."""
        for _ in range(2 if len(self.pool._threads) == 1 else 500):
            before = self.reads
            found = self.result(function, *values, **more)
            if self.reads == before:
                return found
        raise AssertionError(f"{function}: not answered by the core")


@pytest.fixture(params=["fresh", "persistent"])
def instance(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["interpreter", "compiled"])
def tier(request: pytest.FixtureRequest) -> str:
    if not native.HAS_COMPILED_TIER:
        return "interpreter"  # this machine has no other
    return str(request.param)


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.close()


def load(bench: Bench, number: int = 1, text: str = SOURCE, **more: Any) -> Plugin:
    bench.plugins[number] = made = plugin(module(text), **more)
    return made


def test_answers_are_the_same(bench: Bench, instance: str, tier: str) -> None:
    load(bench, instance=instance, tier=tier)
    for number in (0, 127, 128, 255, 256, 65535, 65536, 2**32, 2**62):  # each length of an id
        bench.ids = number
        assert bench.core("add", 2**31 - 1, 1) == -(2**31)
    assert bench.core("mixed", -5, 1.5, -0.25) == (-0.25, -5, 1.5)
    assert bench.last.fuel == 0 and bench.last.memory == 65536 and 0 < bench.last.time_ns < 60e9
    before = bench.reads
    assert [bench.result("add", n, -n) for n in range(1000)] == [0] * 1000
    assert bench.reads == before and not bench.takeovers


def test_what_a_call_leaves_behind(bench: Bench, instance: str, tier: str) -> None:
    load(bench, instance=instance, tier=tier)
    fresh = instance == "fresh"
    for _ in range(3):
        bench.core("bump")
    assert (bench.core("bump") == 1) is fresh
    assert bench.core("data") == (0x77656E if fresh else 0)
    assert bench.core("grow", 1) == (1 if fresh else bench.last.memory // 65536 - 1)
    assert bench.last.memory > 65536, "at the end of the call"


def test_fuel_is_spent_alike(bench: Bench, instance: str, tier: str) -> None:
    load(bench, instance=instance, tier=tier, limits=Limits(fuel=5000))
    assert bench.result("turn", 100) == 7
    spent = bench.last.fuel
    assert bench.core("turn", 100) == 7 and bench.last.fuel == spent > 100
    read = bench.reads
    with pytest.raises(FuelExhausted):
        bench.result("turn", 100_000)
    assert bench.reads == read and bench.takeovers == 1 and bench.last.fuel >= 4990
    assert bench.core("turn", 100) == 7 and bench.last.fuel == spent, "each call has its own"


def test_traps_have_their_frames(bench: Bench, instance: str, tier: str) -> None:
    load(bench, instance=instance, tier=tier)
    with pytest.raises(Trap) as here:
        bench.result("divide", 0)
    assert bench.core("divide", 2) == 42
    with pytest.raises(Trap) as there:
        bench.result("divide", 0)
    assert bench.takeovers == 1
    assert (there.value.cause, there.value.frames) == (here.value.cause, here.value.frames) and len(here.value.frames) == 2
    assert bench.core("divide", 4) == 21, "the engine is as good as before"
    with pytest.raises(StackLimit):
        bench.result("deep", 1)
    assert bench.core("divide", 4) == 21


def test_the_deadline(bench: Bench, instance: str, tier: str) -> None:
    load(bench, instance=instance, tier=tier)
    assert bench.core("turn", 10) == 7
    with pytest.raises(DeadlineExceeded):
        bench.result("turn", FOREVER, seconds=0.05)
    assert bench.core("turn", 10) == 7
    with pytest.raises(DeadlineExceeded):
        bench.result("turn", 10, seconds=0)  # which is none


def test_a_deadline_of_a_call_that_the_core_runs(bench: Bench, instance: str, tier: str) -> None:
    """Whether the core has taken it depends on what the watchdog waits for; sooner or later it has."""
    load(bench, instance=instance, tier=tier)
    bench.core("turn", 10)
    for attempt in range(100):
        with contextlib.suppress(DeadlineExceeded):
            # The watchdog waits for it, if it runs long enough for that to be noticed; one that is later may be the core's.
            bench.result("turn", 10 * 4 ** (attempt % 10), seconds=0.05)
        with pytest.raises(DeadlineExceeded):
            bench.result("turn", FOREVER, seconds=0.06)
        if bench.takeovers:
            break
    assert bench.takeovers
    assert bench.core("turn", 10) == 7, "no interrupt is left"


def test_a_call_that_runs_is_cancelled(bench: Bench, instance: str, tier: str) -> None:
    load(bench, instance=instance, tier=tier)
    bench.core("turn", 10)
    number = bench.send("turn", FOREVER)
    bench.wait_for(number)
    bench.pool.cancel(number)
    with pytest.raises(Cancelled):
        raise wire.failure(bench.receive())
    assert bench.takeovers == 1
    assert bench.core("turn", 10) == 7


def test_a_cancel_that_comes_first(bench: Bench, instance: str) -> None:
    load(bench, instance=instance)
    bench.core("turn", 10)
    for _ in range(100):  # more than are remembered
        bench.pool.cancel(bench.ids + 1)
        with pytest.raises(Cancelled):
            bench.result("turn", FOREVER)
    assert bench.takeovers == 0 and bench.core("turn", 10) == 7


def test_host_functions_go_on_here(bench: Bench, instance: str, tier: str) -> None:
    load(bench, text=ASKING, instance=instance, tier=tier, functions=(("app", "f"),))
    for n in range(4):
        number = bench.send("ask", n)
        asked = bench.receive()
        assert isinstance(asked, wire.HostCall) and (asked.id, asked.payload) == (number, pack((ValueType.I32,), (n,)))
        bench.pool.answer(wire.HostResult(number, asked.sequence, n != 2, pack((ValueType.I32,), (10 * n,)) if n != 2 else b"no"))
        message = bench.receive()
        if n == 2:
            with pytest.raises(HostFunctionError):
                raise wire.failure(message)
        else:
            assert unpack((ValueType.I32,), message.payload) == (10 * n + 1,)
    assert bench.takeovers == 3


def test_what_is_not_for_the_core(bench: Bench) -> None:
    load(bench)
    load(bench, 2, limits=Limits(result_bytes=4))
    for _ in range(3):
        assert bench.result("same", 5) == 5
        with pytest.raises(Exception, match="result_bytes|bytes of results"):
            bench.result("add", 1, 2, plugin=2)
    assert bench.reads == 6 and not bench.takeovers


def test_an_unload_while_it_runs(instance: str) -> None:
    bench = Bench()
    made = load(bench, instance=instance)
    bench.core("turn", 10)
    number = bench.send("turn", FOREVER)
    bench.wait_for(number)
    bench.close()
    assert not made.closed
    bench.pool.cancel(number)
    with pytest.raises(Cancelled):
        raise wire.failure(bench.receive())
    _eventually(lambda: made.closed and not made.lent)
    assert bench.takeovers == 1


def test_an_unload_while_it_ends_well(instance: str) -> None:
    """The answer goes out, and then the plugin is closed."""
    bench = Bench()
    made = load(bench, instance=instance)
    bench.core("turn", 10)
    number = bench.send("turn", 20_000_000)
    bench.wait_for(number)
    bench.close()
    assert isinstance(bench.receive(), wire.Result)
    _eventually(lambda: made.closed and not made.lent)
    assert not bench.takeovers


def test_an_idle_plugin_is_unloaded_at_once(bench: Bench, instance: str) -> None:
    made = load(bench, instance=instance)
    assert bench.core("add", 1, 2) == 3 and made.lent
    bench.rest()
    bench.close()
    assert made.closed and not made.lent and not [one for one in kept._kept if one.plugin is made]
    load(bench)
    assert bench.core("add", 1, 2) == 3


def test_instances_are_had_back(bench: Bench) -> None:
    """What a line holds is there for others, and for who needs the memory."""
    made = load(bench)
    bench.core("add", 1, 2)
    bench.rest()
    held = kept.take(made)
    assert held is not None and not made.lent and kept.take(made) is None
    assert bench.result("add", 1, 2) == 3, "in another one"
    bench.rest()
    kept.give(held)
    bench.core("add", 1, 2)
    bench.rest()
    assert kept.drop(made) and not made.lent and not made.idle
    assert bench.core("add", 1, 2) == 3


def test_more_plugins_than_a_line_holds(bench: Bench) -> None:
    source = module(SOURCE)
    for number in range(1, 41):
        bench.plugins[number] = plugin(source, instance="persistent" if number % 3 == 0 else "fresh")
    for _ in range(2):
        for number in range(1, 41):
            assert bench.core("add", number, 1, plugin=number) == number + 1


def test_others_are_served_while_the_leader_is_in_a_call() -> None:
    bench = Bench(threads=2)
    load(bench)
    bench.core("turn", 10)
    long = bench.send("turn", FOREVER)
    bench.wait_for(long)
    for n in range(20):  # as they come by ZeroMQ
        call = wire.Call(1000 + n, 1, 0, "add", wire.Signed(-1), wire.Signed(-1), pack((ValueType.I32,) * 2, (n, n)))
        bench.pool.submit(Task(call, bench.plugins[1], None, None, (), bench.lifeline.post), 0)
        message = bench.receive()
        assert message.id == 1000 + n and unpack((ValueType.I32,), message.payload) == (2 * n,)
    bench.pool.cancel(long)
    assert isinstance(bench.receive(), wire.Failed)
    bench.close()


def test_a_task_for_the_leader_waits_for_no_call_of_its_own() -> None:
    """One thread: what was given to the pool while it was in the core comes next."""
    bench = Bench()
    load(bench)
    bench.core("turn", 10)
    bench.send("turn", 5_000_000)
    call = wire.Call(1000, 1, 0, "add", wire.Signed(-1), wire.Signed(-1), pack((ValueType.I32,) * 2, (1, 1)))
    bench.pool.submit(Task(call, bench.plugins[1], None, None, (), bench.lifeline.post), 0)
    assert {bench.receive().id, bench.receive().id} == {bench.ids, 1000}
    assert bench.core("add", 1, 2) == 3
    bench.close()


@pytest.mark.parametrize("change", ["longer", "shorter", "wide id", "wide time", "two", "parent", "kind"])
def test_only_the_exact_form_is_for_the_core(bench: Bench, change: str) -> None:
    """Anything else is read as ever, and answered or refused there."""
    load(bench)
    bench.core("add", 1, 2)
    before = bench.reads
    call = wire.Call(100, 1, 0, "add", wire.Signed(-1), wire.Signed(-1), pack((ValueType.I32,) * 2, (1, 2)))
    frame = wire.encode((call,))
    assert frame[:3] == b"\x98\x03\x64"
    changed = {
        "longer": wire.encode((call._replace(payload=bytes(24)),)), "shorter": wire.encode((call._replace(payload=bytes(8)),)),
        "wide id": frame[:2] + b"\xcd\x00\x64" + frame[3:], "wide time": wire.encode((call._replace(time_left_ns=0),)),
        "two": frame + wire.encode((call._replace(id=101),)), "parent": wire.encode((call._replace(parent=7),)),
        "kind": wire.encode((wire.Call(100, 1, 0, "add", wire.Signed(5), wire.Signed(-1), call.payload),)),
    }[change]  # fmt: skip
    bench.host.send(changed)
    answers = [bench.receive() for _ in range(2 if change == "two" else 1)]
    assert {answer.id for answer in answers} == ({100, 101} if change == "two" else {100})
    failed = change in ("longer", "shorter", "wide time")
    assert all(isinstance(answer, wire.Failed if failed else wire.Result) for answer in answers)
    assert bench.reads > before and not bench.takeovers
    assert bench.core("add", 1, 2) == 3


def test_descriptors_are_for_who_waits_for_them(bench: Bench) -> None:
    load(bench)
    bench.core("add", 1, 2)
    for number in range(50):
        with open(os.devnull) as file:
            socket.send_fds(bench.host, [wire.encode((wire.Descriptors("run", number, 1),))], [file.fileno()])
        (fd,) = bench.lifeline.take("run", number)
        os.close(fd)
        assert bench.result("add", number, 1) == number + 1


def _eventually(condition: Any) -> None:
    end = time.monotonic() + 60
    while not condition() and time.monotonic() < end:
        time.sleep(0.001)
    assert condition()


def test_a_wake_up_that_comes_in_two_halves_lets_the_leader_sleep_again(bench: Bench) -> None:
    """The flag was seen, and the descriptor is written to after that: it must not stay readable."""
    _eventually(lambda: bench.pool._leader is not None)
    assert bench.pool._leader is not None
    waker = bench.pool._leader.calls._waker
    os.eventfd_write(waker, 1)
    _eventually(lambda: not select.select([waker], [], [], 0)[0])
