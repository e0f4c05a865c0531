"""Our own scripts, on our engine in each configuration and on the second engine, which vouches for what they expect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from spectest.embedding import Embedding
from spectest.report import FileReport
from spectest.runner import ScriptRunner, run_commands, run_file
from spectest.sandbox import SandboxEmbedding
from spectest.script import AssertFailure, parse
from tests.oracle import OracleEmbedding

SCRIPTS = sorted(Path(__file__).parent.glob("*.wast"))
CONFIGURATIONS: dict[str, Callable[[], Embedding]] = {
    "guarded": SandboxEmbedding,
    "explicit": lambda: SandboxEmbedding(explicit_bounds=True),
    "metered": lambda: SandboxEmbedding(metered=True),
    "interpreter": lambda: SandboxEmbedding(tier="interpreter"),
}


def test_there_are_scripts() -> None:
    assert len(SCRIPTS) >= 11


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_our_engine(path: Path, configuration: str) -> None:
    report = run_file(path, CONFIGURATIONS[configuration])
    assert report.failures == []
    assert report.passed > 0


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_the_second_engine_agrees(path: Path) -> None:
    commands = [
        # It cannot tell an indirect call beyond the table from another access beyond it.
        replace(command, message="out of bounds table access")
        if isinstance(command, AssertFailure) and command.message == "undefined element"
        else command
        for command in parse(path.read_bytes())
    ]
    report, embedding = FileReport(path.name), OracleEmbedding()
    run_commands(commands, ScriptRunner(embedding), report)
    embedding.close()
    assert report.failures == []
    assert report.passed > 0
