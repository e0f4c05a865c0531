"""What the host sees of a process's lock-down, what it refuses, and machines that have less of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from sandboxhost import Host, Supervision, cgroups, doctor, lockdown
from sandboxhost.errors import ProtocolError, WorkerStartError
from sandboxhost.options import LAYERS, LEVELS
from sandboxhost.values import FunctionType
from tests.chaos.faults import few_descriptors
from tests.conftest import ROOT
from tests.e2e.conftest import MATH, PACKAGES
from tests.workers.driver import I32, WorkerDriver, binary

PLUGIN = binary('(module (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1))))')


def statuses(pid: int) -> dict[str, dict[str, str]]:
    """Of every thread: its name -> the fields of its status."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        lines = (task / "status").read_text().splitlines()
        fields = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        found[f"{fields['Name']} {task.name}"] = fields
    return found


@pytest.mark.parametrize("directories", [0, 1])
def test_every_thread_of_a_worker_has_the_filter(tmp_path: Path, directories: int) -> None:
    """ZeroMQ's own threads too, in which no Python runs."""
    fds = tuple(os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY) for _ in range(directories))
    worker = WorkerDriver(granted=(True,) * directories, fds=fds)
    try:
        threads = statuses(worker.process.pid)
        kinds = sorted(name.split()[0].split("/")[-1] for name in threads)
        assert len(threads) == 1 + 2 + 1 + 2, f"main, ZeroMQ's, the watchdog, two for calls: {kinds}"
        assert any("Reaper" in name for name in threads) and any("IO" in name for name in threads)
        for name, fields in threads.items():
            assert (fields["Seccomp"], fields["NoNewPrivs"]) == ("2", "1"), name
            for kind in ("CapPrm", "CapEff", "CapInh", "CapAmb"):
                assert int(fields[kind], 16) & ~lockdown.FILE_CAPABILITIES == 0, (name, kind)
        lockdown.check(worker.process.pid, worker.ready.level, worker.ready.missing, "seccomp-only")
        worker.load(PLUGIN, directories=[("/data", str(tmp_path), True)] * directories)
        assert worker.result(FunctionType((I32, I32), (I32,)), "add", 2, 40) == (42,)
    finally:
        worker.close()
        for fd in fds:
            os.close(fd)


def test_a_process_that_says_more_than_is_so_is_refused() -> None:
    """This process, which has put nothing on, under every level's name."""
    for level in LEVELS[1:]:
        with pytest.raises(ProtocolError, match="thread .* has Seccomp 0"):
            lockdown.check(os.getpid(), level, "", "none")
    with pytest.raises(ProtocolError, match="level: 'splendid'"):
        lockdown.check(os.getpid(), "splendid", "", "none")
    lockdown.check(os.getpid(), "none", "everything: not tried", "none")


def test_a_process_that_cannot_be_looked_at_is_refused() -> None:
    with pytest.raises(WorkerStartError, match="/proc does not show process 4194303"):
        lockdown.check(2**22 - 1, "full", "", "none")


class Short:
    """Looks at a process as the host does, but for so many times without a free descriptor."""

    def __init__(self, times: int) -> None:
        self.times, self.check = times, lockdown.check
        self.pids: list[int] = []

    def __call__(self, pid: int, *words: Any) -> None:
        if len(self.pids) < self.times:
            self.pids.append(pid)
            with few_descriptors(0):
                self.check(pid, *words)
        else:
            self.check(pid, *words)


def test_a_host_that_is_short_of_descriptors_blames_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """More often than workers may fail to boot: it is the host that cannot look at them, and that passes."""
    rules = Supervision(spares=0, boot_attempts=1, backoff=0.01, max_backoff=0.02)
    with Host(workers=1, supervision=rules) as host:
        plugin = host.load(MATH)
        assert plugin.call("add", 1, 1) == 2
        short = Short(6)
        monkeypatch.setattr(lockdown, "check", short)
        victim = host.statistics().workers[0].pid
        os.kill(victim, 9)
        end = time.monotonic() + 60
        while not any(w.state == "ready" and w.pid not in (victim, *short.pids) for w in host.statistics().workers):
            assert time.monotonic() < end
            time.sleep(0.005)
        assert plugin.call("add", 2, 40) == 42
        assert len(set(short.pids)) == 6
        counts = host.statistics()
    assert counts.protocol_errors == 0 and counts.losses == {"killed from outside": 1, "host": 6}
    assert caplog.text.count("the host cannot look at it now: /proc does not show process") >= 6
    assert "Too many open files" in caplog.text


def test_a_worker_that_dies_before_it_is_looked_at_is_a_lost_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """What /proc does not show of it is neither a lie of the worker's nor a reason to start no other one."""
    real, killed = lockdown.check, []

    def check(pid: int, *words: Any) -> None:
        if threading.current_thread().name == "sandboxhost-io" and len(killed) < 2:
            killed.append(pid)
            os.kill(pid, signal.SIGKILL)
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            if len(killed) == 1:
                raise WorkerStartError("/proc does not show it") from FileNotFoundError()
        real(pid, *words)

    monkeypatch.setattr(lockdown, "check", check)
    with Host(workers=1, spares=0) as host:
        assert host.load(MATH).call("add", 2, 40) == 42
        assert len(killed) == 2 and host.statistics().losses == {"killed from outside": 2}
        assert host.statistics().protocol_errors == 0


