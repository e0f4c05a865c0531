"""How many workers each domain has, which spare goes where, and when a lost one is replaced. Pure: says what to do, does nothing.

    process:  starting (imports) ──WARM──▶ spare ──given a domain: BOOT──▶ booting ──READY──▶ ready ──▶ leaving ──▶ ended
                  └──────────── BOOT may also come before WARM ────────────▲
"""
from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import NamedTuple

from .domains import DEFAULT, Domain
from .supervision import Supervision

__all__ = ["Assign", "Drain", "End", "Member", "Pools", "Start"]

KILLED_WEIGHT = 0.25
"""What a process counts for that a signal ended before READY, beside one that ended by itself: that may be somebody else's
doing, and pass."""
SETTLE = 0.5
"""Seconds after the host's start before its first spare is started: hosts that live shortly need none."""
REMEMBERED = 256
"""Replacement times that are kept."""


class Start(NamedTuple):
    """Start a process; None: a spare."""

    domain: Domain | None


class Assign(NamedTuple):
    """Give this spare its domain."""

    id: bytes
    domain: Domain


class Drain(NamedTuple):
    """Its replacement is ready: give it no further calls, end it after those that it has."""

    id: bytes
    why: str


class End(NamedTuple):
    """Kill it: nobody needs it, or it does not come up."""

    id: bytes
    why: str


Action = Start | Assign | Drain | End


@dataclass
class Member:
    """One process."""

    id: bytes
    domain: Domain | None
    """None: a spare."""
    since: float
    """When it was started, or was given its domain."""
    warm: bool = False
    """It has imported everything."""
    ready: float | None = None
    leaving: str = ""
    """Why it is to be replaced."""
    told: bool = False
    """Drain or End was said."""
    wanted: bool = True
    """False: that it ends is no loss."""


@dataclass
class _Pool:
    target: int = 0
    failure: str = ""
    failures: float = 0.0
    attempts: int = 0
    losses: deque[float] = field(default_factory=deque)
    missing: deque[float] = field(default_factory=deque)
    """When workers were lost that have not been replaced."""
    not_before: float = 0.0


