"""The router under random stimuli in random order: exactly one outcome for every call, and no call in a foreign trust domain."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from sandboxhost import errors, wire
from sandboxhost.domains import DEFAULT, Directory, Domain
from sandboxhost.errors import Loss
from sandboxhost.limits import Limits
from sandboxhost.quarantine import Quarantine
from sandboxhost.router import CallSpec, Finish, InvokeHost, Kill, Part, Plugin, Router, Send
from sandboxhost.router_state import Grow

from .test_router import ready, result, row_failed

TENANT = Domain("b")
DOMAINS = [DEFAULT, DEFAULT, TENANT, TENANT.alone(4), Domain("", (Directory(1, 2, True),))]
"""Of the plugins 1, 2, …"""
REFUSALS = (errors.Overloaded, errors.UnknownFunction, errors.WorkerLost, errors.Quarantined)
PLUGINS = st.integers(1, len(DOMAINS))


class RandomDriver(RuleBasedStateMachine):
    """Random stimuli in random order. The model keeps what each worker was given."""

    calls = Bundle("calls")

    def __init__(self) -> None:
        super().__init__()
        self.router = Router(grace=0.5, drain=1.0, quarantine=Quarantine(3, 5.0))
        self.now = 0.0
        self.accepted: set[int] = set()
        self.ended: set[int] = set()
        self.rows: dict[int, int] = {}
        self.told: dict[int, int] = {}
        self.holding: dict[bytes, set[int]] = {}
        self.domains: dict[bytes, Domain] = {}
        self.loads: dict[bytes, dict[int, int]] = {}
        self.next_worker = 0

    @initialize(threads=st.integers(1, 3), persistent=st.booleans())
    def start(self, threads: int, persistent: bool) -> None:
        self.threads = threads
        for number, domain in enumerate(DOMAINS, 1):
            limits = Limits(pending_calls=30, concurrent_calls=1 if number == 2 else None)
            self.router.add_plugin(Plugin(number, "p", b"", limits, persistent and number % 2 == 1, domain))
            self.start_worker(domain)

    def take(self, instructions: list[Any]) -> None:
        killed = []
        for item in instructions:
            if isinstance(item, Finish):
                assert item.call in self.accepted and item.call not in self.ended
                self.ended.add(item.call)
                assert self.told.get(item.call, 0) == self.rows.get(item.call, 0) or item.error is not None
            elif isinstance(item, Part):
                assert item.call not in self.ended and item.first == self.told[item.call], "a row has two outcomes, or none"
                self.told[item.call] += item.rows
            elif isinstance(item, Send):
                assert item.worker in self.holding, "written to a worker that is gone"
                for message in item.messages:
                    if isinstance(message, (wire.Call, wire.Run, wire.CallRows, wire.Load)):
                        assert self.router.plugins[message.plugin].domain == self.domains[item.worker], "a foreign domain"
                    if isinstance(message, (wire.Call, wire.Run, wire.CallRows)):
                        self.holding[item.worker].add(message.id)
                    elif isinstance(message, wire.Load):
                        self.loads[item.worker][message.id] = message.plugin
            elif isinstance(item, Kill):
                killed.append((item.worker, item.kind))
            elif isinstance(item, Grow):
                assert item.domain in self.router.domains()
        for worker, kind in killed:
            self.lose(worker, kind)

    def lose(self, worker: bytes, kind: Loss) -> None:
        if self.holding.pop(worker, None) is not None:
            del self.loads[worker]
            self.take(self.router.worker_lost(worker, "lost", self.now, kind))

    @rule(data=st.data())
    def start_some_worker(self, data: st.DataObject) -> None:
        if len(self.holding) < 8:
            self.start_worker(data.draw(st.sampled_from(sorted(self.router.domains() | {DEFAULT}))))

    def start_worker(self, domain: Domain) -> None:
        self.next_worker += 1
        worker = b"worker-%d" % self.next_worker
        self.holding[worker], self.loads[worker], self.domains[worker] = set(), {}, domain
        self.router.worker_started(worker, self.next_worker, line=True, domain=domain)
        self.take(self.router.received(worker, [ready(self.threads)], self.now))

    @rule(
        target=calls,
        plugin=PLUGINS,
        kind=st.sampled_from(["call", "run", "load"]),
        count=st.integers(1, 5),
        seconds=st.none() | st.floats(0.1, 3.0),
        batch=st.booleans(),
        idempotent=st.booleans(),
        parent=st.none() | calls,
    )
    def submit(self, plugin: int, kind: str, count: int, seconds: float | None, batch: bool, idempotent: bool,
               parent: int | None) -> Any:
        deadline = None if seconds is None else self.now + seconds
        fields: dict[str, Any] = {"deadline": deadline, "batch": batch, "idempotent": idempotent, "parent": parent or 0}
        specs = [CallSpec(plugin, kind, **fields) for _ in range(count)]
        try:
            ids, instructions = self.router.submit_many(specs, self.now)
        except REFUSALS:
            return multiple()
        self.accepted.update(ids)
        self.take(instructions)
        return multiple(*ids)

    @rule(
        target=calls,
        plugin=PLUGINS,
        seconds=st.none() | st.floats(0.1, 3.0),
        short=st.booleans(),
        twice=st.booleans(),
    )
    def begin(self, plugin: int, seconds: float | None, short: bool, twice: bool) -> Any:
        deadline = None if seconds is None else self.now + seconds
        begun = self.router.begin(CallSpec(plugin, deadline=deadline), self.now)
        if begun is None:
            return multiple()
        worker, call = begun
        assert self.router.plugins[plugin].domain == self.domains[worker], "a foreign domain"
        assert not self.holding[worker] and self.router.plugins[plugin].queue == type(self.router.plugins[plugin].queue)()
        self.accepted.add(call.id)
        self.holding[worker].add(call.id)
        for _ in range(short + (short and twice)):
            finish = self.router.complete(worker, call.id, result(call.id), 0.0)
            if call.id in self.ended:
                assert finish is None, "two outcomes for one call"
            elif finish is not None:
                self.holding[worker].discard(call.id)
                self.take([finish])
        return call.id

    @rule(target=calls, plugin=PLUGINS, rows=st.integers(1, 8), seconds=st.none() | st.floats(0.1, 3.0),
          idempotent=st.booleans())  # fmt: skip
    def submit_rows(self, plugin: int, rows: int, seconds: float | None, idempotent: bool) -> Any:
        deadline = None if seconds is None else self.now + seconds
        spec = CallSpec(plugin, "rows", "", bytes(8 * rows), deadline, 0, True, idempotent, rows, 8)
        try:
            call, instructions = self.router.submit(spec, self.now)
        except REFUSALS:
            return multiple()
        self.accepted.add(call)
        self.rows[call], self.told[call] = rows, 0
        self.take(instructions)
        return call

    @rule(data=st.data(), count=st.integers(1, 8), good=st.booleans())
    def answer_rows(self, data: st.DataObject, count: int, good: bool) -> None:
        held = [(w, c) for w, calls in self.holding.items() for c in sorted(calls) if c in self.rows and c in self.router.calls]
        if held:
            worker, call = data.draw(st.sampled_from(held))
            state = self.router.calls[call]
            count = min(count, state.spec.rows - state.done)
            if count:
                first = state.done - state.base
                message = wire.RowResults(call, first, count, bytes(8 * count)) if good else row_failed(call, first)
                self.take(self.router.received(worker, [message], self.now))

    @rule(data=st.data(), good=st.booleans())
    def answer(self, data: st.DataObject, good: bool) -> None:
        held = [(worker, call) for worker, calls in self.holding.items() for call in sorted(calls)]
        if held:
            worker, call = data.draw(st.sampled_from(held))
            self.holding[worker].discard(call)
            good = good and self.told.get(call, 0) == self.rows.get(call, 0)
            message = result(call) if good else wire.failed(call, errors.Trap("unreachable", cause="unreachable"))
            self.take(self.router.received(worker, [message], self.now))

    @rule(data=st.data(), good=st.booleans())
    def answer_load(self, data: st.DataObject, good: bool) -> None:
        held = [(worker, load) for worker, loads in self.loads.items() for load in sorted(loads)]
        if held:
            worker, load = data.draw(st.sampled_from(held))
            plugin = self.loads[worker].pop(load)
            message: Any = wire.Loaded(load, plugin) if good else wire.failed(load, errors.LinkError("no"))
            self.take(self.router.received(worker, [message], self.now))

    @rule(call=calls)
    def cancel(self, call: int) -> None:
        self.take(self.router.cancel(call, self.now))

    @rule(seconds=st.floats(0.05, 2.0))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.take(self.router.tick(self.now))
        assert (self.router.next_time() or self.now) >= self.now

    @rule(data=st.data(), kind=st.sampled_from(Loss))
    def lose_a_worker(self, data: st.DataObject, kind: Loss) -> None:
        if self.holding:
            self.lose(data.draw(st.sampled_from(sorted(self.holding))), kind)

    @rule(data=st.data())
    def recycle_a_worker(self, data: st.DataObject) -> None:
        if self.holding:
            self.take(self.router.drain_worker(data.draw(st.sampled_from(sorted(self.holding))), "recycled", self.now))

    @rule(data=st.data())
    def misbehave(self, data: st.DataObject) -> None:
        if self.holding:
            worker = data.draw(st.sampled_from(sorted(self.holding)))
            self.take(self.router.received(worker, [result(10**9)], self.now))
            assert worker not in self.holding, "a worker that answers what it was not asked is killed"

    @rule(data=st.data())
    def ask(self, data: st.DataObject) -> None:
        """A call of a function of the application: one at a time for each call, and the answer goes where it is waited for."""
        held = [(w, c) for w, calls in self.holding.items() for c in sorted(calls) if c in self.router.calls]
        held = [(w, c) for w, c in held if self.router.calls[c].spec.kind != "load"]
        if held:
            worker, call = data.draw(st.sampled_from(held))
            waits = self.router.calls[call].asked
            instructions = self.router.received(worker, [wire.HostCall(call, waits + 1, 0, b"")], self.now)
            invoked = [item for item in instructions if isinstance(item, InvokeHost)]
            self.take(instructions)
            assert (worker not in self.holding) == bool(waits) and len(invoked) == (not waits)

    @rule(data=st.data(), late=st.booleans())
    def answer_function(self, data: st.DataObject, late: bool) -> None:
        if self.router.calls:
            call = data.draw(st.sampled_from(sorted(self.router.calls)))
            waits = self.router.calls[call].asked
            instructions = self.router.host_result(call, waits + late, True, b"", self.now)
            answers = [m for item in instructions if isinstance(item, Send) for m in item.messages if type(m) is wire.HostResult]
            assert len(answers) == (bool(waits) and not late), "an answer that nobody waits for goes nowhere"
            self.take(instructions)

    @rule(data=st.data(), times=st.sampled_from([1, 40_000]))
    def go_on_after_the_end(self, data: st.DataObject, times: int) -> None:
        """What is said about a call that has ended here is dropped, and is too much one day."""
        held = [(w, c) for w, calls in self.holding.items() for c in sorted(calls) if c in self.router.workers[w].abandoned]
        if held:
            worker, call = data.draw(st.sampled_from(held))
            instructions = self.router.received(worker, [wire.Output(call, 1, b"x")] * times, self.now)
            assert not [item for item in instructions if type(item).__name__ == "Emit"]
            self.take(instructions)
            assert (worker in self.holding) == (times == 1)

    @rule(plugin=st.just(2))
    def unload(self, plugin: int) -> None:
        self.take(self.router.remove_plugin(plugin, self.now))

    @invariant()
    def books_balance(self) -> None:
        counters = self.router.counters()
        assert counters.accepted == sum(self.rows.get(call, 1) for call in self.accepted)
        assert counters.ended == sum(self.rows.get(call, 1) for call in self.ended)
        assert set(self.router.calls) == self.accepted - self.ended
        pending = sum(self.rows.get(call, 1) for call in self.router.calls)
        assert sum(plugin.pending for plugin in self.router.plugins.values()) == pending
        in_flight = [call for worker in self.router.workers.values() for call in worker.calls]
        assert len(in_flight) == len(set(in_flight)) == sum(p.in_flight for p in self.router.plugins.values())

    @invariant()
    def work_is_not_left_lying(self) -> None:
        idle = {w.domain for w in self.router.workers.values() if w.state == "ready" and not w.calls}
        for plugin in self.router.plugins.values():
            if plugin.queue and plugin.domain in idle:
                bounded = plugin.concurrency is not None and plugin.in_flight >= plugin.concurrency
                assert bounded or plugin.home is not None

    @invariant()
    def workers_hold_plugins_of_their_domain_only(self) -> None:
        for worker in self.router.workers.values():
            assert all(self.router.plugins[plugin].domain == worker.domain for plugin in worker.plugins)
        for plugin in self.router.plugins.values():
            assert plugin.home is None or plugin.home.domain == plugin.domain
            assert not (plugin.quarantined and plugin.queue)

    def teardown(self) -> None:
        self.take(self.router.close(self.now))
        assert self.ended == self.accepted, "a call without outcome"


RandomDriver.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestRandomDriver = RandomDriver.TestCase
