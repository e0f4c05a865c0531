"""The real programs that suites run: which file, which command line, which output."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.prepare import NotReady, say
from tests.real import fetch


@dataclass(frozen=True, slots=True)
class Program:
    """A WASI command and what it must print."""

    name: str
    file: str
    arguments: tuple[str, ...]
    stdout: str

    @property
    def path(self) -> Path:
        """Where `make real` puts it."""
        return fetch.FOLDER / self.file


PROGRAMS = (
    Program(
        "CPython", "python-3.11.3.wasm", ("-c", "print(sum(i*i for i in range(1000000)))"), "333332833333500000\n"
    ),
    Program("Ruby", "ruby-3.2.0.wasm", ("-e", "puts (0...300000).sum { |i| i * i }"), "8999955000050000\n"),
    Program(
        "SQLite", "sqlite.wasm",
        (":memory:", "with recursive n(i) as (select 0 union all select i + 1 from n where i < 299999) select sum(i * i) from n"),
        "8999955000050000\n",
    ),
)  # fmt: skip
CPYTHON, RUBY, SQLITE = PROGRAMS
LARGEST = {"CPython": CPYTHON.path, "Ruby": RUBY.path, "clang": fetch.FOLDER / "clang.wasm"}
"""What the suite `compile` compiles."""


def have_programs() -> None:
    """Fetches what is missing. Raises NotReady."""
    if not fetch.missing(fetch.FOLDER):
        return
    say(f"fetching {fetch.PACKAGE}")
    try:
        fetch.fetch()
    except fetch.NotFetched as error:
        raise NotReady(str(error)) from None
