"""A host's status socket, and the view that `sandboxhost top` makes of it."""

from __future__ import annotations

import io
import json
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
from rich.console import Console

from sandboxhost import Host, Limits, ProtocolError, Trap
from sandboxhost.cli import main
from sandboxhost.statistics import HostStatistics, PluginStatistics, WorkerStatistics
from sandboxhost.status import Snapshot, StatusSocket, read_snapshot
from sandboxhost.top import as_json, view

from .conftest import MATH, PACKAGES


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[tuple[Host, Path]]:
    """A host and its socket."""
    path = tmp_path / "status"
    with Host(workers=1, threads=1, status=path) as host:
        yield host, path
    assert not path.exists(), "the socket goes with the host"


def shown(now: Snapshot, before: Snapshot, height: int | None = None, width: int = 120) -> str:
    """The view as text."""
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(view(now, before, height, width))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_snapshot_is_what_the_host_says(watched: tuple[Host, Path]) -> None:
    host, path = watched
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_ISSOCK(path.stat().st_mode)
    plugin = host.load(MATH, name="seen", tenant="acme", limits=Limits(fuel=1000))
    plugin.map("add", [(1, 1)] * 9)
    with pytest.raises(Trap):
        plugin.call("divide", 1, 0)
    found = read_snapshot(path)
    assert found.pid == os.getpid() and found.uptime > 0 and found.left_out == 0
    assert found.host.plugins == host.statistics().plugins == (plugin.statistics(),)
    assert found.host.outcomes == {"ok": 9, "trap": 1} and found.host.latency == host.statistics().latency
    assert {worker.pid for worker in found.host.workers} <= {worker.pid for worker in host.statistics().workers}


def test_the_command_prints_it(watched: tuple[Host, Path], capsys: pytest.CaptureFixture[str]) -> None:
    host, path = watched
    host.load(MATH, name="seen", tenant="acme").call("add", 1, 2)
    assert main(["top", "--once", "--json", str(path)]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["host"]["plugins"][0]["outcomes"] == {"ok": 1} and data["host"]["plugins"][0]["latency"]["p99"] > 0
    assert main(["top", "--once", str(path)]) == 0
    text = capsys.readouterr().out
    assert "seen" in text and "acme" in text and "ready" in text and "calls/s" in text


def test_where_nobody_answers_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", "--once", str(tmp_path / "none")]) == 2
    assert "no host answers there" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["top", "--interval", "0", "x"])


def test_without_rich_it_says_what_to_install(watched: tuple[Host, Path]) -> None:
    program = "import sys; sys.modules['rich'] = None; from sandboxhost.cli import main; sys.exit(main(sys.argv[1:]))"
    for options, code in ((["--once"], 2), (["--once", "--json"], 0)):
        done = subprocess.run([sys.executable, "-c", program, "top", *options, str(watched[1])], capture_output=True, text=True,
                              env={**os.environ, "PYTHONPATH": PACKAGES}, check=False, timeout=60)  # fmt: skip
        assert done.returncode == code and ("sandboxhost[top]" in done.stderr) == (code == 2), done.stderr


def test_a_path_that_is_taken_is_refused_and_a_left_over_one_is_not(watched: tuple[Host, Path], tmp_path: Path) -> None:
    host, path = watched
    with pytest.raises(OSError, match="no status socket at"):
        Host(workers=0, status=path)
    assert read_snapshot(path).pid == os.getpid() and host.statistics().pending == 0
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(OSError, match="no status socket at"):
        Host(workers=0, status=file)
    assert file.read_text() == "mine"
    left = tmp_path / "left"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(left))
    with Host(workers=0, status=left):
        assert read_snapshot(left).host.ended == 0


