"""Control groups of real workers: one each where they can be made, a reason where they cannot, and none left in either case."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandboxhost import GroupLimits, Host, Limits, Loss, WorkerLost, cgroups, doctor
from sandboxhost.cgroups import Group, Groups
from tests.chaos.leaks import belongings, control_groups, left_behind

from .conftest import MATH, PACKAGES, wat

OWN = GroupLimits(use="own", memory=None, processes=64, processors=1.5)
"""Not memory: on a machine whose groups are not ours to know, that one may be another's way to watch over us."""


@pytest.fixture(autouse=True)
def apart(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What other processes have in /tmp is no leak."""
    tmp_path_factory.getbasetemp()  # pytest's own folder stays where it was
    with tempfile.TemporaryDirectory(prefix="groups-") as place:
        monkeypatch.setattr(tempfile, "tempdir", place)
        yield


def supervisor(host: Host) -> Any:
    """The host's, which has its workers' groups."""
    return host._backend._supervisor  # type: ignore[attr-defined]


def all_ready(host: Host) -> None:
    """Waits for the workers and the spare."""
    end = time.monotonic() + 60
    while (s := host.statistics()).spares < 1 or any(worker.state != "ready" for worker in s.workers):
        assert time.monotonic() < end
        time.sleep(0.005)


def test_each_worker_has_its_group_or_the_host_says_why(caplog: pytest.LogCaptureFixture) -> None:
    before = belongings()
    caplog.set_level(logging.INFO, "sandboxhost")
    with Host(workers=2, group_limits=OWN) as host:
        all_ready(host)
        assert host.load(MATH).call("add", 1, 1) == 2
        groups = supervisor(host).groups
        assert sorted([*groups.usable, *groups.missing]) == ["cpu", "pids"]
        for controller, why in groups.missing.items():
            assert f"no {controller} control group: {why}" in caplog.text and why
        processes = [*supervisor(host).workers.values(), *supervisor(host).spares.values()]
        assert len(processes) == 3
        for worker in processes:
            assert (worker.group is not None) == bool(groups.usable)
            for directory in worker.group.directories if worker.group is not None else ():
                assert (Path(directory) / "cgroup.procs").read_text().split() == [str(worker.process.pid)]
                limits = Path(directory) / "pids.max"
                assert not limits.exists() or limits.read_text().strip() == "64"
        assert len(control_groups()) == sum(len(w.group.directories) for w in processes if w.group is not None)
        os.kill(processes[0].process.pid, signal.SIGKILL)
        all_ready(host)
    assert left_behind(before) == {}
    assert "did not get into" not in caplog.text


THREADS = """
import sys, threading
for file in sys.argv[1:]:
    with open(file, "w") as joined:
        joined.write("0")
try:
    threading.Thread(target=print, args=("started",)).start()
except RuntimeError:
    print("refused")
"""


@pytest.mark.parametrize(("processes", "wanted"), [(1, "refused"), (20, "started")])
def test_the_kernel_holds_up_the_limit(processes: int, wanted: str) -> None:
    groups = Groups(GroupLimits(use="own", memory=None, processes=processes))
    group = groups.new()
    assert (group is None) == bool(groups.missing.get("pids"))
    if group is not None:
        done = subprocess.run([sys.executable, "-c", THREADS, *group.joins()], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == wanted
    groups.release(group)
    groups.close()
    assert control_groups() == set()


KILLED = """
import os, signal, sys, time
from sandboxhost import GroupLimits, Host
host = Host(workers=2, group_limits=GroupLimits(use="own", memory=None, processes=64))
while not all(worker.state == "ready" for worker in host.statistics().workers):
    time.sleep(0.005)
print(os.getpid(), len(host._backend._supervisor.groups.usable), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_host_left_is_removed_by_the_next() -> None:
    environment = {**os.environ, "PYTHONPATH": PACKAGES}
    command = [sys.executable, "-c", KILLED]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    pid, usable = (int(word) for word in done.stdout.split())
    left = control_groups(pid)
    assert bool(left) == bool(usable), "the kernel does not remove them"
    end = time.monotonic() + 20
    while control_groups(pid) and time.monotonic() < end:  # until its workers are gone, too
        with Host(workers=1, spares=0, group_limits=OWN) as host:
            host.load(MATH).call("nothing")
    assert control_groups(pid) == set()


def test_a_group_that_cannot_be_made_or_joined_is_no_reason_not_to_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for folder in "limits", "joined":
        (tmp_path / folder).mkdir()
    for parent, controllers, words in (
        (tmp_path / "gone", ("pids",), "a worker gets no control group: [Errno 2]"),
        (tmp_path / "limits", ("pids",), "pids.max: No such file"),
        (tmp_path / "joined", (), "did not get into its control group"),
    ):
        caplog.clear()
        found = cgroups._Parent(2, str(parent), controllers)
        monkeypatch.setattr(Groups, "_find", lambda self, found=found: self._parents.append(found))
        with Host(workers=1, spares=0) as host:
            assert host.load(MATH).call("add", 1, 1) == 2
        assert words in caplog.text
        assert not parent.exists() or os.listdir(parent) == []


@pytest.mark.parametrize(("kills", "kind"), [(1, Loss.MEMORY), (0, Loss.KILLED)])
def test_whether_memory_was_why_is_asked_of_the_workers_own_group(tmp_path: Path, kills: int, kind: Loss) -> None:
    (tmp_path / "memory.events").write_text(f"oom_group_kill 0\noom_kill {kills}\n")
    with Host(workers=1, threads=1, spares=0) as host:
        future = host.load(MATH, limits=Limits(deadline=None)).submit("spin")
        while not any(worker.in_flight for worker in host.statistics().workers):
            time.sleep(0.002)
        (worker,) = supervisor(host).workers.values()
        group = Group()
        group._oom = str(tmp_path / "memory.events")
        supervisor(host).groups.release(worker.group)
        worker.group = group
        os.kill(worker.process.pid, signal.SIGKILL)
        error = future.exception(30)
    assert isinstance(error, WorkerLost) and error.kind is kind


HOG = wat("""(module (memory 1)
  (func (export "devour") (param $pages i32)
    (drop (memory.grow (local.get $pages)))
    (memory.fill (i32.const 0) (i32.const 1) (i32.mul (local.get $pages) (i32.const 65536)))))""")


def test_a_group_that_has_no_memory_left() -> None:
    """Where this process's group was given to it: else no group of memory is made at all, and it is said why."""
    with Host(workers=1, threads=1, spares=0, group_limits=GroupLimits(memory="256MiB", processes=None)) as host:
        plugin = host.load(HOG, limits=Limits(memory="1GiB", deadline=None))
        assert plugin.call("devour", 16) is None
        groups = supervisor(host).groups
        if groups.usable:
            with pytest.raises(WorkerLost) as lost:
                plugin.call("devour", 8_192)
            assert lost.value.kind is Loss.MEMORY
        else:
            assert groups.missing["memory"] and control_groups() == set()


def test_the_doctor_has_tried_each() -> None:
    before = belongings()
    found = doctor.control_groups()
    assert list(found) == list(cgroups.CONTROLLERS)
    given = Groups(GroupLimits(processors=1.0))
    assert {controller for controller, why in found.items() if not why} == set(given.usable)
    assert left_behind(before) == {}
