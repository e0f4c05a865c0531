"""Bad input of every kind: a typed, worded error that names the offender and the offset; nothing crashes, nothing is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandboxhost import (
    DecodeError,
    Grants,
    Host,
    InstantiationError,
    LimitExceeded,
    Limits,
    LinkError,
    ManifestError,
    ModuleError,
    SandboxError,
    Trap,
    ValidationError,
)

from .conftest import MATH, wat

HEADER = b"\0asm\1\0\0\0"


@pytest.mark.parametrize(
    ("data", "kind", "words", "offset"),
    [
        (b"", DecodeError, "unexpected end", 0),
        (b"\0as", DecodeError, "unexpected end", None),
        (b"not wasm", DecodeError, "magic header", 0),
        (b"\0asm\2\0\0\0", DecodeError, "unknown binary version", 4),
        (HEADER + b"\x0e\0", DecodeError, "section id", 8),
        (HEADER + b"\1\4\1\x60\0", DecodeError, "unexpected end|length out of bounds", None),
        (HEADER + b"\1\4\1\x60\0\0\3\2\1\0", DecodeError, "inconsistent lengths", None),
        (HEADER + b"\1\5\1\x60\0\1\x7f\3\2\1\0\x0a\4\1\2\0\x0b", ValidationError, "type mismatch", None),
        (HEADER + b"\1\5\1\x60\0\1\x7b", ValidationError, "simd", None),
    ],
)
def test_bytes_that_are_no_module(host: Host, data: bytes, kind: type[ModuleError], words: str, offset: int | None) -> None:
    count = host.compiled_module_count()
    with pytest.raises(kind, match=words) as caught:
        host.load(data)
    assert isinstance(caught.value.offset, int) and 0 <= caught.value.offset <= len(data)
    assert offset is None or caught.value.offset == offset
    assert f"offset {caught.value.offset:#x}" in str(caught.value)
    assert host.compiled_module_count() == count, "a failure caches nothing"


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
@given(
    data=st.one_of(
        st.binary(max_size=200),
        st.binary(max_size=100).map(lambda b: HEADER + b),
        st.integers(0, len(MATH) - 1).map(lambda n: MATH[:n]),
        st.tuples(st.integers(0, len(MATH) - 1), st.integers(1, 255)).map(
            lambda p: MATH[: p[0]] + bytes([MATH[p[0]] ^ p[1]]) + MATH[p[0] + 1 :]
        ),
    )
)
def test_truncated_random_and_flipped_bytes_in_a_real_host(workers: Host, data: bytes) -> None:
    try:
        plugin = workers.load(data, limits=Limits(fuel=10_000, deadline=5.0))
    except SandboxError as exc:
        assert isinstance(exc, (ModuleError, LimitExceeded)), repr(exc)
        assert str(exc)
    else:
        plugin.unload()
    assert workers.statistics().workers_lost == 0


def test_a_module_that_is_too_large(host: Host, tmp_path: Path) -> None:
    limits = Limits(module_bytes=len(MATH) - 1)
    with pytest.raises(LimitExceeded, match=f"{len(MATH)} bytes, {len(MATH) - 1} are allowed") as caught:
        host.load(MATH, limits=limits)
    assert caught.value.limit == "module_bytes"
    path = tmp_path / "large.wasm"
    path.write_bytes(MATH)
    with pytest.raises(LimitExceeded, match=r"large\.wasm"):
        host.load(path, limits=limits)


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("(module (func) (func) (func))", "functions"),
        ("(module (table 1 funcref) (table 1 funcref) (table 1 funcref))", "tables"),
        ("(module (global i32 (i32.const 0)) (global i32 (i32.const 0)) (global i32 (i32.const 0)))", "globals"),
        ("(module (func (local i32 i32 i32)))", "locals"),
        ("(module (func (param i32 i32 i32)))", "params"),
        ("(module (func (block (block (block)))))", "nesting"),
    ],
)
def test_hard_limits_on_modules(host: Host, text: str, limit: str) -> None:
    with pytest.raises(LimitExceeded):
        host.load(wat(text), limits=Limits(**{limit: 2}))
    host.load(wat(text), limits=Limits(**{limit: 100}))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('(module (import "app" "absent" (func)))', 'unknown import: "app"."absent"'),
        ('(module (import "env" "memory" (memory 1)))', 'unknown import: "env"."memory": a memory cannot be granted'),
        ('(module (import "env" "g" (global i32)))', 'unknown import: "env"."g": a global'),
        ('(module (import "wasi_snapshot_preview1" "fd_teleport" (func)))', "fd_teleport"),
        ('(module (import "wasi_snapshot_preview1" "fd_close" (func)))', "incompatible import type.*fd_close"),
        ('(module (import "a\\1b[31m" "b\\00" (func)))', r'unknown import: "a\\x1b\[31m"\."b\\x00"'),
    ],
)
def test_missing_imports(host: Host, text: str, words: str) -> None:
    with pytest.raises(LinkError, match=words):
        host.load(wat(text))


def test_instantiation_that_fails(host: Host) -> None:
    plugin = host.load(wat('(module (table 1 funcref) (elem (i32.const 1) 0) (func (export "f")))'))
    with pytest.raises((InstantiationError, Trap), match="out of bounds table access"):
        plugin.call("f")
    plugin = host.load(wat('(module (memory 1) (data (i32.const 65536) "x") (func (export "f")))'))
    with pytest.raises((InstantiationError, Trap), match="out of bounds memory access"):
        plugin.call("f")
    plugin = host.load(wat('(module (func $s unreachable) (start $s) (func (export "f")))'))
    with pytest.raises(Trap, match="unreachable"):
        plugin.call("f")


def test_manifests_and_paths(host: Host, tmp_path: Path) -> None:
    (tmp_path / "plugin.wasm").write_bytes(MATH)
    (tmp_path / "manifest.toml").write_text('name = "math"\nmodule = "plugin.wasm"\n[limits]\nfuel = 100\n')
    plugin = host.load(tmp_path, limits=Limits(memory="1MiB"))
    assert plugin.name == "math" and plugin.limits.fuel == 100 and plugin.limits.memory == 2**20
    (tmp_path / "manifest.toml").write_text('name = "math"\nmodule = "plugin.wasm"\ncolour = 3\n')
    for path in (tmp_path, tmp_path / "plugin.wasm"):
        with pytest.raises(ManifestError, match="unknown key 'colour'"):
            host.load(path)
    (tmp_path / "manifest.toml").unlink()
    with pytest.raises(FileNotFoundError, match=r"absent\.wasm"):
        host.load(tmp_path / "absent.wasm")
    with pytest.raises(FileNotFoundError, match="no-such-directory"):
        host.load(MATH, grants=Grants(directories={"/a": tmp_path / "no-such-directory"}))
    with pytest.raises(NotADirectoryError):
        host.load(MATH, grants=Grants(directories={"/a": tmp_path / "plugin.wasm"}))


@pytest.mark.parametrize(
    "wrong", [{"workers": -1}, {"workers": 2000}, {"workers": 1, "threads": 0}, {"workers": 1, "threads": 1000}]
)
def test_wrong_options_of_a_host(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="workers must be"):
        Host(**wrong)


def test_features_can_be_switched_off() -> None:
    bulk = wat("(module (memory 1) (func (memory.fill (i32.const 0) (i32.const 0) (i32.const 1))))")
    with (
        Host(workers=1, features=["mutable-global", "sign-extension"]) as host,
        pytest.raises(ValidationError, match="bulk-memory"),
    ):
        host.load(bulk)
    with Host(workers=1, explicit_bounds=True) as host:
        host.load(bulk)
        with pytest.raises(Trap, match="out of bounds memory access"):
            host.load(MATH).call("touch", -1)
