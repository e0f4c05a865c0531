"""The router by itself: stimuli in, instructions out."""

from __future__ import annotations

from typing import Any

import pytest

from sandboxhost import errors, wire
from sandboxhost.limits import Limits
from sandboxhost.router import CallSpec, Emit, Finish, InvokeHost, Kill, Part, Plugin, Router, Send, SendDescriptors

A, B = b"worker-a", b"worker-b"


def ready(threads: int = 1, pid: int = 100) -> wire.Ready:
    return wire.Ready(pid, threads, b"\0" * 32, "none")


def result(call_id: int, payload: bytes = b"", fuel: int = 0) -> wire.Result:
    return wire.Result(call_id, fuel, 1000, 65536, payload)


class Bench:
    """A router with one plugin and a list of all instructions so far."""

    def __init__(self, workers: tuple[bytes, ...] = (A,), threads: int = 1, persistent: bool = False, **limits: Any) -> None:
        self.router = Router(grace=0.5, drain=2.0)
        self.seen: list[Any] = []
        self.router.add_plugin(Plugin(1, "one", b"options", Limits(**limits), persistent))
        for number, worker in enumerate(workers):
            self.router.worker_started(worker, 100 + number)
            self.do(self.router.received(worker, [ready(threads, 100 + number)], 0.0))

    def do(self, instructions: list[Any]) -> list[Any]:
        self.seen += instructions
        return instructions

    def submit(self, now: float = 0.0, **fields: Any) -> int:
        call_id, instructions = self.router.submit(CallSpec(fields.pop("plugin", 1), **fields), now)
        self.do(instructions)
        return call_id

    def sent(self, kind: type[Any], worker: bytes | None = None) -> list[Any]:
        sends = [item for item in self.seen if isinstance(item, Send) and worker in (None, item.worker)]
        return [message for item in sends for message in item.messages if isinstance(message, kind)]

    def outcomes(self) -> dict[int, Finish]:
        finished = [item for item in self.seen if isinstance(item, Finish)]
        assert len({item.call for item in finished}) == len(finished), "two outcomes for one call"
        return {item.call: item for item in finished}


def test_a_call_loads_the_plugin_first_and_ends_with_its_result() -> None:
    bench = Bench()
    call = bench.submit(function="add", payload=b"12345678")
    descriptors, send = bench.seen
    assert descriptors == SendDescriptors(A, "load", 1)
    load, written = send.messages
    assert (load.plugin, load.name, load.options) == (1, "one", b"options")
    assert written == wire.Call(call, 1, 0, "add", wire.Signed(-1), wire.Signed(-1), b"12345678")
    bench.do(bench.router.received(A, [wire.Loaded(load.id, 1), result(call, b"87654321", 7)], 0.1))
    finish = bench.outcomes()[call]
    assert finish.payload == b"87654321" and finish.error is None
    assert finish.usage == (7, 1000, 65536, 100)
    second = bench.submit(function="add")
    assert [type(m) for m in bench.seen[-1].messages] == [wire.Call] and bench.seen[-1].messages[0].id == second


def test_fuel_and_the_time_left_are_written() -> None:
    bench = Bench(fuel=99)
    bench.submit(now=10.0, deadline=12.5)
    (call,) = bench.sent(wire.Call)
    assert (call.fuel, call.time_left_ns) == (99, 2_500_000_000)


def test_calls_wait_for_a_free_thread_and_plugins_take_turns() -> None:
    bench = Bench(threads=1)
    bench.router.add_plugin(Plugin(2, "two", b"", Limits()))
    first, second, third = bench.submit(), bench.submit(), bench.submit()
    other = bench.submit(plugin=2)
    assert [c.id for c in bench.sent(wire.Call)] == [first]
    bench.do(bench.router.received(A, [result(first)], 1.0))
    bench.do(bench.router.received(A, [result(second)], 1.0))
    bench.do(bench.router.received(A, [result(other)], 1.0))
    assert [c.id for c in bench.sent(wire.Call)] == [first, second, other, third]


def test_calls_spread_over_workers_and_prefer_one_that_holds_the_plugin() -> None:
    bench = Bench(workers=(A, B))
    first = bench.submit()
    bench.do(bench.router.received(A, [result(first)], 0.0))
    second = bench.submit()
    third = bench.submit()
    assert [c.id for c in bench.sent(wire.Call, A)] == [first, second]
    assert [c.id for c in bench.sent(wire.Call, B)] == [third]
    assert len(bench.sent(wire.Load)) == 2


