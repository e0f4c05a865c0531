"""A short campaign of each kind of fault; and that ledger, oracle and schedule would tell what they are there to tell."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from sandboxhost import Trap, WorkerLost

from . import __main__ as command
from .campaign import Campaign
from .faults import FAULTS, Fault, schedule
from .leaks import belongings, left_behind
from .ledger import Ledger

FAULT_COUNT, SECONDS = 150, 8.0


def test_a_short_campaign() -> None:
    campaign = Campaign(1)
    end = time.monotonic() + SECONDS  # on a slow machine it is shorter
    campaign.run(schedule(1, FAULT_COUNT, 40.0), lambda _: time.monotonic() < end)
    assert campaign.problems == []
    assert sum(campaign.injected.values()) > 0 and campaign.ledger.outcomes["result"] > 0


def test_a_schedule_depends_on_its_seed_alone() -> None:
    first, again, other = (list(schedule(seed, 2_000, 10.0)) for seed in (1, 1, 2))
    assert first == again != other
    assert {fault.name for fault in first} == set(FAULTS)
    assert {fault.name for fault in schedule(1, 50, 10.0, ["crash", "runaway"])} == {"crash", "runaway"}


def test_the_schedule_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--list", "--faults", "3", "--seed", "7", "--only", "SIGSTOP"]) == 0
    assert capsys.readouterr().out.count("SIGSTOP") == 3
    with pytest.raises(SystemExit):
        command.main(["--only", "earthquake"])


def test_the_verdict_is_the_last_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[str] = []

    def run(self: Campaign, *_: object) -> None:
        self.injected["crash"] += 1
        self.problems += found

    monkeypatch.setattr(Campaign, "run", run)
    for code, word in ((0, "PASSED"), (1, "FAILED")):
        found += ["a leak"] * code
        assert command.main(["--faults", "5", "--seed", "3"]) == code
        assert capsys.readouterr().out.splitlines()[-1].startswith(f"{word}: 1 faults of 5 in 0 s, seed 3: ")


def test_the_ledger_is_content_with_what_is_right() -> None:
    ledger = Ledger()
    one, two, three = (ledger.issue("call", idempotent=number == 2) for number in range(3))
    ledger.ran(one)
    ledger.result(one, 3, 3)
    ledger.error(two, WorkerLost("", maybe_ran=False))
    ledger.ran(three)
    ledger.ran(three)
    ledger.result(three, 9, 9)
    assert ledger.settle() == []


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("nothing", "had no outcome"), ("two outcomes", "had 2 outcomes: result, Trap"), ("ran twice", "ran 2 times, at most 1"),
        ("thrice", "ran 3 times, at most 2"), ("wrong value", "returned 4, not 3"), ("never ran", "but never ran"),
        ("ran after all", "says that it never ran, but it did"), ("late", "ran, and was not issued or was settled before"),
        ("same pair", "not 'anything but"),
    ],
)  # fmt: skip
def test_the_ledger_notices(what: str, words: str) -> None:
    ledger = Ledger()
    number = ledger.issue("call", idempotent=what == "thrice")
    for _ in range({"ran twice": 2, "thrice": 3, "nothing": 1, "never ran": 0}.get(what, 1)):
        ledger.ran(number)
    if what == "ran after all":
        ledger.error(number, WorkerLost("", maybe_ran=False))
    elif what == "same pair":
        assert ledger.pair(ledger, (1, 1)) == (1, 1)
        ledger.result(number, (1, 1), ledger.pair(ledger, (1, 1)))
    elif what != "nothing":
        ledger.result(number, 4 if what == "wrong value" else 3, 3)
    if what == "two outcomes":
        ledger.error(number, Trap("unreachable", cause="unreachable"))
    if what == "late":
        assert ledger.settle() == []
        ledger.ran(number)
    problems = ledger.settle()
    assert len(problems) == 1 and words in problems[0]


def test_the_oracle_notices_a_descriptor_and_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = belongings()
    assert left_behind(before, 0.0) == {}
    fd = os.memfd_create("sandboxhost:image")
    (tmp_path / "sandboxhost-x").mkdir()
    assert left_behind(before, 0.0) == {"descriptors": {str(fd): "/memfd"}, "directories": {"sandboxhost-x"}}
    os.close(fd)


def test_a_fault_knows_when_and_whom() -> None:
    (fault,) = schedule(1, 1, 10.0)
    assert isinstance(fault, Fault) and fault.delay > 0 and 0 <= fault.pick < 1 and 0 <= fault.how < 65536