def test_readers_that_do_not_read_hold_up_nobody_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that takes nothing of a large snapshot, one that writes, one that leaves at once: the next gets its own."""
    monkeypatch.setattr("sandboxhost.status.SEND_SECONDS", 0.1)
    many = tuple(PluginStatistics(f"plugin {number}", ended=number) for number in range(2500))
    served = StatusSocket(tmp_path / "s", lambda: HostStatistics(plugins=many))
    try:
        with socket.socket(socket.AF_UNIX) as idle, socket.socket(socket.AF_UNIX) as loud, socket.socket(socket.AF_UNIX) as gone:
            for peer in (idle, loud, gone):
                peer.connect(str(tmp_path / "s"))
            loud.send(b"x" * 1000)
            gone.close()
            found = read_snapshot(tmp_path / "s", timeout=60.0)
        assert len(found.host.plugins) == 2000 and found.left_out == 500
        assert min(plugin.ended for plugin in found.host.plugins) == 500, "those with the fewest calls are left out"
    finally:
        served.close()
        served.close()
    assert not (tmp_path / "s").exists()


def answer(path: Path, data: bytes) -> None:
    """A socket of somebody else's, which answers once."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        peer, _ = listener.accept()
        with peer, listener:
            peer.sendall(data)

    threading.Thread(target=serve, daemon=True).start()


def good_answer(tmp_path: Path, **changes: Any) -> bytes:
    """What a host would say, changed."""
    plugin = PluginStatistics("p", outcomes={"ok": 1})
    served = StatusSocket(tmp_path / "good", lambda: HostStatistics(
        plugins=(plugin,), workers=(WorkerStatistics(1, "ready", 1, 0, 0, 1),)))  # fmt: skip
    try:
        whole: dict[str, Any] = msgpack.unpackb(served._packed())
    finally:
        served.close()
    whole["host"]["plugins"][0].update(changes)
    packed: bytes = msgpack.packb(whole)
    return packed


@pytest.mark.parametrize(
    "changes",
    [{"ended": "many"}, {"latency": [[1], 0.0]}, {"outcomes": {"ok": []}}, {"latency": None}, {"surprise": 1}, {"ended": True}],
)
def test_answers_that_are_no_snapshot(tmp_path: Path, changes: dict[str, Any]) -> None:
    answer(tmp_path / "s", good_answer(tmp_path, **changes))
    with pytest.raises(ProtocolError, match="no snapshot of a host"):
        read_snapshot(tmp_path / "s")


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x90" * 50, msgpack.packb({"version": 99}), b"\x81" * 3000])
def test_answers_that_are_nothing_at_all(tmp_path: Path, data: bytes) -> None:
    answer(tmp_path / "s", data)
    with pytest.raises(ProtocolError):
        read_snapshot(tmp_path / "s")


def test_names_cannot_speak_to_the_terminal(tmp_path: Path) -> None:
    answer(tmp_path / "s", good_answer(tmp_path, name="\x1b[2J[bold]evil[/]", tenant="\x07\u202e"))
    found = read_snapshot(tmp_path / "s")
    text = shown(found, found)
    assert "\x1b" not in text and "\x07" not in text and "\u202e" not in text
    assert "\\x1b[2J[bold]evil[/]" in text


def test_the_view_is_no_larger_than_the_terminal() -> None:
    def snapshot(taken: float, factor: int) -> Snapshot:
        plugins = tuple(PluginStatistics(f"plugin {n}", f"tenant {n % 20}", ended=n * factor, pending=n, queued=n,
                                         pending_allowed=100, quarantined=n == 3) for n in range(100))  # fmt: skip
        workers = tuple(WorkerStatistics(n, "ready", 2, 1, n, 3, "full", "", "default", 12 << 20) for n in range(40))
        return Snapshot(1, 90061.0, taken, HostStatistics(plugins=plugins, workers=workers))

    for height, width in ((24, 80), (40, 120), (60, 200)):
        lines = shown(snapshot(11.0, 3), snapshot(10.0, 1), height, width).rstrip("\n").split("\n")
        assert len(lines) <= height and max(map(len, lines)) <= width, (height, width)
        assert any(line.startswith("plugin 99") for line in lines), "those that wait most come first"
    whole = shown(snapshot(11.0, 3), snapshot(10.0, 1))
    assert "1 d 01:01:01" in whole and "quarantined" in whole and "queue full" in whole
    (row,) = [line for line in whole.split("\n") if line.startswith("plugin 50 ")]
    assert " 100 " in row, "calls a second: 50 * (3 - 1) in one second"
    assert len(as_json(snapshot(1.0, 1))["host"]["plugins"]) == 100