class Pools:
    """See the module's text. Ids are the driver's; `now` is one monotonic clock."""

    def __init__(self, size: int, supervision: Supervision, now: float, chance: Callable[[], float] = random.random) -> None:
        self.size, self.supervision = size, supervision
        self.members: dict[bytes, Member] = {}
        self.replacements: deque[float] = deque(maxlen=REMEMBERED)
        """Seconds from the moment a READY worker's end was noticed to that when its replacement was READY."""
        self.lost_workers = self.recycled = 0
        self.changed = True
        """Something has happened since `decide` was asked."""
        self._next: float | None = now
        self._chance = chance
        self._pools: dict[Domain | None, _Pool] = {DEFAULT: _Pool(size), None: _Pool(supervision.spares)}
        self._pools[None].not_before = now + SETTLE

    # ---- what happened

    def grow(self, domain: Domain, now: float) -> bool:
        """A call of this domain found no room. True: there is something to do."""
        pool = self._pools.setdefault(domain, _Pool())
        workers = self._staying(domain)
        if pool.failure or pool.target >= self.size or len(workers) < pool.target or any(m.ready is None for m in workers):
            return False
        pool.target += 1
        self.changed = True
        return True

    def keep_only(self, domains: Collection[Domain]) -> None:
        """These still have plugins; workers of the others are to end."""
        for domain in [d for d in self._pools if d is not None and d != DEFAULT and d not in domains]:
            del self._pools[domain]
            self.changed = True

    def started(self, id_: bytes, domain: Domain | None, now: float) -> None:
        """A process was started."""
        self.members[id_] = Member(id_, domain, now)
        self.changed = True

    def start_failed(self, domain: Domain | None, words: str, now: float, passing: bool = False) -> None:
        """It could not be. passing: for want of something that may be there again, so that it is tried as long as it takes."""
        self.changed = True
        if domain in self._pools:
            self._boot_failed(self._pools[domain], words, now, 0.0 if passing else 1.0)

    def warm(self, id_: bytes) -> None:
        """It said WARM."""
        member = self.members.get(id_)
        if member is not None:
            member.warm = self.changed = True
            if member.domain is None:
                self._well(self._pools[None])

    def ready(self, id_: bytes, now: float) -> None:
        """It said READY."""
        member = self.members.get(id_)
        pool = self._pools.get(member.domain) if member is not None else None
        if member is not None and member.ready is None:
            member.ready, member.warm = now, True
            self.changed = True
            if pool is not None:
                self._well(pool)
                if pool.missing:
                    self.replacements.append(now - pool.missing.popleft())

    def refuse(self, id_: bytes, words: str) -> None:
        """It will not do, and no other of its domain would."""
        member = self.members.get(id_)
        pool = self._pools.get(member.domain) if member is not None else None
        if pool is not None:
            pool.failure, self.changed = words, True

    def retire(self, id_: bytes, why: str) -> bool:
        """It is to be replaced, and then to end; one of a domain at a time. False: it leaves already, or is not ready, or another
        one leaves."""
        member = self.members.get(id_)
        if member is None or member.ready is None or member.told:
            return False
        if any(other.leaving and not other.told for other in self._of(member.domain)):
            return False
        member.leaving = why
        self.changed = True
        return True

    def lost(self, id_: bytes, words: str, signalled: bool, now: float, passing: bool = False) -> None:
        """The process has ended: `words` say how, and what it said last; signalled: by a signal; passing: as `start_failed`."""
        member = self.members.pop(id_, None)
        pool = self._pools.get(member.domain) if member is not None else None
        if member is None:
            return
        self.changed = True
        if not member.wanted:
            self.recycled += bool(member.leaving)
            return
        self.lost_workers += member.domain is not None
        if pool is None:
            return
        if member.ready is not None:
            if not member.leaving:
                pool.missing.append(now)
            self._delay_beyond_intensity(pool, now)
        elif member.domain is None and member.warm:
            self._delay_beyond_intensity(pool, now)
        else:
            self._boot_failed(pool, words, now, 0.0 if passing else KILLED_WEIGHT if signalled else 1.0)

    # ---- what to do

    def due(self, now: float) -> bool:
        """Whether `decide` may have something to say."""
        return self.changed or (self._next is not None and now >= self._next)

    def decide(self, now: float) -> list[Action]:
        """What is to be done now; each thing is said once, but for starts: tell `started` or `start_failed`."""
        self.changed = False
        actions: list[Action] = []
        for member in self.members.values():
            if member.told:
                continue
            if member.domain not in self._pools:
                actions.append(End(member.id, "its domain has no plugins any more"))
            elif member.ready is None and not (member.warm and member.domain is None) and self._late(member) <= now:
                actions.append(End(member.id, f"it was not ready after {self.supervision.boot_seconds:g} s"))
            elif member.leaving and member.domain is not None and self._replaced(member.domain):
                actions.append(Drain(member.id, member.leaving))
        for action in actions:
            if isinstance(action, (Drain, End)):
                member = self.members[action.id]
                member.told = True
                member.wanted = isinstance(action, End) and member.domain in self._pools
        actions += self._fill(now)
        self._next = self._when()
        return actions

    def _fill(self, now: float) -> list[Action]:
        actions: list[Action] = []
        spares = sorted((m for m in self._staying(None)), key=lambda m: (not m.warm, m.since))
        for domain, pool in self._pools.items():
            if domain is None or pool.failure or now < pool.not_before:
                continue
            for _ in range(pool.target - len(self._staying(domain))):
                if spares:
                    spare = spares.pop(0)
                    spare.domain, spare.since = domain, now
                    actions.append(Assign(spare.id, domain))
                else:
                    actions.append(Start(domain))
        pool = self._pools[None]
        if not actions and not pool.failure and now >= pool.not_before and self._settled():
            actions += [Start(None)] * (pool.target - len(self._staying(None)))
        return actions

    def next_time(self) -> float | None:
        """When `decide` wants to be asked again, if nothing happens before."""
        return 0.0 if self.changed else self._next

    def _when(self) -> float | None:
        times = [self._late(m) for m in self.members.values() if m.ready is None and not m.told
                 and not (m.warm and m.domain is None)]
        for domain, pool in self._pools.items():
            if pool.target > len(self._staying(domain)) and not pool.failure and (domain is not None or self._settled()):
                times.append(pool.not_before)
        return min(times, default=None)

    def failure(self, domain: Domain) -> str:
        """Why no worker of this domain will come any more, when none is left; else ""."""
        pool = self._pools.get(domain)
        return pool.failure if pool is not None and pool.failure and not self._of(domain) else ""

    def failures(self) -> dict[Domain, str]:
        """Those that have one."""
        return {domain: words for domain in self._pools if domain is not None and (words := self.failure(domain))}

    def spares(self) -> int:
        """Spares that have imported everything."""
        return sum(m.warm for m in self._staying(None))

    # ---- inside

    def _of(self, domain: Domain | None) -> list[Member]:
        return [m for m in self.members.values() if m.domain == domain]

    def _staying(self, domain: Domain | None) -> list[Member]:
        return [m for m in self._of(domain) if m.wanted and not m.leaving]

    def _late(self, member: Member) -> float:
        return member.since + self.supervision.boot_seconds

    def _replaced(self, domain: Domain) -> bool:
        return sum(m.ready is not None for m in self._staying(domain)) >= self._pools[domain].target

    def _settled(self) -> bool:
        """Nothing more urgent is under way: every worker that is wanted is ready, or cannot be had."""
        return all(pool.failure or sum(m.ready is not None for m in self._staying(domain)) >= pool.target
                   for domain, pool in self._pools.items() if domain is not None)

    def _well(self, pool: _Pool) -> None:
        pool.failures, pool.attempts = 0.0, 0

    def _boot_failed(self, pool: _Pool, words: str, now: float, weight: float) -> None:
        pool.attempts += 1
        pool.failures += weight
        if pool.failures >= self.supervision.boot_attempts:
            pool.failure = f"{pool.attempts} workers in a row ended before they were ready; the last one: {words}"
        self._delay(pool, now, pool.attempts - 1)

    def _delay_beyond_intensity(self, pool: _Pool, now: float) -> None:
        while pool.losses and now - pool.losses[0] > self.supervision.restart_seconds:
            pool.losses.popleft()
        pool.losses.append(now)
        self._delay(pool, now, len(pool.losses) - self.supervision.restarts)

    def _delay(self, pool: _Pool, now: float, number: int) -> None:
        """number: 0 and less do not wait."""
        if number > 0:
            longest = min(self.supervision.backoff * 2.0 ** min(number - 1, 60), self.supervision.max_backoff)
            pool.not_before = max(pool.not_before, now + longest * (0.5 + self._chance() / 2))
