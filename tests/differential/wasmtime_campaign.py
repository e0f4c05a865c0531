"""Many modules against wasmtime, in worker processes that may crash or hang: resumable, with progress, findings and a verdict.

``python -m tests.differential --wasmtime``; where the extension is not built, ``python -m tests.differential.wasmtime_campaign``.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import select
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from tests.fuzz.build import PLAIN, SANITIZED, Builder
from tests.fuzz.corpus import handmade
from tests.variants import sanitizer_environment

from .modules import PLACE

ROOT = Path(__file__).resolve().parents[2]
CHUNK = 50
STALL = 120.0
"""Seconds on one module after which a worker hangs."""


@dataclass
class State:
    """What is done; kept in a file between runs."""

    next: int = 0
    seconds: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)

    @classmethod
    def load(cls, path: Path, seed: int) -> State:
        """From the file, or new."""
        try:
            kept: dict[str, Any] = json.loads(path.read_text())
        except FileNotFoundError:
            return cls(next=seed)
        return cls(kept["next"], kept["seconds"], Counter(kept["counts"]), kept["findings"])

    def save(self, path: Path) -> None:
        """To the file, at once or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps({f.name: getattr(self, f.name) for f in fields(self)}))
        part.replace(path)


class Worker:
    """One process of tests.differential.modules, replaced when it dies or hangs."""

    def __init__(self, library: Path, handmade: Path, environment: dict[str, str]) -> None:
        self._library, self._handmade = library, handmade
        self._environment = {**os.environ, **environment, "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "workers")))}
        self._place = tempfile.NamedTemporaryFile(prefix="seed-")  # noqa: SIM115  # lives as long as the worker
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        self._process: subprocess.Popen[bytes] | None = None
        self._read = b""

    def _start(self) -> subprocess.Popen[bytes]:
        self._place.seek(0)
        self._place.write(struct.pack("<qq", -1, 0).ljust(PLACE, b"\0"))
        self._place.flush()
        files = map(str, (self._library, self._place.name, self._handmade))
        command = [sys.executable, "-m", "tests.differential.modules", *files]
        self._errors.seek(0)
        self._errors.truncate()
        return subprocess.Popen(
            command, cwd=ROOT, env=self._environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors
        )

    def _at_work(self) -> tuple[int, bytes]:
        """The seed and the module that the process is, or was, at."""
        kept = Path(self._place.name).read_bytes()
        seed, size = struct.unpack_from("<qq", kept)
        return int(seed), kept[16 : 16 + size]

    def run(self, first: int, count: int) -> tuple[list[dict[str, Any]], Counter[str]]:
        """(findings, counts) of the seeds from ``first`` on; a crash is a finding, and what follows it is run all the same."""
        findings: list[dict[str, Any]] = []
        end = first + count
        while first < end:
            if self._process is None:
                self._process = self._start()
            process = self._process
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write(f"{first} {end - first}\n".encode())
            process.stdin.flush()
            while line := self._line(process):
                answer = json.loads(line)
                if "done" in answer:
                    return findings, Counter(answer["counts"])
                findings.append(answer)
            seed, data = self._at_work()
            if seed < first:
                raise SystemExit(f"the worker does not start:\n{self._words()}")
            self.close()
            findings.append({"seed": seed, "words": f"the worker died or hung: {self._words()}", "data": data.hex()})
            first = seed + 1
        return findings, Counter()

    def _line(self, process: subprocess.Popen[bytes]) -> bytes:
        """The next line; empty when the process is dead, or was killed because it hangs."""
        assert process.stdout is not None
        at_work = -1
        while b"\n" not in self._read:
            if select.select([process.stdout], [], [], STALL)[0]:
                part = os.read(process.stdout.fileno(), 1 << 16)
                if not part:
                    return b""
                self._read += part
                continue
            seed, _ = self._at_work()
            if seed == at_work and seed >= 0:  # before that it is still starting
                process.kill()
                return b""
            at_work = seed
        line, _, self._read = self._read.partition(b"\n")
        return line

    def _words(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")[-3000:].strip()

    def close(self) -> None:
        """Ends the process."""
        process, self._process, self._read = self._process, None, b""
        if process is None:
            return
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


class WasmtimeCampaign:
    """Runs chunks of seeds on ``jobs`` workers until ``modules`` were compared, the time is over, or too much was found."""

    def __init__(self, out: Path, seed: int, jobs: int, sanitized: bool) -> None:
        library = Builder(SANITIZED if sanitized else PLAIN).library()
        modules = handmade()
        self.out = out
        self.state_file = out / f"wasmtime_{'sanitized' if sanitized else 'plain'}_{seed}.json"
        self.state = State.load(self.state_file, seed)
        environment = sanitizer_environment() if sanitized else {}
        self._workers = [Worker(library, modules[0].parent, environment) for _ in range(jobs)]
        self._results: queue.Queue[tuple[list[dict[str, Any]], Counter[str]] | BaseException] = queue.Queue()

    def _serve(self, worker: Worker, chunks: queue.Queue[int | None]) -> None:
        try:
            while (first := chunks.get()) is not None:
                self._results.put(worker.run(first, CHUNK))
        except BaseException as error:  # told to the one who waits
            self._results.put(error)
        finally:
            worker.close()

    def run(self, modules: int, seconds: float, most_findings: int) -> int:
        """0: no difference, and something was compared."""
        state, began = self.state, time.monotonic()
        before, chunks = state.seconds, queue.Queue[int | None]()
        threads = [threading.Thread(target=self._serve, args=(worker, chunks), daemon=True) for worker in self._workers]
        for thread in threads:
            thread.start()
        under_way = 0
        while True:
            in_time = time.monotonic() - began < seconds and len(state.findings) < most_findings
            more = in_time and state.counts["modules"] < modules
            while more and under_way < len(threads):
                chunks.put(state.next)
                state.next += CHUNK
                under_way += 1
            if not under_way:
                break
            result = self._results.get()
            if isinstance(result, BaseException):
                raise result
            under_way -= 1
            state.counts += result[1]
            state.seconds = before + time.monotonic() - began
            for finding in result[0]:
                self._write(finding)
            self._tell(modules)
        for _ in threads:
            chunks.put(None)
        for thread in threads:
            thread.join()
        state.save(self.state_file)
        return self._verdict(modules)

    def _write(self, finding: dict[str, Any]) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        path = self.out / f"wasmtime_{finding['seed']}.wasm"
        path.write_bytes(bytes.fromhex(finding["data"]))
        line = f"seed {finding['seed']}: {finding['words']} ({path})"
        self.state.findings.append(line)
        print(f"\n{line}", flush=True)

    def _tell(self, modules: int) -> None:
        done, seconds = self.state.counts["modules"], self.state.seconds
        bar = "#" * min(30, 30 * done // max(1, modules))
        found = len(self.state.findings)
        text = f"[{bar:<30}] {done} of {modules} modules, {done / max(seconds, 0.001):.0f}/s, {found} differences"
        print(f"\r{text}" if sys.stdout.isatty() else text, end="" if sys.stdout.isatty() else "\n", flush=True)

    def _verdict(self, modules: int) -> int:
        counts, state = self.state.counts, self.state
        done, failed = counts["modules"], bool(state.findings)
        print(f"\n{', '.join(f'{count} {name}' for name, count in counts.most_common())}")
        words = "FAILED" if failed or not done else "passed" if done >= modules else "no difference so far"
        print(f"{words}: {done} modules on wasmtime and both tiers, {len(state.findings)} differences, {state.seconds:.0f} s")
        return 1 if failed or not done else 0


def main() -> int:
    """The campaign as a command of its own."""
    parser = argparse.ArgumentParser(prog="python -m tests.differential.wasmtime_campaign")
    parser.add_argument("--modules", type=int, default=1 << 40, metavar="N", help="in all, with what was done before")
    parser.add_argument("--seed", type=int, default=0, metavar="S")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--findings", type=int, default=5, metavar="N")
    parser.add_argument("--jobs", type=int, default=1, metavar="N")
    parser.add_argument("--sanitized", action="store_true")
    parser.add_argument("--out", type=Path, default=Path(".cache/differential"))
    options = parser.parse_args()
    campaign = WasmtimeCampaign(options.out, options.seed, options.jobs, options.sanitized)
    return campaign.run(options.modules, options.seconds, options.findings)


if __name__ == "__main__":
    sys.exit(main())
