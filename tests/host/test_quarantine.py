"""Who is blamed for a lost worker, what a plugin in quarantine is told, what the watch finds, and the rules' own checks."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandboxhost import errors
from sandboxhost.domains import DEFAULT, Domain
from sandboxhost.errors import Loss, ManifestError
from sandboxhost.limits import Limits
from sandboxhost.quarantine import Quarantine, Verdict
from sandboxhost.router import CallSpec, Plugin, Router
from sandboxhost.router_state import Kill, Note
from sandboxhost.supervision import Supervision
from sandboxhost.watch import Finding, Look, Watch

from .test_router import A, B, Bench, ready, result

CRASH = Loss.CRASH


def test_three_losses_within_the_time_and_not_two_or_three_in_a_longer_time() -> None:
    judge = Quarantine(3, 60.0)
    assert judge.lost({1}, CRASH, 0.0) == judge.lost({1}, CRASH, 59.0) == Verdict()
    assert judge.lost({1}, CRASH, 61.0) == Verdict(), "the first one is forgotten"
    assert judge.lost({1}, CRASH, 100.0) == Verdict(quarantined=(1,)) and judge.marks(1) == 3


@pytest.mark.parametrize("kind", Loss)
def test_each_kind_counts_but_what_the_host_did_for_reasons_of_its_own(kind: Loss) -> None:
    judge = Quarantine(1, 60.0)
    assert judge.lost({1}, kind, 0.0) == (Verdict() if kind is Loss.HOST else Verdict(quarantined=(1,)))
    assert judge.lost(set(), kind, 0.0) == Verdict(), "nobody had a call there"
    assert Quarantine(None, 60.0).lost({1}, kind, 0.0) == Verdict(), "switched off"


def test_an_escape_attempt_is_enough_when_there_is_no_doubt_whose() -> None:
    judge = Quarantine(3, 60.0)
    assert judge.lost({1, 2}, Loss.ESCAPE, 0.0) == Verdict(suspects=(1, 2))
    assert judge.lost({2}, Loss.ESCAPE, 1.0) == Verdict(quarantined=(2,))


def test_the_neighbour_of_a_plugin_that_kills_is_suspected_and_then_cleared() -> None:
    judge = Quarantine(3, 60.0)
    assert judge.lost({1, 2}, CRASH, 0.0) == Verdict(suspects=(1, 2))
    assert judge.lost({1}, CRASH, 10.0) == Verdict()
    assert judge.lost({1}, CRASH, 20.0) == Verdict(quarantined=(1,)), "the shared one counts, once it is known whose it was"
    assert judge.cleared(59.9) == () and judge.suspects()
    assert 2 in judge.cleared(60.0) and judge.cleared(1e9) == (1,) and not judge.suspects()


@given(st.lists(st.tuples(st.sets(st.integers(1, 4), max_size=3), st.floats(0.0, 30.0)), max_size=60))
def test_nobody_is_quarantined_by_losses_that_were_all_shared(losses: list[tuple[set[int], float]]) -> None:
    judge, now = Quarantine(3, 60.0), 0.0
    for neighbours, seconds in losses:
        now += seconds
        assert not judge.lost({9} | neighbours, CRASH, now).quarantined or not neighbours


# ---- in the router


class Court(Bench):
    """Two plugins of the default domain on workers of two threads, and quarantine."""

    def __init__(self, losses: int | None = 3, **fields: Any) -> None:
        super().__init__(workers=(), threads=2)
        self.router = Router(grace=0.5, drain=2.0, quarantine=Quarantine(losses, 60.0))
        self.router.add_plugin(Plugin(1, "one", b"", Limits(), **fields))
        self.router.add_plugin(Plugin(2, "two", b"", Limits()))
        self.number = 0

    def worker(self, domain: Domain = DEFAULT, now: float = 0.0) -> bytes:
        self.number += 1
        id_ = b"worker-%d" % self.number
        self.router.worker_started(id_, self.number, domain=domain)
        self.do(self.router.received(id_, [ready(2)], now))
        return id_

    def lose(self, worker: bytes, kind: Loss = CRASH, now: float = 0.0) -> None:
        self.do(self.router.worker_lost(worker, "killed by SIGSEGV", now, kind))

    def domain(self, plugin: int) -> Domain:
        return self.router.plugins[plugin].domain


def test_a_plugin_in_quarantine_is_refused_until_it_is_loaded_anew() -> None:
    court = Court(losses=2)
    for _ in range(2):
        worker = court.worker()
        running = court.submit(function="f")
        court.lose(worker)
        assert isinstance(court.outcomes()[running].error, errors.WorkerLost)
    with pytest.raises(errors.Quarantined, match="one is quarantined until it is loaded anew: 2 workers lost") as caught:
        court.submit(function="f")
    assert (caught.value.plugin, caught.value.function, caught.value.kind, caught.value.losses) == ("one", "f", CRASH, 2)
    assert court.router.begin(CallSpec(1), 0.0) is None
    assert [item for item in court.seen if isinstance(item, Note)]
    court.worker()
    other = court.submit(plugin=2)
    assert other in court.router.workers[b"worker-3"].calls, "others go on"
    court.do(court.router.remove_plugin(1, 0.0))
    court.router.add_plugin(Plugin(3, "one", b"", Limits()))
    court.submit(plugin=3)


def test_what_waits_is_refused_and_what_runs_elsewhere_ends_as_usual() -> None:
    court = Court(losses=1)
    first, second = court.worker(), court.worker()
    calls = [court.submit(function="f", idempotent=True) for _ in range(6)]
    here, there = list(court.router.workers[first].calls), list(court.router.workers[second].calls)
    court.lose(first)
    outcomes = court.outcomes()
    assert all(isinstance(outcomes[call].error, errors.WorkerLost) for call in here), "not even an idempotent one is repeated"
    assert {type(outcomes[call].error) for call in set(calls) - {*here, *there}} == {errors.Quarantined}
    court.do(court.router.received(second, [result(call) for call in there], 0.0))
    assert all(court.outcomes()[call].error is None for call in there)


def test_only_who_had_a_call_there_is_marked() -> None:
    court = Court(losses=1)
    mine = court.worker()
    call = court.submit(plugin=2)
    court.do(court.router.received(mine, [result(call)], 0.0))
    court.submit()
    court.lose(mine)
    assert court.router.plugins[1].quarantined and not court.router.plugins[2].quarantined


def test_a_deadline_that_was_ignored_is_the_fault_of_that_call_alone() -> None:
    court = Court(losses=1)
    worker = court.worker()
    court.submit(deadline=1.0)
    court.submit(plugin=2)
    for now in (1.0, 1.5, 3.5):
        court.do(court.router.tick(now))
    (kill,) = [item for item in court.seen if isinstance(item, Kill)]
    assert kill.kind is Loss.DEADLINE
    court.lose(worker, kill.kind, 3.6)
    assert court.router.plugins[1].quarantined and not court.router.plugins[2].quarantined
    assert court.domain(2) == DEFAULT, "nor is the other one suspected"


def test_a_call_that_ended_here_but_may_still_run_there_is_suspected_too() -> None:
    court = Court(losses=3)
    worker = court.worker()
    deaf = court.submit(deadline=1.0)
    court.submit(plugin=2)
    for now in (1.0, 1.5):
        court.do(court.router.tick(now))
    assert deaf in court.outcomes()
    court.lose(worker, CRASH, 1.6)
    assert court.domain(1).plugin == 1 and court.domain(2).plugin == 2


def test_suspects_run_alone_until_they_are_cleared() -> None:
    court = Court()
    shared = court.worker()
    court.submit(plugin=1)
    court.submit(plugin=2)
    other = court.worker()
    court.lose(shared)
    assert court.domain(1) == DEFAULT.alone(1) and court.domain(2) == DEFAULT.alone(2)
    waiting = court.submit(plugin=2)
    assert not court.router.workers[other].calls, "a worker that others use is not for it now"
    own = court.worker(DEFAULT.alone(2))
    assert waiting in court.router.workers[own].calls
    assert court.router.domains() == {DEFAULT, DEFAULT.alone(1), DEFAULT.alone(2)}
    court.do(court.router.received(own, [result(waiting)], 1.0))
    court.do(court.router.tick(59.0))
    assert court.domain(2) == DEFAULT.alone(2)
    court.do(court.router.tick(60.0))
    assert court.domain(1) == court.domain(2) == DEFAULT
    assert court.router.domains() == {DEFAULT}
    back = court.submit(plugin=2, now=61.0)
    assert back in court.router.workers[other].calls


def test_a_nested_call_into_another_domain_does_not_go_to_its_makers_worker_but_back_again_it_does() -> None:
    court = Court(domain=Domain("a"))
    mine, others = court.worker(Domain("a")), court.worker()
    outer = court.submit(plugin=1)
    assert outer in court.router.workers[mine].calls
    middle = court.submit(plugin=2, parent=outer)
    assert middle in court.router.workers[others].calls and court.router.calls[middle].spec.parent == 0
    court.submit(plugin=1)
    inner = court.submit(plugin=1, parent=middle)
    assert inner in court.router.workers[mine].calls, "though no thread is free there: it runs on top of the one that waits"
    assert court.router.calls[inner].spec.parent == outer


def test_no_call_waits_for_a_domain_that_cannot_have_workers_and_others_do_not_notice() -> None:
    court = Court(domain=Domain("a"))
    waiting, other = court.submit(plugin=1), court.submit(plugin=2)
    court.do(court.router.no_workers("it does not boot", 0.0, Domain("a")))
    assert isinstance(court.outcomes()[waiting].error, errors.WorkerStartError) and other not in court.outcomes()
    with pytest.raises(errors.WorkerStartError, match="it does not boot"):
        court.submit(plugin=1)
    worker = court.worker()
    assert other in court.router.workers[worker].calls
    court.do(court.router.remove_plugin(1, 0.0))
    assert court.router.failures == {}


# ---- persistent instances


def test_the_loss_of_an_instance_is_told_once_to_the_call_that_ran() -> None:
    bench = Bench(persistent=True)
    call, waiting = bench.submit(), bench.submit()
    bench.do(bench.router.worker_lost(A, "killed by SIGKILL", 0.0))
    error = bench.outcomes()[call].error
    assert isinstance(error, errors.WorkerLost) and error.instance_lost and error.maybe_ran
    assert waiting not in bench.outcomes(), "the next one begins anew, knowingly"


@pytest.mark.parametrize("queued", [False, True])
def test_or_to_the_next_one(queued: bool) -> None:
    bench = Bench(persistent=True)
    first = bench.submit()
    bench.do(bench.router.received(A, [result(first)], 0.0))
    if queued:
        bench.router.workers[A].state = "draining"
        waiting = bench.submit()
    bench.do(bench.router.worker_lost(A, "killed by SIGKILL", 0.0, Loss.KILLED))
    if queued:
        error: Any = bench.outcomes()[waiting].error
    else:
        with pytest.raises(errors.WorkerLost) as caught:
            bench.submit(function="g")
        error = caught.value
        assert error.function == "g"
    assert error.instance_lost and not error.maybe_ran and error.kind is Loss.KILLED
    bench.router.worker_started(B, 101)
    bench.do(bench.router.received(B, [ready(pid=101)], 0.0))
    assert bench.submit() in bench.router.workers[B].calls


def test_no_instance_no_loss() -> None:
    bench = Bench(persistent=True)
    load = bench.submit(kind="load")
    bench.do(bench.router.worker_lost(A, "gone", 0.0))
    error = bench.outcomes()[load].error
    assert isinstance(error, errors.WorkerLost) and not error.instance_lost
    bench.submit()


# ---- recycling


def test_a_worker_that_is_recycled_ends_its_calls_gets_no_more_and_is_killed_for_no_fault() -> None:
    bench = Bench(workers=(A, B))
    call = bench.submit()
    (busy,) = [w for w in (A, B) if bench.router.workers[w].calls]
    assert not bench.do(bench.router.drain_worker(busy, "recycled after 5 calls", 0.0)) and bench.router.next_time() is None
    second, third = bench.submit(), bench.submit()
    assert {second, third} & set(bench.router.workers[busy].calls) == set()
    bench.do(bench.router.received(busy, [result(call)], 0.0))
    assert bench.router.next_time() == 0.0, "now"
    assert Kill(busy, "recycled after 5 calls", Loss.HOST) in bench.router.tick(1.0)


# ---- the watch


def seen(**fields: Any) -> Look:
    return Look(**{"id": b"w", "stopped": False, "resident": 100, "age": 1.0, "calls": 1, "pinned": False, **fields})


@pytest.mark.parametrize(
    ("rules", "look", "finding"),
    [
        ({}, {}, None),
        ({}, {"stopped": True}, ("it was stopped (SIGSTOP)", Loss.STOPPED)),
        ({"resident": 99}, {}, ("100 bytes of resident memory, 99 are allowed", Loss.MEMORY)),
        ({"resident": 100}, {}, None),
        ({"resident": None}, {"resident": 1 << 60}, None),
        ({"recycle_seconds": 1.0}, {}, ("recycled after 1 s", None)),
        ({"recycle_seconds": 1.5}, {}, None),
        ({"recycle_calls": 1}, {}, ("recycled after 1 calls", None)),
        ({"recycle_calls": 1}, {"pinned": True}, None),
        ({"recycle_calls": 1, "resident": 1}, {"pinned": True}, ("100 bytes of resident memory, 1 are allowed", Loss.MEMORY)),
    ],
)  # fmt: skip
def test_what_the_watch_finds(rules: dict[str, Any], look: dict[str, Any], finding: tuple[str, Loss | None] | None) -> None:
    found = Watch(Supervision(**rules), 0.0).judge([seen(**look)], False, 0.0)
    assert found == ([Finding(b"w", *finding)] if finding else [])


def test_growth_is_counted_from_the_first_look() -> None:
    watch = Watch(Supervision(recycle_growth="1KiB"), 0.0)
    assert watch.judge([seen(resident=5000)], False, 0.0) == watch.judge([seen(resident=6023)], False, 1.0) == []
    (found,) = watch.judge([seen(resident=6024)], False, 2.0)
    assert found.kind is None and found.why == "recycled after it had grown by 1024 bytes"
    assert watch.judge([], False, 3.0) == [] and watch.judge([seen(resident=9000)], False, 4.0) == [], "another worker of that id"


def test_how_often_it_looks() -> None:
    watch = Watch(Supervision(watch_seconds=0.25), 10.0)
    assert watch.due(10.0) and watch.next_time() == 10.0
    watch.judge([], True, 10.0)
    assert watch.next_time() == 10.25 and not watch.due(10.2)
    watch.judge([], False, 10.25)
    assert watch.next_time() == 11.25
    never = Watch(Supervision(watch_seconds=None), 0.0)
    assert not never.due(1e9) and never.next_time() is None


# ---- the rules


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("spares", -1), ("spares", 1.5), ("spares", True), ("spares", None), ("quarantine_losses", 0),
        ("quarantine_seconds", -1.0), ("quarantine_seconds", float("nan")),
        ("watch_seconds", 0.0), ("watch_seconds", "soon"), ("resident", "much"),
        ("resident", -1), ("recycle_calls", 0), ("recycle_seconds", float("inf")), ("boot_attempts", 0), ("max_backoff", 1e10),
    ],
)  # fmt: skip
def test_rules_out_of_range_are_refused_and_named(field: str, value: Any) -> None:
    with pytest.raises(ManifestError, match=field) as caught:
        Supervision(**{field: value})
    assert caught.value.key == field


def test_rules_are_values() -> None:
    assert Supervision() == Supervision(spares=1, resident="4GiB") and Supervision(resident="1KiB").resident == 1024
    assert Supervision().replace(spares=2) == Supervision(spares=2) != Supervision()
    with pytest.raises(AttributeError):
        Supervision().spares = 3  # type: ignore[misc]
