"""`--check`: verdicts follow from figure and bar, the exit code from the verdicts; the README's table repeats them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import check, commands
from benchmarks.__main__ import main, parser
from benchmarks.bars import ROWS, Bar, Counted
from benchmarks.measurements import Measurements
from benchmarks.security_bars import SECURITY_ROWS


def options(*words: str) -> argparse.Namespace:
    """A parsed command line."""
    return parser().parse_args(["--check", *words])


@pytest.mark.parametrize(
    ("value", "verdict"), [(0.9, "pass, stretch"), (0.95, "pass, stretch"), (1.0, "pass"), (1.15, "pass"), (1.16, "FAIL")]
)
def test_less_is_better(value: float, verdict: str) -> None:
    made = Bar("a ratio", lambda _: value, "x", 1.15, 0.95).run(Measurements(options()))
    assert (made.verdict, made.bar, made.stretch, made.value) == (verdict, "≤ 1.15 ×", "≤ 0.95 ×", value)


@pytest.mark.parametrize(("value", "verdict"), [(600_000, "pass, stretch"), (150_000, "pass"), (149_999, "FAIL")])
def test_more_is_better(value: float, verdict: str) -> None:
    made = Bar("a rate", lambda _: value, "/s", 150_000, 500_000, more=True).run(Measurements(options()))
    assert (made.verdict, made.bar) == (verdict, "≥ 150,000/s")


@pytest.mark.parametrize(
    ("counts", "quick", "verdict"),
    [
        ((0, 9, 9), False, "pass"), ((1, 9, 9), False, "FAIL"), ((0, 2, 9), False, "FAIL"), ((0, 2, 9), True, "partly"),
        ((1, 2, 9), True, "FAIL"), ((0, 0, 9), True, "skipped"),
    ],
)  # fmt: skip
def test_counts_of_failures(counts: tuple[int, int, int], quick: bool, verdict: str) -> None:
    measurements = Measurements(options(*(["--quick"] if quick else [])))
    assert Counted("a run", lambda _: (*counts, "words"), "none").run(measurements).verdict == verdict


def test_every_figure_of_the_table_has_a_row() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS) == 21
    assert len({row.name for row in SECURITY_ROWS}) == len(SECURITY_ROWS)


def test_rows_of_security_or_the_others(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(check, "ROWS", (Bar("one of speed", lambda _: 1.0, "x", 1.5),))
    monkeypatch.setattr(check, "SECURITY_ROWS", (Bar("one of security", lambda _: 2.0, "s", 1.5),))
    assert main(["--check"]) == 0 and "one of speed" in capsys.readouterr().out
    assert main(["--check", "security"]) == 1 and "one of security" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["--check", "call"])


@pytest.mark.parametrize(("value", "code"), [(1.0, 0), (2.0, 1)])
def test_the_exit_code_and_the_readme(
    value: float, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = (Bar("one figure", lambda _: value, "x", 1.5), Counted("one run", lambda _: (0, 1, 2, "half"), "none"))
    monkeypatch.setattr(check, "ROWS", rows)
    file = tmp_path / "check.json"
    assert main(["--check", "--quick", "--json", str(file)]) == code
    out = capsys.readouterr().out
    assert ("| one figure | 2.00 × | ≤ 1.50 × |" in out) == (value == 2.0)
    assert f"{code} of 2 fall short" in out and "only partly done: one run" in out
    assert main(["--readme", str(file)]) == 0
    table = capsys.readouterr().out
    assert table.startswith("| figure") and table.splitlines()[2] in out and "Measured at commit" in table


def test_only_some_rows(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check", "--quick", "--only", "interrupt"]) == 0
    assert "endless loops ended in 4 configurations" in capsys.readouterr().out
    assert main(["--check", "--only", "no such row"]) == 2


@pytest.mark.parametrize("text", ["", "[]", '{"rows": [{"name": "x"}], "machine": {}}', '{"rows": []}'])
def test_a_file_that_is_no_check_is_refused(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "x.json"
    file.write_text(text)
    assert main(["--readme", str(file)]) == 2
    assert "is not what `--check --json` writes" in capsys.readouterr().err


def test_the_differential_command_is_read_right() -> None:
    failures, done, wanted, words = commands.differential(3, 100)
    assert (failures, done, wanted, words) == (0, 3, 100, "3 modules, 0 differences")


def test_the_chaos_command_is_read_right() -> None:
    failures, done, wanted, words = commands.chaos(3, 100)
    assert (failures, done, wanted) == (0, 3, 100) and words.startswith("3 faults, ") and "0 without outcome" in words


def test_the_forbidden_acts_are_read_right() -> None:
    failures, done, wanted, words = commands.forbidden_acts("tests/lockdown/test_forbidden_acts.py", "-k", "enough")
    assert (failures, wanted) == (0, 40) and done >= 40 and words == f"{done} acts refused, 1 tests passed"
    failures, done, wanted, words = commands.forbidden_acts("tests/lockdown/test_forbidden_acts.py", "-k", "no_such_test")
    assert (failures, done, wanted) == (1, 0, 40) and "deselected" in words, "nothing that ran is no pass"


def test_planted_bugs_without_their_tool_are_skipped_and_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert commands.planted_bugs(True) == (0, 0, 12, "clang with libFuzzer was not found")


def test_planted_bugs_that_cannot_be_looked_for_are_a_failure() -> None:
    assert commands.planted_bugs(False, "--minutes", "few") == (1, 0, 12, "the run failed")
    assert commands.planted_bugs(False, "--only", "no such bug") == (1, 0, 12, "the run failed")


def test_a_suite_run_that_finds_nothing_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WASM_TESTSUITE", str(tmp_path / "nowhere"))
    assert commands.spectest(["--tier", "interpreter"]) == (0, 1)


def test_json_of_a_check_is_plain() -> None:
    verdict = Bar("a ratio", lambda _: 1.0, "x", 1.15).run(Measurements(options()))
    data: dict[str, Any] = json.loads(json.dumps(check.as_json([verdict], {"processor": "p"}, {})))
    assert data["rows"][0]["verdict"] == "pass" and data["machine"] == {"processor": "p"}
