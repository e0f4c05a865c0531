"""Other processes of the application's user that find the endpoint of a worker: they get nothing, and nobody notices them."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from sandboxhost import Host, transport
from tests.e2e.conftest import MATH

from . import stranger


def test_a_stranger_gets_nothing_and_disturbs_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers accept the host's process alone, and nobody once the filter of system calls is there, which forbids to accept."""
    with tempfile.TemporaryDirectory(prefix="strange-") as place:
        monkeypatch.setattr(tempfile, "tempdir", place)
        command = [sys.executable, str(Path(stranger.__file__)), place]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout is not None and other.stdout.readline() == "begun\n"
            for number in range(3):
                with Host(workers=3, threads=1, spares=0) as host:
                    plugin = host.load(MATH)
                    assert plugin.call("add", number, 1) == number + 1
                    assert list(plugin.map("add", [(n, n) for n in range(50)])) == [2 * n for n in range(50)]
                    end = time.monotonic() + 60
                    while any(worker.state != "ready" for worker in host.statistics().workers):
                        assert time.monotonic() < end
                        time.sleep(0.002)
                    counts = host.statistics()
                assert counts.workers_started == 3 and not counts.workers_lost and not counts.protocol_errors
            said = json.loads(other.communicate("")[0])
    assert said.get("bytes", 0) == 0
    assert said.get("connected", 0) > 0, "it finds some: else this shows nothing"


def test_an_endpoint_is_there_for_nobody_once_its_worker_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    opened: list[Path] = []
    real = transport.Transport.open_endpoint

    def open_endpoint(self: transport.Transport, worker: bytes) -> tuple[str, object]:
        endpoint, listener = real(self, worker)
        path = Path(endpoint.removeprefix("ipc://"))
        assert path.is_socket() and path.parent.stat().st_mode & 0o777 == 0o700
        opened.append(path)
        return endpoint, listener

    monkeypatch.setattr(transport.Transport, "open_endpoint", open_endpoint)
    with Host(workers=2, threads=1, spares=0) as host:
        host.load(MATH).call("nothing")
        end = time.monotonic() + 60
        while any(worker.state != "ready" for worker in host.statistics().workers):
            assert time.monotonic() < end
            time.sleep(0.002)
        assert len(opened) == 2 and not any(path.parent.exists() for path in opened)