def test_a_batch_goes_out_as_one_frame() -> None:
    bench = Bench(threads=2)
    ids, instructions = bench.router.submit_many([CallSpec(1, batch=True) for _ in range(20)], 0.0)
    (send,) = [item for item in instructions if isinstance(item, Send)]
    assert [m.id for m in send.messages if isinstance(m, wire.Call)] == ids


def test_concurrency_of_a_plugin_is_bounded() -> None:
    bench = Bench(workers=(A, B), threads=4, concurrent_calls=2)
    ids = [bench.submit() for _ in range(3)]
    assert [c.id for c in bench.sent(wire.Call)] == ids[:2]


def test_a_persistent_plugin_stays_at_home_and_runs_in_order() -> None:
    bench = Bench(workers=(A, B), threads=2, persistent=True)
    first, second = bench.submit(), bench.submit()
    assert [c.id for c in bench.sent(wire.Call)] == [first]
    home = next(item.worker for item in bench.seen if isinstance(item, Send))
    bench.do(bench.router.received(home, [result(first)], 0.0))
    assert [c.id for c in bench.sent(wire.Call, home)] == [first, second]


def test_a_full_queue_refuses_and_accepts_nothing() -> None:
    bench = Bench(pending_calls=2)
    bench.submit()
    with pytest.raises(errors.Overloaded) as caught:
        bench.router.submit_many([CallSpec(1), CallSpec(1)], 0.0)
    assert caught.value.limit == "pending_calls" and caught.value.allowed == 2 and caught.value.retry_after > 0
    bench.submit()
    assert bench.router.counters().accepted == 2 and bench.router.counters().rejected == 2


def test_a_lost_worker_ends_its_calls_and_leaves_the_others_waiting() -> None:
    bench = Bench()
    first, second = bench.submit(), bench.submit()
    bench.do(bench.router.worker_lost(A, "killed by SIGKILL", 1.0))
    error = bench.outcomes()[first].error
    assert isinstance(error, errors.WorkerLost) and error.maybe_ran and error.reason == "killed by SIGKILL"
    assert error.plugin == "one" and second not in bench.outcomes()
    bench.router.worker_started(B, 101)
    bench.do(bench.router.received(B, [ready(pid=101)], 2.0))
    bench.do(bench.router.received(B, [result(second)], 2.0))
    assert bench.outcomes()[second].error is None


def test_what_was_never_written_is_retried_and_so_is_an_idempotent_call_once() -> None:
    bench = Bench()
    unwritten = bench.submit()
    bench.do(bench.router.unwritten(A, [unwritten], 0.0))
    bench.do(bench.router.worker_lost(A, "killed by SIGKILL", 0.0))
    assert not bench.outcomes()
    bench.router.worker_started(B, 101)
    bench.do(bench.router.received(B, [ready(2, 101)], 0.0))
    assert [c.id for c in bench.sent(wire.Call, B)] == [unwritten]
    repeatable = bench.submit(idempotent=True)
    bench.do(bench.router.worker_lost(B, "gone", 0.0))
    assert set(bench.outcomes()) == {unwritten}
    bench.router.worker_started(A, 102)
    bench.do(bench.router.received(A, [ready(1, 102)], 0.0))
    assert bench.sent(wire.Call, A)[-1].id == repeatable
    bench.do(bench.router.worker_lost(A, "gone", 0.0))
    assert isinstance(bench.outcomes()[repeatable].error, errors.WorkerLost)


def test_a_deadline_in_the_queue_ends_the_call_there() -> None:
    bench = Bench()
    bench.submit()
    waiting = bench.submit(deadline=1.0)
    assert bench.router.next_time() == 1.0
    bench.do(bench.router.tick(0.9))
    assert not bench.outcomes()
    bench.do(bench.router.tick(1.0))
    error = bench.outcomes()[waiting].error
    assert isinstance(error, errors.DeadlineExceeded) and isinstance(error, TimeoutError)
    assert waiting not in [c.id for c in bench.sent(wire.Call)]


def test_deadlines_of_calls_that_ended_in_time_do_not_pile_up() -> None:
    bench = Bench()
    for number in range(5000):
        call = bench.submit(deadline=30.0 + number)
        bench.do(bench.router.received(A, [result(call)], 0.0))
        bench.router.next_time()
    assert len(bench.router._timers) <= 1025 and bench.router.next_time() is None


