"""The runner's verdicts: every kind of wrong expectation must fail, with the line it stands on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spectest.__main__ import main
from spectest.report import FileReport
from spectest.runner import run_file
from spectest.sandbox import SandboxEmbedding
from spectest.suite import SuiteMissing, find_suite, scripts

MODULE = """(module
  (func (export "seven") (result i32) (i32.const 7)) (func (export "two") (result i32 i64) (i32.const 1) (i64.const 2))
  (func (export "nan") (result f32) (f32.const nan:0x200000)) (func (export "trap") (unreachable)) (func (export "nothing"))
  (func $r (export "recurse") (call $r)) (global (export "g") i32 (i32.const 5)))
"""


def run(tmp_path: Path, text: str) -> FileReport:
    path = tmp_path / "case.wast"
    path.write_text(text)
    return run_file(path, SandboxEmbedding)


RIGHT = [
    '(assert_return (invoke "seven") (i32.const 7))',
    '(assert_return (invoke "two") (i32.const 1) (i64.const 2))',
    '(assert_return (invoke "seven") (either (i32.const 6) (i32.const 7)))',
    '(assert_return (invoke "nan") (f32.const nan:0x200000))',
    '(assert_return (get "g") (i32.const 5))',
    '(assert_return (invoke "nothing"))',
    '(assert_trap (invoke "trap") "unreachable")',
    '(assert_exhaustion (invoke "recurse") "call stack exhausted")',
    '(assert_invalid (module (func (result i32))) "type mismatch")',
    '(assert_malformed (module binary "") "unexpected end")',
    '(assert_malformed (module binary "\\00asx\\01\\00\\00\\00") "magic header not detected")',
    '(assert_unlinkable (module (import "no" "thing" (func))) "unknown import")',
    '(assert_unlinkable (module (import "spectest" "print" (func (param i32)))) "incompatible import type")',
    '(assert_trap (module (func $f (unreachable)) (start $f)) "unreachable")',
]

WRONG = {
    "wrong value": '(assert_return (invoke "seven") (i32.const 8))',
    "wrong type": '(assert_return (invoke "seven") (i64.const 7))',
    "too few results": '(assert_return (invoke "two") (i32.const 1))',
    "too many results": '(assert_return (invoke "seven") (i32.const 7) (i32.const 7))',
    "no result where one is": '(assert_return (invoke "seven"))',
    "nan class": '(assert_return (invoke "nan") (f32.const nan:canonical))',
    "neither": '(assert_return (invoke "seven") (either (i32.const 6) (i32.const 8)))',
    "wrong global": '(assert_return (get "g") (i32.const 6))',
    "unknown export": '(assert_return (invoke "eight") (i32.const 8))',
    "unknown module": '(assert_return (invoke $no "seven") (i32.const 7))',
    "wrong argument count": '(assert_return (invoke "seven" (i32.const 1)) (i32.const 7))',
    "trap where a result is expected": '(assert_return (invoke "trap"))',
    "result where a trap is expected": '(assert_trap (invoke "nothing") "unreachable")',
    "wrong trap": '(assert_trap (invoke "trap") "integer overflow")',
    "trap text longer than the engine's": '(assert_trap (invoke "trap") "unreachable executed")',
    "trap for exhaustion": '(assert_exhaustion (invoke "trap") "unreachable")',
    "exhaustion for trap": '(assert_trap (invoke "recurse") "call stack exhausted")',
    "no exception": '(assert_exception (invoke "trap"))',
    "valid module": '(assert_invalid (module) "type mismatch")',
    "wrong validation text": '(assert_invalid (module (func (result i32))) "unknown local")',
    "malformed is not invalid": '(assert_invalid (module binary "\\00asm\\02\\00\\00\\00") "unknown binary version")',
    "invalid is not malformed": '(assert_malformed (module binary "\\00asm\\01\\00\\00\\00\\08\\01\\00") "unknown function")',
    "well-formed module": '(assert_malformed (module binary "\\00asm\\01\\00\\00\\00") "unexpected end")',
    "linkable module": '(assert_unlinkable (module) "unknown import")',
    "refused feature is not invalid": '(assert_invalid (module (memory i64 1)) "type mismatch")',
    "module that does not assemble": "(module (func (bogus)))",
    "module that does not validate": "(module (func (result i32)))",
    "module that does not link": '(module (import "no" "thing" (func)))',
    "module that traps": "(module (func $f (unreachable)) (start $f))",
    "bare action that traps": '(invoke "trap")',
    "unknown command": '(assert_nonsense (invoke "seven"))',
    "unreadable constant": '(assert_return (invoke "seven") (v128.const i32x4 0 0 0 0))',
    "registered module that is not there": '(register "x" $nothing)',
}


@pytest.mark.parametrize("command", RIGHT)
def test_a_right_expectation_passes(tmp_path: Path, command: str) -> None:
    report = run(tmp_path, MODULE + command)
    assert report.failures == []
    assert (report.passed, report.skipped) == (1, 0)


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_expectation_fails_on_its_line(tmp_path: Path, what: str) -> None:
    report = run(tmp_path, MODULE + RIGHT[0] + "\n\n" + WRONG[what])
    assert (report.passed, report.failed, report.skipped) == (1, 1, 0)
    line, reason = report.failures[0]
    assert line == 7
    assert reason


def test_text_only_cases_are_skipped_and_never_passed(tmp_path: Path) -> None:
    text = '(assert_malformed (module quote "(func") "unexpected end") (assert_malformed (module (func)) "whatever")'
    report = run(tmp_path, text)
    assert (report.passed, report.failed, report.skipped) == (0, 0, 2)


def test_a_quoted_module_runs(tmp_path: Path) -> None:
    text = '(module quote "(func (export \\"f\\") (result i32)" "(i32.const 3))") (assert_return (invoke "f") (i32.const 3))'
    assert run(tmp_path, text).passed == 1


def test_after_a_failed_module_its_predecessor_is_not_tested_in_its_place(tmp_path: Path) -> None:
    report = run(tmp_path, MODULE + '(module (func (result i32)))\n(assert_return (invoke "seven") (i32.const 7))')
    assert (report.passed, report.failed) == (0, 2)


def test_named_modules_registration_and_definitions(tmp_path: Path) -> None:
    text = """
    (module $a (global (export "g") (mut i32) (i32.const 1))
      (func (export "bump") (result i32) (global.set 0 (i32.add (global.get 0) (i32.const 1))) (global.get 0)))
    (register "a" $a)
    (module $b (import "a" "bump" (func $bump (result i32)))
      (func (export "twice") (result i32) (drop (call $bump)) (call $bump)))
    (assert_return (invoke $b "twice") (i32.const 3))
    (assert_return (get $a "g") (i32.const 3))
    (module definition $d (global $g (mut i32) (i32.const 0))
      (func (export "next") (result i32) (global.set $g (i32.add (global.get $g) (i32.const 1))) (global.get $g)))
    (module instance $x $d) (module instance $y $d)
    (assert_return (invoke $x "next") (i32.const 1))
    (assert_return (invoke $x "next") (i32.const 2))
    (assert_return (invoke $y "next") (i32.const 1))
    """
    report = run(tmp_path, text)
    assert report.failures == []
    assert report.passed == 5


def test_the_spectest_module(tmp_path: Path) -> None:
    text = """(module (import "spectest" "global_f32" (global $f f32)) (import "spectest" "global_i64" (global $i i64))
      (import "spectest" "table" (table 10 20 funcref)) (import "spectest" "memory" (memory 1 2))
      (import "spectest" "print_f64_f64" (func $p (param f64 f64)))
      (func (export "f") (result f32) (call $p (f64.const 1) (f64.const 2)) (global.get $f))
      (func (export "i") (result i64) (global.get $i)) (func (export "s") (result i32 i32) (table.size 0) (memory.size)))
    (assert_return (invoke "f") (f32.const 666.6)) (assert_return (invoke "i") (i64.const 666))
    (assert_return (invoke "s") (i32.const 10) (i32.const 1))"""
    report = run(tmp_path, text)
    assert report.failures == []
    assert report.passed == 3


def test_scripts_of_modules_only(tmp_path: Path) -> None:
    assert run(tmp_path, "(func) (memory 0)").passed == 1
    assert run(tmp_path, "(module) (module)").passed == 2


@pytest.mark.parametrize("text", ["", ";; nothing\n", "(module", "word"])
def test_an_empty_or_broken_script_fails(tmp_path: Path, text: str) -> None:
    report = run(tmp_path, text)
    assert report.passed == 0
    assert report.failed == 1


def test_command_line_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "good.wast").write_text(MODULE + RIGHT[0])
    (tmp_path / "bad.wast").write_text(MODULE + WRONG["wrong value"] + '(assert_malformed (module quote "(") "x")')
    out = tmp_path / "report.json"
    assert main([str(tmp_path), "--json", str(out)]) == 1
    report = json.loads(out.read_text())
    assert (report["passed"], report["failed"], report["skipped"]) == (1, 1, 1)
    assert report["files"] == {
        "bad.wast": {"passed": 0, "failed": 1, "skipped": 1}, "good.wast": {"passed": 1, "failed": 0, "skipped": 0},
    }
    assert report["failures"] == [
        {"id": "bad.wast:5", "reason": "'seven': result 0 is i32:0x7, expected (i32.const 8)"},
    ]
    assert "bad.wast:5" in capsys.readouterr().out
    assert main([str(tmp_path / "good.wast")]) == 0


def test_without_a_suite_the_run_fails_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("WASM_TESTSUITE", raising=False)
    monkeypatch.setattr("spectest.suite._BESIDE_REPOSITORY", tmp_path / "nothing")
    assert main([]) == 1
    assert "not found" in capsys.readouterr().err
    monkeypatch.setenv("WASM_TESTSUITE", str(tmp_path / "nothing"))
    with pytest.raises(SuiteMissing):
        find_suite()
    assert main([str(tmp_path)]) == 1  # a directory without scripts
    assert main([str(tmp_path / "no.wast")]) == 1


def test_only_skipped_cases_are_a_failure(tmp_path: Path) -> None:
    (tmp_path / "text.wast").write_text('(assert_malformed (module quote "(") "x")')
    assert main([str(tmp_path / "text.wast")]) == 1


def test_groups(tmp_path: Path) -> None:
    (tmp_path / "a.wast").write_text("(module)")
    (tmp_path / "b.wast").write_text("(module)")
    (tmp_path / "groups.json").write_text('{"core": ["a.wast"], "later": ["c.wast"]}')
    assert [path.name for path in scripts([str(tmp_path)], ["core"])] == ["a.wast"]
    assert [path.name for path in scripts([str(tmp_path)], [])] == ["a.wast", "b.wast"]
    for group in ("later", "unheard"):
        with pytest.raises(SuiteMissing):
            scripts([str(tmp_path)], [group])
