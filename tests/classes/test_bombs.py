"""Compile bombs: what a small module may cost is bounded by its bytes, in memory, in processor time, and in the image."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import sandboxhost
import sandboxworker
from sandboxhost.errors import LimitExceeded
from sandboxworker import native
from tests import builder as b

from .bombs import BOMBS, IMAGE_FLOOR, IMAGE_PER_BYTE
from .executors import TIERS

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = [str(Path(package.__path__[0]).parent) for package in (sandboxhost, sandboxworker)]


def test_compile_bombs_stay_within_their_bounds() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*PACKAGES, str(ROOT)])}
    command = [sys.executable, "-m", "tests.classes.bombs"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    lines: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"exit code {done.returncode} in {lines[-1] if lines else 'the first'}: {done.stderr[-1000:]}"
    bombs, ends = lines[::2], lines[1::2]
    assert [(one["bomb"], one["tier"]) for one in bombs] == [(name, tier) for name in BOMBS for tier in TIERS]
    for bomb, end in zip(bombs, ends, strict=True):
        if "refused" in end:
            if end["refused"] == "MemoryLimit: out of memory while checking machine code":
                continue  # a build for tests, whose checker of machine code needs more memory than the bound leaves it
            assert end["refused"].startswith("LimitExceeded: "), (bomb, end)
            assert "grows more than" in end["refused"] or "exceeds the limit of" in end["refused"], (bomb, end)
        else:
            assert end["image"] <= IMAGE_FLOOR + IMAGE_PER_BYTE * bomb["bytes"], (bomb, end)
    refused = [bomb["bomb"] for bomb, end in zip(bombs, ends, strict=True) if "refused" in end]
    assert "functions of 50,000 locals" in refused and "functions that pass on a thousand results" in refused
    assert len(refused) < len(BOMBS) // 2, "most are odd, not large"


@pytest.mark.parametrize("tier", TIERS)
def test_compile_bombs_of_locals_are_refused_by_their_sum(tier: str) -> None:
    """At the bound and one beyond; each function by itself has no more than it may."""
    full = b.body(b.END, [(50_000, b.I32)])

    def module(rest: int) -> bytes:
        last = b"\1" + b.unsigned(rest, 3) + bytes([b.I32]) + b.END
        bodies = [full] * 201 + [b.unsigned(len(last)) + last]
        return b.module(
            b.section(b.TYPE, b.vector([b.function_type()])), b.section(b.FUNCTION, b.vector([b"\0"] * len(bodies))),
            b.section(b.CODE, b.vector(bodies)),
        )  # fmt: skip

    options = native.CompileOptions(0, compiled=tier == "compiled")
    rest = 10_000_000 + 32 * len(module(0)) - 201 * 50_000
    assert 0 < rest < 50_000
    native.compile_bytes(module(rest), options)
    with pytest.raises(LimitExceeded, match="^locals of all functions"):
        native.compile_bytes(module(rest + 1), options)
