"""How many workers there are, when they are replaced, and which spare goes where; without a process."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from sandboxhost.domains import DEFAULT, Directory, Domain, domain_of
from sandboxhost.pools import SETTLE, Assign, Drain, End, Pools, Start
from sandboxhost.supervision import Supervision

B = Domain("b")


class Bench:
    """Pools, and a driver that does at once what they say; `hold` keeps processes from becoming warm or ready."""

    def __init__(self, size: int = 2, chance: float = 1.0, **rules: Any) -> None:
        self.now = 100.0
        self.pools = Pools(size, Supervision(**rules), self.now, lambda: chance)
        self.seen: list[Any] = []
        self.number = 0

    def do(self, ready: bool = True) -> list[Any]:
        """Until there is nothing more to do now."""
        new: list[Any] = []
        while self.pools.due(self.now) and (actions := self.pools.decide(self.now)):
            new += actions
            for action in actions:
                if isinstance(action, Start):
                    self.number += 1
                    id_ = b"%d" % self.number
                    self.pools.started(id_, action.domain, self.now)
                    if ready:
                        (self.pools.warm if action.domain is None else self.up)(id_)
                elif isinstance(action, Assign) and ready:
                    self.up(action.id)
        self.seen += new
        return new

    def up(self, id_: bytes) -> None:
        self.pools.ready(id_, self.now)

    def settle(self) -> None:
        self.do()
        self.now += SETTLE
        self.do()

    def lose(self, id_: bytes, signalled: bool = True) -> list[Any]:
        self.pools.lost(id_, "it said why", signalled, self.now)
        return self.do()

    def of(self, domain: Domain | None) -> list[bytes]:
        return [m.id for m in self.pools.members.values() if m.domain == domain and m.wanted]


def test_the_default_domain_is_there_at_once_and_a_spare_when_all_are_ready_and_some_time_has_passed() -> None:
    bench = Bench(size=3)
    assert bench.do(ready=False) == [Start(DEFAULT)] * 3
    bench.now += SETTLE
    assert bench.do() == [], "workers that start come first"
    for id_ in bench.of(DEFAULT):
        bench.up(id_)
    assert bench.do(ready=False) == [Start(None)] and bench.pools.spares() == 0
    bench.pools.warm(bench.of(None)[0])
    assert bench.pools.spares() == 1 and bench.do() == []
    assert bench.pools.next_time() is None, "nothing to wait for"


def test_a_lost_worker_is_replaced_by_the_spare_at_once_and_the_time_is_kept() -> None:
    bench = Bench()
    bench.settle()
    (spare,) = bench.of(None)
    victim = bench.of(DEFAULT)[0]
    bench.pools.lost(victim, "", True, bench.now)
    assert bench.do(ready=False) == [Assign(spare, DEFAULT)], "another spare is not started while the replacement boots"
    bench.now += 0.25
    bench.up(spare)
    assert bench.do() == [Start(None)]
    assert list(bench.pools.replacements) == [0.25] and bench.pools.lost_workers == 1


def test_a_spare_that_is_not_warm_yet_is_still_further_than_a_new_process() -> None:
    bench = Bench(size=1, spares=2)
    bench.do()
    bench.now += SETTLE
    bench.do(ready=False)
    first, second = bench.of(None)
    bench.pools.warm(second)
    bench.pools.lost(bench.of(DEFAULT)[0], "", True, bench.now)
    assert bench.do(ready=False) == [Assign(second, DEFAULT)], "a warm one is taken before a cold one"
    bench.pools.lost(second, "", True, bench.now)
    assert bench.do(ready=False) == [Assign(first, DEFAULT)]
    assert bench.do() == [], "and no spare before there is a worker"


def test_domains_start_with_their_first_call_grow_while_calls_find_no_room_and_end_with_their_plugins() -> None:
    bench = Bench(size=2, spares=0)
    bench.do()
    assert bench.pools.grow(B, bench.now) and bench.do(ready=False) == [Start(B)]
    (first,) = bench.of(B)
    assert not bench.pools.grow(B, bench.now), "one that is about to be ready may be enough"
    bench.up(first)
    assert bench.pools.grow(B, bench.now) and bench.do() == [Start(B)]
    assert not bench.pools.grow(B, bench.now), "no more than so many"
    assert not bench.pools.grow(DEFAULT, bench.now), "which this one has from the start"
    bench.pools.keep_only({B})
    assert bench.do() == []
    bench.pools.keep_only(set())
    ends = bench.do()
    assert {end.id for end in ends} == {b"3", b"4"} and all(isinstance(end, End) for end in ends)
    for end in ends:
        assert bench.lose(end.id) == []
    assert bench.pools.lost_workers == 0 and len(bench.of(DEFAULT)) == 2, "the default domain stays"


def test_a_domain_that_comes_back_gets_workers_of_its_own_again() -> None:
    bench = Bench(size=1, spares=0)
    bench.pools.grow(B, bench.now)
    bench.do()
    bench.pools.keep_only(set())
    (end,) = bench.do()
    assert bench.pools.grow(B, bench.now) and bench.do() == [Start(B)], "the one that is ending does not count"
    assert bench.lose(end.id) == [] and len(bench.of(B)) == 1


def test_losses_beyond_the_intensity_wait_longer_and_longer_up_to_a_bound_and_by_chance_shorter() -> None:
    bench = Bench(size=1, spares=0, restarts=3, restart_seconds=10.0, backoff=0.1, max_backoff=0.35)
    bench.do()
    waits = []
    for _ in range(7):
        assert not bench.lose(bench.of(DEFAULT)[0]) or waits == []
        when = bench.pools.next_time()
        if when is not None:
            waits.append(round(when - bench.now, 6))
            bench.now = when
            assert bench.do() == [Start(DEFAULT)]
    assert waits == [0.1, 0.2, 0.35, 0.35]
    bench.now += 11.0
    assert bench.lose(bench.of(DEFAULT)[0]) == [Start(DEFAULT)], "all is forgotten"
    half = Bench(size=1, spares=0, restarts=0, backoff=0.1, chance=0.0)
    half.do()
    half.lose(half.of(DEFAULT)[0])
    assert half.pools.next_time() == pytest.approx(half.now + 0.05)


def test_one_domains_losses_do_not_delay_another() -> None:
    bench = Bench(size=1, spares=0, restarts=0)
    bench.pools.grow(B, bench.now)
    bench.do()
    assert bench.lose(bench.of(B)[0]) == []
    assert bench.pools.grow(DEFAULT, bench.now) is False
    bench.pools.lost(bench.of(DEFAULT)[0], "", True, bench.now - 1)
    bench.now += 0.0
    assert bench.of(B) == []
    bench.now += 0.06
    assert {a.domain for a in bench.do()} == {B, DEFAULT}


def test_workers_that_cannot_boot_are_given_up_with_the_reason_and_only_their_domain() -> None:
    bench = Bench(size=1, spares=0)
    bench.do()
    bench.pools.grow(B, bench.now)
    for attempt in range(3):
        assert bench.do(ready=False) == [Start(B)], attempt
        bench.pools.lost(bench.of(B)[0], f"attempt {attempt}", False, bench.now)
        bench.now += 1.0
    assert bench.do() == []
    assert bench.pools.failures() == {B: "3 workers in a row ended before they were ready; the last one: attempt 2"}
    assert bench.pools.failure(DEFAULT) == "" and not bench.pools.grow(B, bench.now)
    bench.pools.keep_only(set())
    assert bench.pools.failures() == {} and bench.pools.grow(B, bench.now), "its last plugin took that along"


def test_processes_that_cannot_even_be_started_count_too_and_a_signal_counts_a_quarter() -> None:
    bench = Bench(size=1, spares=0)
    for _ in range(3):
        assert bench.pools.decide(bench.now) == [Start(DEFAULT)]
        bench.pools.start_failed(DEFAULT, "no memory", bench.now)
        bench.now += 1.0
    assert bench.pools.failure(DEFAULT).endswith("the last one: no memory")
    bench = Bench(size=1, spares=0)
    for count in range(12):
        assert bench.pools.failure(DEFAULT) == "", count
        assert bench.do(ready=False) == [Start(DEFAULT)]
        bench.pools.lost(bench.of(DEFAULT)[0], "killed", True, bench.now)
        bench.now += 3.0
    assert bench.do() == [] and bench.pools.failure(DEFAULT)


def test_one_that_comes_up_forgives_those_before() -> None:
    bench = Bench(size=1, spares=0)
    for _ in range(10):
        bench.do(ready=False)
        bench.pools.lost(bench.of(DEFAULT)[0], "", False, bench.now)
        bench.now += 3.0
        bench.do()
        bench.lose(bench.of(DEFAULT)[0])
        bench.now += 3.0
    assert bench.pools.failure(DEFAULT) == ""


def test_spares_that_cannot_start_are_given_up_and_workers_are_started_without() -> None:
    bench = Bench(size=1)
    bench.do()
    bench.now += SETTLE
    for _ in range(3):
        assert bench.do(ready=False) == [Start(None)]
        bench.pools.lost(bench.of(None)[0], "", False, bench.now)
        bench.now += 3.0
    assert bench.do() == [] and bench.pools.failures() == {} and bench.pools.lost_workers == 0
    assert bench.lose(bench.of(DEFAULT)[0]) == [Start(DEFAULT)]


def test_a_worker_that_does_not_come_up_is_killed_once_and_counts_as_one_that_failed() -> None:
    bench = Bench(size=1, spares=0, boot_seconds=5.0)
    bench.do(ready=False)
    assert bench.pools.next_time() == bench.now + 5.0
    bench.now += 5.0
    (end,) = bench.do()
    assert isinstance(end, End) and end.why == "it was not ready after 5 s"
    assert bench.do() == [] and bench.pools.next_time() is None, "it is dying; its place is not free yet"
    bench.pools.lost(end.id, "", True, bench.now)
    assert bench.do() == [Start(DEFAULT)] and bench.pools.lost_workers == 1


def test_a_warm_spare_may_wait_for_ever() -> None:
    bench = Bench(size=1)
    bench.settle()
    bench.now += 1e6
    assert bench.do() == [] and bench.pools.next_time() is None
    assert bench.lose(bench.of(DEFAULT)[0])[0] == Assign(b"2", DEFAULT)


def test_renewal_replaces_first_and_one_at_a_time() -> None:
    bench = Bench(size=2, spares=0)
    bench.do()
    first, second = bench.of(DEFAULT)
    assert bench.pools.retire(first, "old") and not bench.pools.retire(second, "old")
    assert bench.do(ready=False) == [Start(DEFAULT)]
    assert not bench.pools.retire(first, "old"), "it leaves already"
    new = bench.of(DEFAULT)[-1]
    assert bench.do() == [], "nobody goes before the new one is ready"
    bench.up(new)
    assert bench.do() == [Drain(first, "old")]
    assert bench.pools.retire(second, "old"), "now the next"
    assert bench.lose(first) != [] and bench.pools.recycled == 1 and bench.pools.lost_workers == 0
    assert not bench.pools.replacements, "that was no loss"


def test_one_that_dies_while_it_waits_for_its_replacement_is_lost_but_not_replaced_twice() -> None:
    bench = Bench(size=1, spares=0)
    bench.do()
    (old,) = bench.of(DEFAULT)
    bench.pools.retire(old, "old")
    bench.do(ready=False)
    bench.pools.lost(old, "", True, bench.now)
    assert bench.do() == [] and bench.pools.lost_workers == 1
    bench.up(bench.of(DEFAULT)[0])
    assert not bench.pools.replacements


def test_what_makes_a_domain() -> None:
    there, again, written = Directory(1, 2, False), Directory(1, 2, False), Directory(1, 2, True)
    assert domain_of("", []) == DEFAULT and str(DEFAULT) == "default"
    assert domain_of("a", [there, written]) == domain_of("a", [written, again, there])
    domains = [domain_of(t, d, p) for t in ("", "a") for d in ([], [there], [written], [there, written]) for p in (0, 7)]
    assert len(set(domains)) == 16, "each of them makes a difference"
    assert str(domain_of("a", [there, written]).alone(7)) == "tenant 'a', 2 directories, plugin 7 alone"


class RandomLife(RuleBasedStateMachine):
    """Whatever happens, there are never more workers of a domain than wanted and one that leaves; in the end all are there."""

    @initialize(size=st.integers(1, 3), spares=st.integers(0, 2))
    def start(self, size: int, spares: int) -> None:
        self.size, self.spares = size, spares
        self.bench = Bench(size, 0.5, spares=spares, restarts=4, boot_attempts=10_000)
        self.domains = {DEFAULT}
        self.bench.do(ready=False)

    @rule(domain=st.sampled_from([DEFAULT, B, B.alone(1)]))
    def grow(self, domain: Domain) -> None:
        self.domains.add(domain)
        self.bench.pools.grow(domain, self.bench.now)
        self.bench.do(ready=False)

    @rule(domain=st.sampled_from([B, B.alone(1)]))
    def unload(self, domain: Domain) -> None:
        self.domains.discard(domain)
        self.bench.pools.keep_only(self.domains)
        self.bench.do(ready=False)

    @rule(data=st.data(), what=st.sampled_from(["ready", "lost", "exit", "retire"]))
    def happen(self, data: st.DataObject, what: str) -> None:
        pools, now = self.bench.pools, self.bench.now
        if pools.members:
            member = pools.members[data.draw(st.sampled_from(sorted(pools.members)))]
            if what == "ready" and not member.told:
                (pools.warm(member.id) if member.domain is None else pools.ready(member.id, now))
            elif what == "retire":
                pools.retire(member.id, "old")
            elif what != "ready":
                pools.lost(member.id, "", what == "lost", now)
            self.bench.do(ready=False)

    @rule(seconds=st.floats(0.01, 5.0))
    def pass_time(self, seconds: float) -> None:
        self.bench.now += seconds
        self.bench.do(ready=False)

    @invariant()
    def never_too_many(self) -> None:
        pools = self.bench.pools
        for domain in {m.domain for m in pools.members.values()}:
            staying = [m for m in pools.members.values() if m.domain == domain and not m.told]
            most = self.spares if domain is None else self.size + 1
            assert len(staying) <= most, (domain, staying)
        assert pools.next_time() is None or not pools.due(self.bench.now) or pools.decide(self.bench.now) == []

    def teardown(self) -> None:
        bench = self.bench
        for _ in range(20):
            bench.now += 10.0
            for member in list(bench.pools.members.values()):
                if member.told:
                    bench.pools.lost(member.id, "", True, bench.now)
                elif member.ready is None:
                    (bench.pools.warm(member.id) if member.domain is None else bench.pools.ready(member.id, bench.now))
            bench.do()
        assert len(bench.of(DEFAULT)) == self.size and bench.pools.spares() == self.spares
        assert {m.domain for m in bench.pools.members.values()} <= {None, *self.domains}


RandomLife.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestRandomLife = RandomLife.TestCase
