"""Trust domains: who shares a process with whom, seen from outside; and instances that serve a number of calls."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from sandboxhost import Grants, Host, Limits, Manifest, Plugin, WorkerStatistics, i32

from .conftest import HELPED, MATH


def worker_of(plugin: Plugin) -> int:
    """The process that served a call of the plugin."""
    return plugin.invoke("nothing").usage.worker


def wait_for(condition: Any, what: str, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.002)


def workers(host: Host) -> dict[int, WorkerStatistics]:
    return {worker.pid: worker for worker in host.statistics().workers}


def test_tenants_never_share_a_process_and_their_workers_go_with_their_last_plugin() -> None:
    with Host(workers=1) as host:
        nobodys, ours = host.load(MATH), host.load(MATH, tenant="ours")
        theirs, again = host.load(MATH, tenant="theirs"), host.load(MATH, tenant="ours")
        assert worker_of(ours) == worker_of(again) and len({worker_of(p) for p in (nobodys, ours, theirs)}) == 3
        found = workers(host)
        assert [found[worker_of(p)].tenant for p in (nobodys, ours, theirs)] == ["", "ours", "theirs"]
        assert found[worker_of(ours)].domain == "tenant 'ours'" and found[worker_of(nobodys)].domain == "default"
        gone, stays = psutil.Process(worker_of(theirs)), psutil.Process(worker_of(ours))
        theirs.unload()
        ours.unload()
        gone.wait(10)
        assert stays.is_running() and again.call("add", 1, 2) == 3
        again.unload()
        stays.wait(10)
        nobodys.unload()
        wait_for(lambda: len(workers(host)) == 1, "the default domain stays")
        statistics = host.statistics()
        assert statistics.workers_lost == 0 and not statistics.losses and statistics.workers_recycled == 0
        assert host.load(MATH, tenant="ours").call("add", 1, 2) == 3, "and comes back"


def test_directories_make_a_domain_by_what_they_are(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to("a")

    def load(host: Host, **directories: Any) -> int:
        grants = Grants(directories={f"/{guest}": value for guest, value in directories.items()})
        return worker_of(host.load(MATH, grants=grants))

    with Host(workers=1) as host:
        a, b = tmp_path / "a", tmp_path / "b"
        first = load(host, x=a)
        assert load(host, elsewhere=tmp_path / "link") == first, "the same directory, by another name"
        others = [load(host), load(host, x=b), load(host, x=(a, "rw")), load(host, x=a, y=b)]
        assert len({first, *others}) == 5
        assert load(host, y=a, x=b) == others[-1], "in another order"
        assert sorted(worker.domain for worker in workers(host).values()) == [
            "1 directory", "1 directory", "1 directory", "2 directories", "default"]  # fmt: skip


@pytest.mark.parametrize("who", ["application", "manifest"])
def test_a_plugin_with_a_process_of_its_own(who: str) -> None:
    more: dict[str, Any] = {"isolation": "plugin"} if who == "application" else {"manifest": Manifest("m", isolation="plugin")}
    with Host(workers=1) as host:
        alone, other, shared = host.load(MATH, **more), host.load(MATH, **more), host.load(MATH)
        assert len({worker_of(p) for p in (alone, other, shared)}) == 3
        assert workers(host)[worker_of(alone)].domain == f"plugin {alone.number} alone"
    with Host(workers=1) as host:
        manifest = Manifest("m", isolation="shared")
        alone = host.load(MATH, manifest=manifest, isolation="plugin")
        assert worker_of(alone) != worker_of(host.load(MATH)), "a manifest makes it only stricter"


def test_what_is_no_isolation_and_no_instance() -> None:
    for wrong in ({"isolation": "none"}, {"instance": 0}, {"instance": True}, {"instance": "eternal"}):
        with Host(workers=0) as host, pytest.raises(ValueError, match=next(iter(wrong))):
            host.load(MATH, **wrong)  # type: ignore[arg-type]


def test_a_domain_starts_small_and_grows_while_its_calls_find_no_thread() -> None:
    with Host(workers=3, threads=1) as host:
        plugin = host.load(MATH, tenant="a", limits=Limits(deadline=60.0))

        def mine() -> list[WorkerStatistics]:
            return [worker for worker in workers(host).values() if worker.tenant == "a"]

        assert len(mine()) == 1
        futures = [plugin.submit("spin") for _ in range(2)]
        wait_for(lambda: sum(worker.in_flight for worker in mine()) == 2, "a second worker takes the second call")
        assert len(mine()) == 2
        futures += [plugin.submit("spin") for _ in range(5)]
        wait_for(lambda: sum(worker.in_flight for worker in mine()) == 3, "and a third, the last, the third")
        assert len(mine()) == 3
        for future in futures:
            future.cancel()
        assert sorted(plugin.map("add", [(i, i) for i in range(5000)])) == list(range(0, 10000, 2))


def test_calls_across_domains_through_the_application() -> None:
    with Host(workers=1, threads=1) as host:
        seen = []

        @host.function("app", "lookup")
        def lookup(key: i32) -> int:
            seen.append(os.getpid())
            return int(inner.call("go", key - 1)) + 1 if key > 10 else key

        outer, inner = host.load(HELPED, tenant="a"), host.load(HELPED, tenant="b")
        assert outer.call("go", 11) == 11, "each in its own process"
        assert len(seen) == 2 and outer.invoke("plain", 1).usage.worker != inner.invoke("plain", 1).usage.worker

    with Host(workers=1, threads=1) as host:

        @host.function("app", "lookup")
        def back(key: i32) -> int:
            plugin = second if key % 2 else first
            return int(plugin.call("go", key - 1)) + 1 if key else 0

        first, second = host.load(HELPED, tenant="a"), host.load(HELPED, tenant="b")
        assert first.call("go", 7) == 7, "to and fro, on one thread each"


@pytest.mark.parametrize("workers", [1, 0], ids=["workers", "in_process"])
def test_an_instance_that_serves_three_calls(workers: int) -> None:
    with Host(workers=workers) as host:
        plugin = host.load(MATH, instance=3)
        assert [plugin.call("bump") for _ in range(7)] == [1, 2, 3, 1, 2, 3, 1]
        assert plugin.map("bump", [()] * 6) == [2, 3, 1, 2, 3, 1], "rows are calls"
        later = [f.result(10) for f in [plugin.submit("bump") for _ in range(4)]]
        assert (later if workers else sorted(later)) == ([2, 3, 1, 2] if workers else [1, 2, 2, 3]), "in process in any order"
        one = host.load(MATH, manifest=Manifest("m", instance=1))
        assert [one.call("bump") for _ in range(3)] == [1, 1, 1]


def test_an_instance_is_not_renewed_under_the_call_that_it_serves() -> None:
    with Host(workers=1, threads=1) as host:

        @host.function("app", "lookup")
        def lookup(key: i32) -> int:
            return int(plugin.call("go", key - 1)) + 1 if key else 0

        plugin = host.load(HELPED, instance=2)
        assert [plugin.call("go", depth) for depth in (5, 0, 3, 1)] == [5, 0, 3, 1]
