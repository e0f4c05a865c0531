"""What guests print: in the log under their name, and with the error of the call that failed."""

from __future__ import annotations

import logging

import pytest

from sandboxhost import FuelExhausted, Host, Limits, SandboxError, Trap

from .conftest import wat

TALKING = wat(r"""(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 64) "first\nsecond \1b[31mred\n")
  (data (i32.const 96) "to stderr\nunfinished")
  (func $say (param i32 i32 i32)
    (i32.store (i32.const 8) (local.get 1)) (i32.store (i32.const 12) (local.get 2))
    (drop (call $write (local.get 0) (i32.const 8) (i32.const 1) (i32.const 16))))
  (func $talk (call $say (i32.const 1) (i32.const 64) (i32.const 22)) (call $say (i32.const 2) (i32.const 96) (i32.const 20)))
  (func (export "fail") (call $talk) unreachable)
  (func (export "forever") (call $talk) (loop $again (br $again)))
  (func (export "row") (param i32) (if (local.get 0) (then (call $talk) unreachable)))
  (func (export "quiet") unreachable)
  (func (export "_start") (call $talk) unreachable))""")

LINES = ("first", "second \\x1b[31mred", "to stderr", "unfinished")


@pytest.mark.parametrize("function", ["fail", "forever"])
def test_the_last_lines_are_with_the_error(host: Host, function: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "sandboxhost.plugin")
    plugin = host.load(TALKING, name="talker", tenant="acme", limits=Limits(fuel=1_000_000))
    with pytest.raises((Trap, FuelExhausted)) as caught:
        plugin.call(function)
    assert caught.value.output_tail == LINES
    assert caught.value.__notes__ == ["\n  | ".join(["the guest's last output:", *LINES])]
    records = [record for record in caplog.records if record.name == "sandboxhost.plugin.talker"]
    assert [record.getMessage() for record in records] == [f"{function}: {line}" for line in LINES]
    assert {(vars(r)["plugin"], vars(r)["tenant"], vars(r)["function"]) for r in records} == {("talker", "acme", function)}
    assert [vars(r)["stream"] for r in records] == ["stdout", "stdout", "stderr", "stderr"]
    (call,) = {vars(r)["call"] for r in records}
    assert call > 0
    with pytest.raises(Trap) as caught:
        plugin.call("quiet")
    assert caught.value.output_tail == () and not hasattr(caught.value, "__notes__"), "no call gets the lines of another"


def test_futures_and_rows_have_them_too(host: Host) -> None:
    plugin = host.load(TALKING)
    error = plugin.submit("fail").exception(60)
    assert isinstance(error, Trap) and error.output_tail == LINES
    found = plugin.map("row", [0, 1, 0], return_exceptions=True)
    assert found[0] is found[2] is None and found[1].output_tail == LINES
    with pytest.raises(Trap) as caught:
        plugin.map("row", [0, 1])
    assert caught.value.output_tail == LINES


def test_a_command_that_fails_shows_what_it_said_on_stderr(host: Host) -> None:
    with pytest.raises(SandboxError) as caught:
        host.load(TALKING).run()
    assert isinstance(caught.value, Trap) and caught.value.output_tail == ("to stderr", "unfinished")
