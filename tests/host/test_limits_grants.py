"""Limits and grants: sizes as text, what is out of range, and that a manifest can only lower."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandboxhost.errors import ManifestError
from sandboxhost.grants import Grants
from sandboxhost.limits import Limits, ProcessLimits, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("64MiB", 64 * 2**20),
        ("1.5 GiB", 3 * 2**29),
        ("10MB", 10**7),
        ("7", 7),
        ("0", 0),
        ("1kb", 1000),
        ("3B", 3),
        (123, 123),
        (" 2 KiB ", 2048),
    ],
)
def test_sizes(text: Any, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "-1", "1 PiB", "1e9", "0x10", None, 1.5, True, -1, 2**63, "9" * 30])
def test_what_is_no_size_is_named(text: Any) -> None:
    with pytest.raises(ManifestError, match="memory"):
        parse_size(text, "memory")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("fuel", 1.5),
        ("fuel", -1),
        ("fuel", "many"),
        ("fuel", True),
        ("deadline", "soon"),
        ("deadline", float("nan")),
        ("deadline", -0.1),
        ("deadline", float("inf")),
        ("memory", None),
        ("call_depth", None),
        ("call_depth", 0),
        ("functions", 0),
        ("body_bytes", "0"),
        ("pending_calls", 2**63),
    ],
)
def test_wrong_limits_name_the_field(field: str, value: Any) -> None:
    with pytest.raises(ManifestError, match=field) as caught:
        Limits(**{field: value})
    assert caught.value.key == field


def test_limits_are_values() -> None:
    limits = Limits(memory="64MiB")
    assert limits == Limits(memory=2**26) and hash(limits) == hash(Limits(memory=2**26)) and limits.memory_pages == 1024
    assert pickle.loads(pickle.dumps(limits)) == limits == Limits.from_wire(limits.to_wire())
    assert ProcessLimits.from_wire(ProcessLimits(cpu_seconds=9).to_wire()) == ProcessLimits(cpu_seconds=9)
    with pytest.raises(AttributeError):
        limits.memory = 1  # type: ignore[misc]


WISHES = st.fixed_dictionaries(
    {},
    optional={
        "memory": st.integers(0, 2**40),
        "fuel": st.none() | st.integers(0, 10**12),
        "deadline": st.none() | st.floats(0, 1e6),
        "call_depth": st.integers(1, 10**6),
        "pending_calls": st.integers(0, 10**6),
    },
)


@given(WISHES, WISHES)
def test_a_manifest_only_ever_lowers(mine: dict[str, Any], theirs: dict[str, Any]) -> None:
    before = Limits(**mine)
    after = before.lowered_by(theirs)
    for name, old in before.to_wire().items():
        new = after.to_wire()[name]
        assert new == old or old is None or (new is not None and new < old)
        if theirs.get(name) is not None:
            assert new is not None and new <= theirs[name]


def test_unknown_limits_are_named() -> None:
    with pytest.raises(ManifestError, match="unknown key 'memroy'") as caught:
        Limits().lowered_by({"memroy": 1})
    assert caught.value.key == "memroy"


def test_nothing_is_granted_by_default() -> None:
    grants = Grants()
    assert not grants.directories and not grants.environment and not grants.arguments
    assert grants.clock is None and grants.clock_ns is None and grants.random_seed is None


def test_directories(tmp_path: Path) -> None:
    grants = Grants(directories={"/a": tmp_path, "/b": (str(tmp_path), "rw"), "/c": (tmp_path, "ro")})
    assert [(d.guest, d.host, d.writable) for d in grants.directory_list()] == [
        ("/a", str(tmp_path), False),
        ("/b", str(tmp_path), True),
        ("/c", str(tmp_path), False),
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"directories": ["/a"]},
        {"directories": {"": "."}},
        {"directories": {"/a": (".", "rwx")}},
        {"directories": {"/a": 3}},
        {"directories": {"/a\0": "."}},
        {"environment": {"A=B": "c"}},
        {"environment": {"": "c"}},
        {"environment": {"A": 3}},
        {"environment": {"A": "x\0"}},
        {"environment": ["A"]},
        {"arguments": "abc"},
        {"arguments": [1]},
        {"clock": 0},
        {"clock": True},
        {"clock": -1.0},
        {"random_seed": -1},
        {"random_seed": 2**64},
        {"random_seed": 1.0},
        {"functions": ["app.f"]},
        {"functions": [("a", 1)]},
    ],
)
def test_what_cannot_be_granted_is_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ManifestError, match=next(iter(wrong))):
        Grants(**wrong)


def test_wishes_narrow_and_never_add() -> None:
    grants = Grants(directories={"/a": ("/tmp", "rw"), "/b": ("/tmp", "ro")}, environment={"A": "1", "B": "2"})
    narrow = grants.narrowed_to({"/a": "ro", "/b": "rw", "/etc": "rw"}, ["B", "HOME"], [("app", "f")])
    assert narrow.directories == {"/a": ("/tmp", "ro"), "/b": ("/tmp", "ro")}
    assert narrow.environment == {"B": "2"} and narrow.functions == (("app", "f"),)
    assert grants.narrowed_to() == grants
    assert Grants(functions=(("app", "g"),)).narrowed_to(functions=[("app", "f")]).functions == ()