def test_an_ignored_deadline_kills_the_worker_but_not_before_its_other_calls_had_their_chance() -> None:
    bench = Bench(threads=2)
    deaf, other = bench.submit(deadline=1.0), bench.submit()
    bench.do(bench.router.tick(1.0))
    assert not bench.outcomes() and bench.router.next_time() == 1.5
    bench.do(bench.router.tick(1.5))
    assert isinstance(bench.outcomes()[deaf].error, errors.DeadlineExceeded)
    assert not [i for i in bench.seen if isinstance(i, Kill)]
    third = bench.submit(now=1.6)
    assert third not in [c.id for c in bench.sent(wire.Call)], "no further calls for a worker that is to be killed"
    bench.do(bench.router.received(A, [result(other)], 1.7))
    assert bench.outcomes()[other].error is None
    bench.do(bench.router.tick(1.7))
    assert [i.worker for i in bench.seen if isinstance(i, Kill)] == [A]


def test_the_drain_time_is_bounded() -> None:
    bench = Bench(threads=2)
    bench.submit(deadline=1.0)
    other = bench.submit()
    for now in (1.0, 1.5, 3.4):
        bench.do(bench.router.tick(now))
    assert not [i for i in bench.seen if isinstance(i, Kill)] and bench.router.next_time() == 3.5
    bench.do(bench.router.tick(3.5))
    assert [i.worker for i in bench.seen if isinstance(i, Kill)] == [A]
    bench.do(bench.router.worker_lost(A, "killed", 3.6))
    assert isinstance(bench.outcomes()[other].error, errors.WorkerLost)


def test_cancel_in_the_queue_in_flight_and_afterwards() -> None:
    bench = Bench()
    running, waiting = bench.submit(), bench.submit()
    bench.do(bench.router.cancel(waiting, 0.0))
    assert isinstance(bench.outcomes()[waiting].error, errors.Cancelled)
    bench.do(bench.router.cancel(running, 0.0))
    assert [m.id for m in bench.sent(wire.Cancel)] == [running] and running not in bench.outcomes()
    bench.do(bench.router.received(A, [wire.failed(running, errors.Cancelled("cancelled"))], 0.1))
    assert isinstance(bench.outcomes()[running].error, errors.Cancelled)
    assert bench.router.cancel(running, 0.2) == []


def test_a_result_that_was_faster_than_the_cancellation_counts() -> None:
    bench = Bench()
    call = bench.submit()
    bench.do(bench.router.cancel(call, 0.0))
    bench.do(bench.router.received(A, [result(call, b"x" * 8)], 0.1))
    assert bench.outcomes()[call].payload == b"x" * 8


def test_duplicate_frames_late_replies_are_counted_once_each() -> None:
    bench = Bench(threads=2)
    call = bench.submit(deadline=1.0)
    bench.do(bench.router.tick(1.0))
    bench.do(bench.router.tick(1.5))
    bench.router.workers[A].state = "ready"
    bench.do(bench.router.received(A, [result(call)], 1.6))
    assert bench.router.counters().late_replies == 1
    bench.do(bench.router.received(A, [result(call)], 1.7))
    assert [type(i) for i in bench.seen][-1] is Kill and bench.router.counters().protocol_errors == 1


def test_foreign_id_frames_a_worker_answers_its_own_calls_only() -> None:
    bench = Bench(workers=(A, B))
    mine, foreign = bench.submit(), bench.submit()
    thief = A if foreign in [c.id for c in bench.sent(wire.Call, B)] else B
    bench.do(bench.router.received(thief, [result(foreign)], 0.0))
    kill = bench.seen[-1]
    assert isinstance(kill, Kill) and kill.worker == thief and "not in flight" in kill.reason
    assert foreign not in bench.outcomes()
    bench.do(bench.router.worker_lost(thief, kill.reason, 0.0))
    assert isinstance(bench.outcomes()[mine].error, errors.WorkerLost) and foreign not in bench.outcomes()


@pytest.mark.parametrize(
    "message",
    [
        result(99),
        wire.Loaded(99, 1),
        wire.HostCall(99, 1, 0, b""),
        wire.Output(99, 1, b"x"),
        ready(),
        wire.Failed(1, "no-such-code", "", b"\x80", 0, 0, 0),
        wire.Failed(1, "trap", "", b"\xc1", 0, 0, 0),
    ],
)
def test_unknown_id_frames_and_what_no_worker_may_say_get_it_killed(message: Any) -> None:
    bench = Bench()
    bench.submit()
    bench.do(bench.router.received(A, [message], 0.0))
    assert isinstance(bench.seen[-1], Kill)
    assert bench.router.received(A, [result(1)], 0.0) == [], "what it says after that is not heard"


