"""`sandboxhost top`: a live view of one host in the terminal, from the snapshots of its status socket (status.py)."""
from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from .errors import printable
from .statistics import Latency, PluginStatistics
from .status import Snapshot, read_snapshot

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

__all__ = ["as_json", "main", "view"]

MISSING = "sandboxhost top needs rich: pip install 'sandboxhost[top]' (or use --once --json)"
_FIRST_SECONDS = 0.5
"""Between the two snapshots that a single view tells its rates from."""
_HOST_ROWS, _FRAME_ROWS = 3, 4
"""Of the head; of a table's title, header, rule and caption."""
_NARROW = 110
"""Columns of a terminal; below, tables leave out what matters least."""
_GOOD = ("ok", "exit")


class Rates(NamedTuple):
    """One plugin, or several together, over the time between two snapshots."""

    calls: float
    """A second."""
    failed: float
    """A second, refused ones included."""
    busy: float
    """Threads' worth of work."""
    latency: Latency


def main(path: str, once: bool, as_data: bool, interval: float) -> int:
    """Runs the command. Raises OSError, ProtocolError: no host answers (any more)."""
    if as_data:
        print(json.dumps(as_json(read_snapshot(path))))
        return 0
    try:
        from rich.console import Console
        from rich.live import Live
    except ModuleNotFoundError:
        print(MISSING, file=sys.stderr)
        return 2
    console = Console()
    before = read_snapshot(path)
    time.sleep(min(interval, _FIRST_SECONDS))
    now = read_snapshot(path)
    if once or not console.is_terminal:
        console.print(view(now, before, None, console.width))
        return 0
    with Live(view(now, before, console.height, console.width), console=console, screen=True, auto_refresh=False) as live:
        while True:
            time.sleep(interval)
            before, now = now, read_snapshot(path)
            live.update(view(now, before, console.height, console.width), refresh=True)


def as_json(snapshot: Snapshot) -> dict[str, Any]:
    """The snapshot with quantiles, as plain data."""
    data = dataclasses.asdict(snapshot)
    pairs = [(data["host"], snapshot.host.latency), *(
        (entry, plugin.latency) for entry, plugin in zip(data["host"]["plugins"], snapshot.host.plugins, strict=True))]
    for entry, latency in pairs:
        entry["latency"] = {
            "calls": latency.calls, "mean": latency.mean, "counts": list(latency.counts), "seconds": latency.seconds,
            **{f"p{name}": latency.quantile(q) for name, q in (("50", 0.5), ("99", 0.99), ("99_9", 0.999))}}
    return data


def rates(now: Iterable[PluginStatistics], before: Iterable[PluginStatistics], seconds: float) -> Rates:
    """Of plugins together. One that was not there before counts from its beginning."""
    new, old = list(now), list(before)
    calls = sum(p.ended for p in new) - sum(p.ended for p in old)
    failed = sum(_failed(p) for p in new) - sum(_failed(p) for p in old)
    busy = sum(p.busy_seconds for p in new) - sum(p.busy_seconds for p in old)
    latency = _sum(p.latency for p in new).since(_sum(p.latency for p in old))
    return Rates(max(0.0, calls / seconds), max(0.0, failed / seconds), max(0.0, busy / seconds), latency)


def _failed(plugin: PluginStatistics) -> int:
    return sum(count for outcome, count in plugin.outcomes.items() if outcome not in _GOOD)


def _sum(latencies: Iterable[Latency]) -> Latency:
    found = list(latencies)
    return Latency(tuple(map(sum, zip(*(one.counts for one in found), strict=True))) if found else Latency().counts,
                   sum(one.seconds for one in found))


# ---- the view ----

def view(now: Snapshot, before: Snapshot, height: int | None, width: int = 120) -> RenderableType:
    """What is shown, for rich; no more rows than the terminal has, all of them with `height` None; fewer columns where it is
    narrow."""
    from rich.console import Group

    seconds = max(1e-3, now.taken - before.taken)
    tenants = {plugin.tenant for plugin in now.host.plugins}
    room = (10**9,) * 3
    if height is not None:
        left = max(6, height - _HOST_ROWS - _FRAME_ROWS * 3)
        room = (max(2, left // 2), max(2, left // 6), max(2, left // 3))
    parts: list[RenderableType] = [_head(now, before, seconds), _plugins(now, before, seconds, width, room[0])]
    if tenants - {""}:
        parts.append(_tenants(now, before, seconds, width, room[1]))
    parts.append(_workers(now, before, seconds, width, room[2]))
    return Group(*parts)


def _head(now: Snapshot, before: Snapshot, seconds: float) -> RenderableType:
    from rich.text import Text

    host = now.host
    total = rates(host.plugins, before.host.plugins, seconds)
    bad = {name: count for name, count in host.outcomes.items() if name not in _GOOD and count}
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f"sandboxhost  process {now.pid}", "bold").append(f"  up {_duration(now.uptime)}\n")
    text.append(f"{_number(total.calls)} calls/s", "bold green").append(f"  p50 {_latency(total.latency, 0.5)}")
    text.append(f"  p99 {_latency(total.latency, 0.99)}  pending {host.pending}  queued {host.queued}")
    text.append(f"  busy {total.busy:.2f} of {sum(worker.threads for worker in host.workers)} threads\n")
    text.append(f"{host.ended} calls so far", "dim")
    for name, count in sorted(bad.items(), key=lambda item: -item[1])[:6]:
        text.append(f"  {printable(name, 30)} {count}", "red")
    text.append(f"  spares {host.spares}  lost {host.workers_lost}  recycled {host.workers_recycled}  "
                f"modules {host.compile.modules} ({_bytes(host.compile.image_bytes)}, {host.compile.hits} hits)", "dim")
    return text


class Columns:
    """A table of which some columns (their names end in "~") are left out where the terminal is narrow."""

    def __init__(self, title: str, names: str, left: int, width: int) -> None:
        from rich import box
        from rich.table import Table

        self.table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, show_edge=False,
                           pad_edge=False, expand=True)
        columns = names.split("|")
        self._kept = [place for place, name in enumerate(columns) if width >= _NARROW or not name.endswith("~")]
        for place in self._kept:
            self.table.add_column(columns[place].rstrip("~"), justify="left" if place < left else "right", no_wrap=True,
                                  overflow="ellipsis", ratio=1 if place == 0 else None, min_width=12 if place == 0 else None)

    def add(self, *cells: str | Text) -> None:
        """A row, of all columns."""
        self.table.add_row(*(cells[place] for place in self._kept))

    def more(self, count: int) -> Table:
        """The table, which says how many rows there was no room for."""
        if count > 0:
            self.table.caption, self.table.caption_justify = f"{count} more", "left"
        return self.table


