"""The long comparison's processes: a module that kills its worker, or never ends, is a finding; the others are run."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.fuzz.build import COMMON, PLAIN, ROOT

from . import wasmtime_campaign
from .wasmtime_campaign import State, Worker

PARTS = ("bytes", "walk", "smith", "smith_body", "mutate", "canonical", "alike", "library")
# Stands where the core would: refuses every module, and does harm at one in five.
OBSERVER = """
#include <stdlib.h>
#include <unistd.h>
#include "observe.h"
void fz_observe(const uint8_t *bytes, size_t size, uint32_t flags, int64_t fuel, fz_observation *out)
{
    (void)flags, (void)fuel;
    out->outcome = FZ_REFUSED;
    out->status = out->count = 0;
    out->message[0] = 0;
    if (fz_hash(bytes, size) % 5 == 0)
        HURT();
}
const char *sbx_trap_message(uint32_t trap)
{
    return trap == 7 ? "undefined element" : trap == 6 ? "out of bounds table access" : "";
}
const char *sbx_status_text(uint32_t status) { (void)status; return ""; }
"""


def library(folder: Path, hurt: str) -> Path:
    """The observer's library around a core that does harm."""
    native = ROOT / "native"
    shim, out = folder / "observer.c", folder / "libobserve.so"
    shim.write_text(OBSERVER)
    own = ROOT / "tests" / "fuzz" / "native"
    sources = [*(own / f"{part}.c" for part in PARTS), native / "generated" / "wasm_ops.c", shim]
    includes = [f"-I{path}" for path in (own, native / "include", native / "generated", native / "src")]
    command = [PLAIN.compiler, *COMMON, "-O1", "-shared", f"-DHURT()={hurt}", *includes, *map(str, sources), "-o", str(out)]
    subprocess.run(command, check=True)
    return out


@pytest.mark.parametrize("hurt", ["abort()", "for (;;) pause()"])
def test_a_module_that_kills_or_stops_its_worker_is_a_finding(hurt: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wasmtime_campaign, "STALL", 1.0)
    worker = Worker(library(tmp_path, hurt), tmp_path, {})
    try:
        findings, _ = worker.run(0, 15)
    finally:
        worker.close()
    died = [finding for finding in findings if "died or hung" in finding["words"]]
    seeds = [finding["seed"] for finding in findings]
    assert died
    assert all(finding["data"].startswith("0061736d") for finding in died)
    assert seeds == sorted(set(seeds))
    # The generator's modules (seeds ending in 0 to 4) are valid, which the second engine says: so all were looked at.
    assert {*range(5), *range(10, 15)} <= set(seeds)


def test_what_was_done_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "below" / "state.json"
    state = State.load(path, 17)
    assert state.next == 17
    state.counts["modules"] += 5
    state.counts["calls"] += 2
    state.findings.append("one")
    state.save(path)
    again = State.load(path, 99)
    assert again == state
    assert again.counts["nothing"] == 0