def test_a_failed_load_ends_every_call_that_came_with_it() -> None:
    bench = Bench(threads=2)
    calls = [bench.submit(), bench.submit()]
    load = bench.sent(wire.Load)[0]
    bench.do(bench.router.received(A, [wire.failed(load.id, errors.LinkError('unknown import: "a"."b"'))], 0.0))
    assert all(isinstance(bench.outcomes()[call].error, errors.LinkError) for call in calls)
    late = [wire.failed(call, errors.UnknownFunction("plugin 1 is not loaded")) for call in calls]
    bench.do(bench.router.received(A, late, 0.1))
    assert bench.router.counters().late_replies == 2
    bench.submit()
    assert len(bench.sent(wire.Load)) == 2


def test_a_load_that_is_waited_for_ends_like_a_call() -> None:
    bench = Bench()
    good = bench.submit(kind="load")
    bench.do(bench.router.received(A, [wire.Loaded(good, 1)], 0.0))
    assert bench.outcomes()[good].error is None
    again = bench.submit(kind="load")
    assert bench.outcomes()[again].error is None


def test_a_load_needs_no_free_thread() -> None:
    bench = Bench()
    busy = bench.submit()
    bench.router.add_plugin(Plugin(2, "two", b"", Limits()))
    load = bench.submit(plugin=2, kind="load")
    assert [m.id for m in bench.sent(wire.Load)][-1] == load
    bench.do(bench.router.received(A, [wire.Loaded(load, 2), result(busy)], 0.0))
    assert set(bench.outcomes()) == {busy, load} and bench.router.workers[A].busy == 0


def test_host_functions_travel_and_are_bounded() -> None:
    bench = Bench(host_calls=1)
    call = bench.submit()
    bench.do(bench.router.received(A, [wire.HostCall(call, 1, 3, b"args")], 0.0))
    assert bench.seen[-1] == InvokeHost(call, 1, 3, b"args")
    bench.do(bench.router.host_result(call, 1, True, b"back", 0.0))
    assert bench.sent(wire.HostResult) == [wire.HostResult(call, 1, True, b"back")]
    bench.do(bench.router.received(A, [wire.HostCall(call, 2, 3, b"args")], 0.0))
    error = bench.outcomes()[call].error
    assert isinstance(error, errors.LimitExceeded) and error.limit == "host_calls"
    assert bench.sent(wire.HostResult)[-1].ok is False and bench.sent(wire.Cancel)


def test_a_nested_call_goes_to_its_parents_worker_though_no_thread_is_free() -> None:
    bench = Bench(workers=(A,), threads=1)
    outer = bench.submit()
    bench.do(bench.router.received(A, [wire.HostCall(outer, 1, 0, b"")], 0.0))
    inner = bench.submit(parent=outer)
    assert bench.sent(wire.Call)[-1].id == inner and bench.sent(wire.Call)[-1].parent == outer
    bench.do(bench.router.received(A, [result(inner)], 0.0))
    bench.do(bench.router.host_result(outer, 1, True, b"", 0.0))
    bench.do(bench.router.received(A, [result(outer)], 0.0))
    assert set(bench.outcomes()) == {outer, inner}
    assert bench.router.workers[A].busy == 0 and bench.router.workers[A].threadless == 0


def test_output_is_passed_on_and_bounded() -> None:
    bench = Bench(output_bytes=4)
    call = bench.submit()
    bench.do(bench.router.received(A, [wire.Output(call, 2, b"abcd")], 0.0))
    assert bench.seen[-1] == Emit(call, 2, b"abcd")
    bench.do(bench.router.received(A, [wire.Output(call, 1, b"e")], 0.0))
    assert isinstance(bench.seen[-1], Kill)


def test_results_larger_than_allowed() -> None:
    bench = Bench(result_bytes=8)
    call = bench.submit()
    bench.do(bench.router.received(A, [result(call, bytes(9))], 0.0))
    assert isinstance(bench.outcomes()[call].error, errors.PayloadTooLarge)