def _plugins(now: Snapshot, before: Snapshot, seconds: float, width: int, most: int) -> Table:
    from rich.text import Text

    old = _by_key(before)
    rows = [(plugin, rates([plugin], [old[key]] if key in old else [], seconds)) for key, plugin in _by_key(now).items()]
    rows.sort(key=lambda row: (row[0].pending, row[1].calls, row[0].ended), reverse=True)
    table = Columns("plugins", "plugin|tenant|state|calls/s|failed/s|p50|p99|queued|running~|busy~|memory~|calls~", 3, width)
    for plugin, rate in rows[:most]:
        full = plugin.pending_allowed and plugin.pending >= 0.8 * plugin.pending_allowed
        state = ("quarantined", "bold red") if plugin.quarantined else ("queue full", "bold red") if full else (
            ("draining", "yellow") if plugin.draining else ("busy", "green") if rate.calls or plugin.pending else ("idle", "dim"))
        table.add(
            Text(plugin.name, "bold").append(f" #{plugin.generation}" if plugin.generation > 1 else "", "cyan"),
            Text(plugin.tenant), Text(*state), _number(rate.calls), Text(_number(rate.failed), "red" if rate.failed else ""),
            _latency(rate.latency, 0.5), _latency(rate.latency, 0.99), str(plugin.queued), str(plugin.in_flight),
            f"{rate.busy:.2f}", _bytes(plugin.memory_peak), str(plugin.ended))
    return table.more(max(0, len(rows) - most) + now.left_out)


def _by_key(snapshot: Snapshot) -> dict[tuple[str, str, int], PluginStatistics]:
    """Plugins by name and tenant, those of the same two by their order."""
    found: dict[tuple[str, str, int], PluginStatistics] = {}
    for plugin in snapshot.host.plugins:
        place = 0
        while (plugin.name, plugin.tenant, place) in found:
            place += 1
        found[plugin.name, plugin.tenant, place] = plugin
    return found


def _tenants(now: Snapshot, before: Snapshot, seconds: float, width: int, most: int) -> Table:
    from rich.text import Text

    groups: dict[str, tuple[list[PluginStatistics], list[PluginStatistics]]] = {}
    for place, snapshot in enumerate((now, before)):
        for plugin in snapshot.host.plugins:
            groups.setdefault(plugin.tenant, ([], []))[place].append(plugin)
    rows = [(name, mine, rates(mine, old, seconds)) for name, (mine, old) in groups.items() if mine]
    rows.sort(key=lambda row: (sum(plugin.pending for plugin in row[1]), row[2].calls), reverse=True)
    table = Columns("tenants", "tenant|plugins|calls/s|failed/s|p50|p99|queued|running~|busy~", 1, width)
    for name, mine, rate in rows[:most]:
        table.add(
            Text(name or "(none)"), str(len(mine)), _number(rate.calls), Text(_number(rate.failed), "red" if rate.failed else ""),
            _latency(rate.latency, 0.5), _latency(rate.latency, 0.99), str(sum(plugin.queued for plugin in mine)),
            str(sum(plugin.in_flight for plugin in mine)), f"{rate.busy:.2f}")
    return table.more(len(rows) - most)


def _workers(now: Snapshot, before: Snapshot, seconds: float, width: int, most: int) -> Table:
    from rich.text import Text

    old = {worker.pid: worker.calls for worker in before.host.workers}
    rows = sorted(now.host.workers, key=lambda worker: (-worker.in_flight, worker.pid))
    table = Columns("workers", "domain|process|state|locked down~|calls/s|running|threads~|plugins~|resident|calls~", 4, width)
    styles = {"ready": "green", "starting": "yellow", "draining": "yellow", "killed": "red"}
    for worker in rows[:most]:
        table.add(
            Text(worker.domain), str(worker.pid), Text(worker.state, styles.get(worker.state, "")), Text(worker.level),
            _number((worker.calls - old.get(worker.pid, 0)) / seconds), str(worker.in_flight), str(worker.threads),
            str(worker.plugins), _bytes(worker.resident), str(worker.calls))
    return table.more(len(rows) - most)


# ---- words ----

def _number(value: float) -> str:
    return "0" if value < 0.05 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _bytes(value: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            break
        value /= 1024
    return f"{value:.0f} {unit}"


def _latency(latency: Latency, q: float) -> str:
    seconds = latency.quantile(q)
    if seconds is None:
        return "-"
    for factor, unit in ((1e6, "µs"), (1e3, "ms")):
        if seconds * factor < 999.5:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds:.3g} s"


def _duration(seconds: float) -> str:
    whole = int(seconds)
    days, rest = divmod(whole, 86400)
    clock = f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days} d {clock}" if days else clock