def test_less_than_the_minimum_names_what_is_missing() -> None:
    with pytest.raises(WorkerStartError, match=r"'none' only.*landlock: No such.*sandboxhost doctor"):
        lockdown.check(os.getpid(), "none", "landlock: No such", "seccomp-only")


def test_a_host_that_is_refused_its_workers_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, for all calls, and without trying again and again."""
    def refuse(pid: int, level: str, missing: str, minimum: str) -> None:
        raise WorkerStartError("too little, in words")

    with Host(workers=2) as host:
        monkeypatch.setattr(lockdown, "check", refuse)
        with pytest.raises(WorkerStartError, match="too little, in words"):
            host.load(MATH)
    monkeypatch.undo()
    with Host(workers=1) as host:
        plugin = host.load(MATH)
        monkeypatch.setattr(lockdown, "check", refuse)
        os.kill(host.statistics().workers[0].pid, 9)
        with pytest.raises(WorkerStartError, match="too little, in words"):
            for _ in range(100):
                try:
                    plugin.call("nothing")
                except WorkerStartError:
                    raise
                except Exception:
                    continue


def test_the_minimum_is_one_of_the_levels() -> None:
    with pytest.raises(ValueError, match="unknown level 'most'"):
        Host(workers=1, minimum_level="most")  # type: ignore[arg-type]


# A user namespace in which no namespaces can be made stands for a machine that forbids them.
FORBIDDEN = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
user, group = os.geteuid(), os.getegid()
if libc.unshare(0x10000000):
    sys.exit(99)
try:
    open("/proc/self/setgroups", "w").write("deny")
    open("/proc/self/uid_map", "w").write(f"0 {user} 1")
    open("/proc/self/gid_map", "w").write(f"0 {group} 1")
    for kind in ("user", "net"):
        open(f"/proc/sys/user/max_{kind}_namespaces", "w").write("0")
except OSError:
    sys.exit(99)
"""


def forbidden(program: str) -> subprocess.CompletedProcess[str]:
    """Runs a program where namespaces are forbidden."""
    done = subprocess.run([sys.executable, "-c", FORBIDDEN + program], capture_output=True, text=True, cwd=ROOT, check=False,
                          env={**os.environ, "PYTHONPATH": f"{PACKAGES}:{ROOT}"})  # fmt: skip
    if done.returncode == 99:
        pytest.skip("this machine does not let its user namespaces be limited, so a machine without them cannot be imitated")
    return done


def test_where_namespaces_are_forbidden_the_rest_holds_and_says_so() -> None:
    done = forbidden("""
from sandboxhost import Host, WorkerStartError
from tests.e2e.conftest import MATH
with Host(workers=1) as host:
    print(host.load(MATH).call("add", 2, 40), host.statistics().workers[0].level)
with Host(workers=1, minimum_level="full") as host:
    try:
        host.load(MATH)
    except WorkerStartError as exc:
        print(exc)
""")
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == "42 no-userns"
    assert "level 'no-userns' only, and 'full' is the least" in second and "namespaces: " in second


def test_the_command_line_takes_the_minimum(tmp_path: Path) -> None:
    (tmp_path / "math.wasm").write_bytes(MATH)
    call = [str(tmp_path / "math.wasm"), "add", "2", "40"]
    done = forbidden(f"""
from sandboxhost.cli import main
for command in ("run", "demo"):
    for level in ("full", "no-userns"):
        print(main([command, "--minimum-level", level, *({call!r} if command == "run" else ["--workers", "1"])]))
""")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:4] == ["76", "42", "0", "76"] and lines[-1] == "0" and len(lines) > 20
    assert done.stderr.count("level 'no-userns' only, and 'full' is the least that is accepted") == 2


def test_the_doctor_there() -> None:
    done = forbidden("""
from sandboxhost.doctor import main
sys.exit(main(as_json=False))
""")
    assert done.returncode == 0, done.stderr
    assert "namespaces is missing" in done.stdout and "sysctl user.max_user_namespaces" in done.stdout
    assert "every process reaches 'no-userns' or more" in done.stdout


def test_the_doctor_here(capsys: pytest.CaptureFixture[str]) -> None:
    code = doctor.main(as_json=True)
    report = json.loads(capsys.readouterr().out)
    assert [p["process"] for p in report["processes"]] == ["worker", doctor.WITH_DIRECTORY, "compile process"]
    for process in report["processes"]:
        assert list(process["layers"]) == list(LAYERS) and not process["failure"]
        for layer in process["layers"].values():
            assert layer["state"] in ("holds", "missing", "none needed")
            assert bool(layer["advice"]) == (layer["state"] == "missing")
    assert list(report["control_groups"]) == list(cgroups.CONTROLLERS)
    for group in report["control_groups"].values():
        assert group["state"] == ("missing" if group["reason"] else "holds") and bool(group["advice"]) == bool(group["reason"])
    assert code == (0 if LEVELS.index(report["level"]) >= LEVELS.index("seccomp-only") else 1)


def test_the_doctor_where_it_is_too_little(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    finding = doctor.Finding("worker", "none", 0.1, {"seccomp": "Function not implemented"})
    monkeypatch.setattr(doctor, "examine", lambda: [finding])
    assert doctor.main(as_json=False) == doctor.BELOW_MINIMUM
    text = capsys.readouterr().out
    assert "seccomp is missing" in text and "worker: Function not implemented" in text
    assert "A host refuses to run plugins here unless it is told minimum_level='none'" in text