def test_unload_cancels_what_waits_and_drops_the_plugin_with_the_last_call() -> None:
    bench = Bench()
    running, waiting = bench.submit(), bench.submit()
    bench.do(bench.router.remove_plugin(1, 0.0))
    assert isinstance(bench.outcomes()[waiting].error, errors.Cancelled) and not bench.sent(wire.Unload)
    with pytest.raises(errors.UnknownFunction):
        bench.submit()
    bench.do(bench.router.received(A, [result(running)], 0.0))
    assert bench.sent(wire.Unload) == [wire.Unload(1)] and 1 not in bench.router.plugins


def test_close_ends_everything_and_refuses_more() -> None:
    bench = Bench()
    calls = [bench.submit(), bench.submit()]
    bench.do(bench.router.close(0.0))
    assert all(isinstance(bench.outcomes()[call].error, errors.HostClosed) for call in calls)
    assert bench.sent(wire.Stop)
    with pytest.raises(errors.HostClosed):
        bench.submit()


def test_without_workers_calls_end_with_the_reason() -> None:
    bench = Bench(workers=())
    call = bench.submit()
    bench.do(bench.router.no_workers("3 workers in a row ended", 0.0))
    assert isinstance(bench.outcomes()[call].error, errors.WorkerStartError)
    with pytest.raises(errors.WorkerStartError, match="in a row"):
        bench.submit()


def lined(**limits: Any) -> Bench:
    """A router whose worker has a line and holds the plugin."""
    bench = Bench(workers=(), **limits)
    bench.router.worker_started(A, 100, line=True)
    bench.do(bench.router.received(A, [ready()], 0.0))
    assert bench.router.begin(CallSpec(1), 0.0) is None, "the plugin is not there yet"
    load = bench.submit(kind="load")
    bench.do(bench.router.received(A, [wire.Loaded(load, 1)], 0.0))
    return bench


def test_the_short_way_there_and_back() -> None:
    bench = lined(fuel=5)
    begun = bench.router.begin(CallSpec(1, function="add", payload=b"12345678", deadline=3.0), 1.0)
    assert begun is not None
    worker, call = begun
    assert worker == A and call == wire.Call(call.id, 1, 0, "add", wire.Signed(5), wire.Signed(2 * 10**9), b"12345678")
    assert bench.router.begin(CallSpec(1), 1.0) is None, "the worker is not idle"
    finish = bench.router.complete(A, call.id, result(call.id, b"87654321", 7), 0.0)
    assert finish is not None and finish.payload == b"87654321" and finish.usage == (7, 1000, 65536, 100)
    assert bench.router.complete(A, call.id, result(call.id), 0.0) is None
    bench.do(bench.router.received(A, [result(call.id)], 1.0))
    assert isinstance(bench.seen[-1], Kill), "it answered twice"


def test_the_short_way_is_refused_what_submit_would_refuse_or_queue() -> None:
    bench = lined(pending_calls=1)
    for spec in (CallSpec(9), CallSpec(1, parent=7), CallSpec(1, payload=bytes(2**20))):
        assert bench.router.begin(spec, 0.0) is None
    call = bench.submit()
    assert bench.router.begin(CallSpec(1), 0.0) is None
    bench.do(bench.router.received(A, [result(call)], 0.0))
    begun = bench.router.begin(CallSpec(1), 0.0)
    assert begun is not None
    with pytest.raises(errors.Overloaded):
        bench.submit()
    bench.do(bench.router.close(0.0))
    assert bench.router.begin(CallSpec(1), 0.0) is None
    assert isinstance(bench.outcomes()[begun[1].id].error, errors.HostClosed)


def test_the_short_way_back_is_not_for_others_calls_or_late_ones() -> None:
    bench = lined(result_bytes=8, output_bytes=100)
    begun = bench.router.begin(CallSpec(1), 0.0)
    assert begun is not None
    call = begun[1].id
    assert bench.router.complete(B, call, result(call), 0.0) is None
    assert bench.router.complete(A, call, result(call + 1), 0.0) is None
    assert bench.router.complete(A, call, result(call, bytes(9)), 0.0) is None
    assert bench.router.complete(A, call, result(call), 0.0, output=101) is None
    waiting = bench.submit()
    assert bench.router.complete(A, call, result(call), 0.0) is None, "something waits for the worker: dispatch is needed"
    bench.do(bench.router.received(A, [result(call)], 0.0))
    assert bench.sent(wire.Call)[-1].id == waiting


def rows_of(bench: Bench, rows: int = 4, **fields: Any) -> int:
    return bench.submit(kind="rows", payload=bytes(8 * rows), rows=rows, row_bytes=4, batch=True, **fields)


