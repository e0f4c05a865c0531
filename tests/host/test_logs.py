"""Guests' output in the log: cut into lines, harmless, bounded."""

from __future__ import annotations

import logging

import pytest

from sandboxhost.logs import GuestLines


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
