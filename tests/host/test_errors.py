"""The exception tree: its shape, the table of codes, pickling, and what untrusted parts may do."""

from __future__ import annotations

import pickle
import re
from typing import Any

import pytest

from sandboxhost import errors
from sandboxhost.errors import Frame, ProtocolError, SandboxError, Trap, from_wire, printable, to_wire
from sandboxhost.statistics import Usage

CLASSES = [cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, SandboxError)]


def drawn_tree() -> dict[str, str]:
    """{class: parent} as drawn on top of the module."""
    parents: dict[str, str] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"^    ([│ ]*)(?:[├└] )?([A-Z]\w+)", line)
        if match:
            depth = 0 if match[2] == "SandboxError" else len(match[1]) // 2 + 1
            path = [*path[:depth], match[2]]
            parents[match[2]] = path[depth - 1] if depth else ""
    return parents


def test_the_tree_is_as_drawn() -> None:
    real = {cls.__name__: next((b.__name__ for b in cls.__bases__ if issubclass(b, SandboxError)), "") for cls in CLASSES}
    assert drawn_tree() == real


def test_every_class_has_one_code_and_is_exported() -> None:
    assert set(errors._CODES.values()) == set(CLASSES) and len(errors._CODES) == len(CLASSES)
    assert {cls.__name__ for cls in CLASSES} | {"Frame", "Loss"} == set(errors.__all__)


def test_the_standard_library_recognises_some() -> None:
    assert issubclass(errors.DeadlineExceeded, TimeoutError) and issubclass(errors.SignatureMismatch, TypeError)
    assert issubclass(errors.ManifestError, ValueError)


SAMPLES: dict[str, Any] = {
    "offset": 7,
    "cause": "unreachable",
    "frames": (Frame(1, "f", 9),),
    "code": 3,
    "limit": "fuel",
    "allowed": 5,
    "retry_after": 0.25,
    "maybe_ran": False,
    "reason": "killed by SIGKILL",
    "kind": errors.Loss.ESCAPE,
    "instance_lost": True,
    "losses": 2,
    "key": "limits.memory",
    "plugin": "p",
    "function": "f",
    "usage": Usage(1, 2, 3, 4),
    "output_tail": ("one", "two"),
}


@pytest.mark.parametrize("cls", CLASSES, ids=lambda c: c.__name__)
def test_errors_survive_pickling_and_the_wire(cls: type[SandboxError]) -> None:
    exc = cls("words", **{name: SAMPLES[name] for name in cls.fields})
    copy = pickle.loads(pickle.dumps(exc))
    assert type(copy) is cls and str(copy) == str(exc)
    assert all(getattr(copy, name) == SAMPLES[name] for name in cls.fields)
    back = from_wire(*to_wire(exc))
    assert type(back) is cls and back.text == "words"
    assert all(getattr(back, n) == SAMPLES[n] for n in cls.fields if n not in ("plugin", "function", "usage", "output_tail"))


def test_a_cause_travels_and_a_chain_of_causes_is_cut() -> None:
    exc = errors.MemoryLimit("memory limit", limit="memory", allowed=65536)
    exc.__cause__ = Trap("unreachable", cause="unreachable")
    exc.__cause__.__cause__ = Trap("deeper")
    back = from_wire(*to_wire(exc))
    assert isinstance(back.__cause__, Trap) and back.__cause__.cause == "unreachable" and back.__cause__.__cause__ is None


def test_words_of_traps_and_modules() -> None:
    trap = Trap("integer divide by zero", cause="integer divide by zero", frames=(Frame(0, "div", 0x1F), Frame(3, "", 64)))
    assert str(trap) == "integer divide by zero\n  in div at offset 0x1f\n  in function 3 at offset 0x40"
    assert str(errors.DecodeError("unexpected end", offset=8)) == "unexpected end (at offset 0x8)"
    assert str(errors.DecodeError("unexpected end")) == "unexpected end"


def test_what_is_not_ours_is_named() -> None:
    code, text, detail = to_wire(KeyError("x"))
    assert (code, text, detail) == ("worker", "internal error: KeyError: 'x'", {})


@pytest.mark.parametrize(
    ("code", "detail", "words"),
    [
        ("nonsense", {}, "unknown code 'nonsense'"),
        ("trap", {"offset": 1}, "trap has no attribute 'offset'"),
        ("decode", {"offset": "7"}, "offset: expected an offset, got str"),
        ("trap", {"frames": [[1, 2, 3]]}, "frames"),
        ("trap", {"frames": [[1, "f", 2]] * 65}, "at most 64"),
        ("worker_lost", {"maybe_ran": 1}, "maybe_ran: expected a boolean"),
        ("memory_limit", {"because": ["trap", "x"]}, "because"),
        ("memory_limit", {"because": ["trap", "x", {"because": 1}]}, "nested"),
        ("trap", {"usage": 1}, "no attribute 'usage'"),
        ("trap", {"\x1b[2J": 1}, r"no attribute '\\x1b"),
    ],
)
def test_untrusted_errors_are_checked(code: str, detail: dict[str, Any], words: str) -> None:
    with pytest.raises(ProtocolError, match=words):
        from_wire(code, "text", detail)


def test_escape_sequences_are_shown_not_obeyed_and_long_text_is_cut() -> None:
    assert printable("a\x1b[31mb\u202ec\nd") == "a\\x1b[31mb\\u202ec\nd"
    assert len(printable("x" * 10_000)) == errors.MAX_TEXT
    assert "\x1b" not in str(from_wire("trap", "\x1b]0;title\x07", {}))


def test_an_attribute_that_does_not_exist_is_refused() -> None:
    with pytest.raises(TypeError, match="no attribute 'offset'"):
        Trap("x", offset=3)