def part(call_id: int, first: int, rows: int) -> wire.RowResults:
    return wire.RowResults(call_id, first, rows, bytes(4 * rows))


def row_failed(call_id: int, row: int) -> wire.RowFailed:
    failed = wire.failed(call_id, errors.Trap("unreachable", cause="unreachable"))
    return wire.RowFailed(call_id, row, failed.code, failed.text, failed.detail)


def test_a_call_of_rows_counts_as_that_many_calls() -> None:
    bench = Bench(fuel=9, pending_calls=5)
    call = rows_of(bench, deadline=2.0)
    assert bench.sent(wire.CallRows) == [wire.CallRows(call, 1, "", 4, False, wire.Signed(9), wire.Signed(2 * 10**9), bytes(32))]
    with pytest.raises(errors.Overloaded):
        rows_of(bench, rows=2)
    bench.do(bench.router.received(A, [part(call, 0, 3), row_failed(call, 3), result(call)], 0.0))
    parts = [item for item in bench.seen if isinstance(item, Part)]
    assert [(item.first, item.rows, item.error is None) for item in parts] == [(0, 3, True), (3, 1, False)]
    assert bench.outcomes()[call].error is None
    counters = bench.router.counters()
    assert (counters.accepted, counters.ended, counters.rejected) == (4, 4, 2) and bench.router.plugins[1].pending == 0


@pytest.mark.parametrize(
    "messages",
    [
        lambda c: [result(c)],
        lambda c: [part(c, 0, 3), result(c)],
        lambda c: [part(c, 1, 1)],
        lambda c: [part(c, 0, 5)],
        lambda c: [part(c, 0, 0)],
        lambda c: [part(c, 0, 2), part(c, 0, 2)],
        lambda c: [part(c, 0, 2)._replace(payload=bytes(9))],
        lambda c: [part(c, 0, 1)._replace(rows=2**62)],
        lambda c: [row_failed(c, 4)],
        lambda c: [row_failed(c, 0), row_failed(c, 0)],
        lambda c: [row_failed(c, 0)._replace(detail=b"\xc1")],
        lambda c: [part(c, 0, 4), result(c, b"12345678")],
        lambda c: [part(c + 1, 0, 1)],
    ],
)
def test_hostile_answers_to_rows(messages: Any) -> None:
    """The worker is killed, and every row has one outcome."""
    bench = Bench()
    call = rows_of(bench)
    bench.do(bench.router.received(A, messages(call), 0.0))
    assert isinstance(bench.seen[-1], Kill)
    bench.do(bench.router.worker_lost(A, "killed", 0.0))
    assert isinstance(bench.outcomes()[call].error, errors.WorkerLost)
    assert bench.router.counters().ended == 4


def test_rows_in_answer_to_a_plain_call_and_behind_a_failure() -> None:
    bench = Bench()
    call = bench.submit()
    bench.do(bench.router.received(A, [part(call, 0, 1)], 0.0))
    assert isinstance(bench.seen[-1], Kill)
    bench = Bench()
    call = rows_of(bench, stop=True)
    bench.do(bench.router.received(A, [row_failed(call, 0), part(call, 1, 1)], 0.0))
    assert isinstance(bench.seen[-1], Kill)
    bench = Bench()
    call = rows_of(bench, stop=True)
    bench.do(bench.router.received(A, [row_failed(call, 0), result(call)], 0.0))
    assert bench.outcomes()[call].error is None


def test_rows_that_had_their_outcome_are_not_sent_again() -> None:
    bench = Bench(workers=(A, B))
    call = bench.submit(kind="rows", payload=b"".join(bytes([n] * 8) for n in range(4)), rows=4, row_bytes=4, idempotent=True)
    (first,) = [item.worker for item in bench.seen if isinstance(item, Send)]
    bench.do(bench.router.received(first, [part(call, 0, 1), row_failed(call, 1)], 0.0))
    bench.do(bench.router.worker_lost(first, "killed", 0.0))
    again = bench.sent(wire.CallRows)[-1]
    assert (again.rows, again.payload) == (2, bytes([2] * 8 + [3] * 8))
    other = B if first == A else A
    bench.do(bench.router.received(other, [part(call, 0, 2), result(call)], 0.0))
    assert bench.outcomes()[call].error is None
    assert [item.first for item in bench.seen if isinstance(item, Part)] == [0, 1, 2]
