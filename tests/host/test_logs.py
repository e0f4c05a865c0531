"""Guests' output in the log: cut into lines, harmless, bounded."""

from __future__ import annotations

import logging

import pytest

from sandboxhost.errors import DecodeError, Trap
from sandboxhost.logs import TAIL_BYTES, TAIL_LINES, GuestLines, LineBudget, attach, last_lines


def test_escape_sequences_in_guest_log_lines_are_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "sandboxhost")
    lines = GuestLines("my.plugin", "go")
    lines.write(1, b"one\ntw")
    lines.write(2, b"\x1b[31mred\xff\n")
    lines.write(1, b"o\nthree")
    lines.close()
    lines.close()
    assert [(r.name, r.levelname, r.getMessage()) for r in caplog.records] == [
        ("sandboxhost.plugin.my_plugin", "INFO", "go: one"),
        ("sandboxhost.plugin.my_plugin", "WARNING", "go: \\x1b[31mred\ufffd"),
        ("sandboxhost.plugin.my_plugin", "INFO", "go: two"),
        ("sandboxhost.plugin.my_plugin", "INFO", "go: three"),
    ]


def test_a_line_without_end_does_not_grow(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "sandboxhost")
    lines = GuestLines("p", "go")
    for _ in range(100):
        lines.write(1, b"x" * 100)
    lines.close()
    assert [len(r.getMessage()) for r in caplog.records] == [1004] * 10


def test_records_say_whose_they_are(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "sandboxhost")
    lines = GuestLines("p", "go\n", "acme", 7)
    lines.write(1, b"a\n")
    lines.write(2, b"b\n")
    names = ("plugin", "tenant", "function", "call", "stream")
    found = [{name: vars(record)[name] for name in names} for record in caplog.records]
    about = {"plugin": "p", "tenant": "acme", "function": "go\\n", "call": 7}
    assert found == [{**about, "stream": "stdout"}, {**about, "stream": "stderr"}]


def test_a_budget_fills_steadily() -> None:
    budget = LineBudget(rate=10, most=3)
    assert [budget.take(5.0) for _ in range(5)] == [0, 0, 0, None, None]
    assert budget.take(5.05) is None, "half a line is none"
    assert budget.take(5.15) == 3, "who comes next is told of those that were left out"
    assert [budget.take(100.0) for _ in range(4)] == [0, 0, 0, None]
    assert budget.take(100.0) is None and budget.take(50.0) is None, "a clock that goes back gives nothing"


def test_lines_beyond_the_budget_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "sandboxhost")
    budget = LineBudget(rate=0, most=3)
    chatty, other = GuestLines("p", "go", budget=budget), GuestLines("p", "other", budget=budget)
    chatty.write(1, b"".join(b"%d\n" % n for n in range(100)))
    other.write(1, b"unheard\n")
    assert [r.getMessage() for r in caplog.records] == ["go: 0", "go: 1", "go: 2"], "the calls of a plugin share its budget"
    assert chatty.tail() == tuple(str(n) for n in range(100 - TAIL_LINES, 100)), "for the error all is remembered"
    budget._left = 1.0
    other.write(2, b"heard\n")
    assert [(r.getMessage(), r.levelname) for r in caplog.records[3:]] == [
        ("other: (98 lines of this plugin were left out)", "WARNING"), ("other: heard", "WARNING")]  # fmt: skip


def test_the_tail_is_bounded_and_harmless() -> None:
    lines = GuestLines("p", "go")
    lines.write(1, b"x" * 3000 + b"\n")
    lines.write(2, b"\x1b[2J\n")
    lines.write(1, b"end")
    assert lines.tail() == ("x" * 999 + "…", "\\x1b[2J", "end")
    many = [b"y" * 900] * 50
    assert sum(map(len, last_lines(many))) <= TAIL_BYTES and len(last_lines(many)) == 4
    assert len(last_lines([b"\x00" * 1000] * 50)) == TAIL_BYTES // 4000, "what counts is what is shown"


def test_an_error_takes_the_lines_along() -> None:
    error = Trap("unreachable")
    attach(error, ("one", "two"))
    attach(error, ("three",))
    assert error.output_tail == ("one", "two") and error.__notes__ == ["the guest's last output:\n  | one\n  | two"]
    assert str(error) == "unreachable"
    other = DecodeError("no call")
    attach(other, ("one",))
    assert not hasattr(other, "output_tail") and not hasattr(other, "__notes__")
