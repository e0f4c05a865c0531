"""Clock jumps: nothing that ends, waits for or restarts anything looks at a clock that can be set."""

from __future__ import annotations

import ast
import itertools
import re
import time
from pathlib import Path

import pytest

import sandboxhost
import sandboxworker
from sandboxhost import DeadlineExceeded, Host, Limits
from tests.e2e.conftest import MATH

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = [Path(package.__path__[0]) for package in (sandboxhost, sandboxworker)]
SETTABLE = {"time", "time_ns", "localtime", "gmtime", "strftime", "now", "utcnow", "today"}
AGES_OF_FILES = {"transport.py": {"time.time"}}
"""Whether a directory that a killed host left is old, by its file time; that nobody holds its lock is what decides."""
IN_C = ("CLOCK_REALTIME", "gettimeofday", "time", "timerfd_create", "setitimer", "alarm", "pthread_cond_timedwait",
        "sem_timedwait", "pthread_mutex_timedlock", "mq_timedreceive")  # fmt: skip
ONLY_FOR_GUESTS = {"clock.c", "wasi_internal.h"}


def clocks_of(source: str) -> set[str]:
    """Settable clocks that a module of Python reads."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr in SETTABLE and isinstance(node.value, ast.Name | ast.Attribute):
            owner = node.value.id if isinstance(node.value, ast.Name) else node.value.attr
            if owner in ("time", "_time", "datetime", "date"):
                found.add(f"{owner}.{node.attr}")
        if isinstance(node, ast.ImportFrom) and node.module in ("time", "datetime"):
            found |= {f"{node.module}.{name.name}" for name in node.names if name.name in SETTABLE}
        if isinstance(node, ast.Attribute) and node.attr == "CLOCK_REALTIME":
            found.add("CLOCK_REALTIME")
    return found


def test_clock_jumps_no_python_module_reads_a_clock_that_can_be_set() -> None:
    assert clocks_of("import time\nx = time.time()") == {"time.time"} and clocks_of("from time import time") == {"time.time"}
    files = [path for folder in PACKAGES for path in folder.rglob("*.py")]
    assert len(files) > 40
    assert {path.name: clocks for path in files if (clocks := clocks_of(path.read_text()))} == AGES_OF_FILES


def test_clock_jumps_the_core_reads_such_a_clock_for_guests_only() -> None:
    files = [path for folder in ("src", "wasi", "include") for path in (ROOT / "native" / folder).glob("*.[ch]")]
    assert len(files) > 60
    words = re.compile(r"\b(CLOCK_REALTIME(?!_)|(?:%s)\s*\()" % "|".join(IN_C[1:]))  # noqa: UP031
    code = re.compile(r"/\*.*?\*/|\"(?:\\.|[^\"\\])*\"", re.DOTALL)
    found = {path.name for path in files if words.search(code.sub(" ", path.read_text()))}
    assert found <= ONLY_FOR_GUESTS and "clock.c" in found, found


@pytest.mark.parametrize("workers", [1, 0])
def test_clock_jumps_change_no_deadline(monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    """The wall clock of this process jumps by years at each look; deadlines are met, not too early, and nothing else ends."""
    jumps = itertools.cycle([0.0, 1e9, -1e9, 4e9, 86_400.0])
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + next(jumps))
    monkeypatch.setattr(time, "time_ns", lambda: int((real() + next(jumps)) * 1e9))
    with Host(workers=workers, threads=1) as host:
        patient, hasty = host.load(MATH, limits=Limits(deadline=1000.0)), host.load(MATH, limits=Limits(deadline=0.2))
        for n in range(50):
            assert patient.call("add", n, 1) == n + 1
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            hasty.call("spin")
        assert 0.2 <= time.monotonic() - started < 60
        assert patient.call("count", 1_000_000) == 0
        assert host.statistics().workers_lost == 0
