"""The application's functions: what annotations mean, what imports fit them, what they get and give."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from sandboxhost.errors import LinkError, ProtocolError, SignatureMismatch
from sandboxhost.host_functions import HostFunction, Threads
from sandboxhost.values import FunctionType, ValueType, externref, f32, f64, i32, i64, pack, unpack

I32, I64, F32, F64, EXTERNREF = ValueType.I32, ValueType.I64, ValueType.F32, ValueType.F64, ValueType.EXTERNREF


def typed(a: i32, b: i64, c: f32, d: f64, e: externref) -> i64:
    return a + b


def loose(a: int, b: float, c: bool) -> int:
    return a if c else int(b)


def pair(a: i32) -> tuple[i32, f64]:
    return a, a / 2


def nothing(a: i32) -> None:
    return None


@pytest.mark.parametrize(
    ("function", "fits"),
    [
        (typed, FunctionType((I32, I64, F32, F64, EXTERNREF), (I64,))),
        (loose, FunctionType((I32, F32, I32), (I64,))),
        (loose, FunctionType((I64, F64, I32), (I32,))),
        (pair, FunctionType((I32,), (I32, F64))),
        (nothing, FunctionType((I32,), ())),
    ],
)
def test_annotations_and_imports_that_fit(function: Callable[..., Any], fits: FunctionType) -> None:
    HostFunction.of("app", "f", function).check(fits)


@pytest.mark.parametrize(
    ("function", "wanted"),
    [
        (typed, FunctionType((I32,), (I64,))),
        (loose, FunctionType((I32, F32, I64), (I64,))),
        (pair, FunctionType((I32,), (I32,))),
        (nothing, FunctionType((I32,), (I32,))),
        (nothing, FunctionType((I64,), ())),
    ],
)
def test_an_import_of_another_type_is_a_link_error_that_shows_both(function: Callable[..., Any], wanted: FunctionType) -> None:
    with pytest.raises(LinkError, match='^incompatible import type: "app"."f"') as caught:
        HostFunction.of("app", "f", function).check(wanted)
    assert str(wanted) in str(caught.value)


def bare(a, b: i32) -> None:  # type: ignore[no-untyped-def]
    ...


def keyword(*, a: i32) -> None: ...


def text(a: str) -> None: ...


def silent(a: i32):  # type: ignore[no-untyped-def]
    ...


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (bare, "parameter 'a' has no annotation"),
        (keyword, "parameter 'a' cannot be passed by position"),
        (text, "parameter 'a': annotate with"),
        (silent, "the result has no annotation"),
    ],
)
def test_missing_annotations_are_named(function: Callable[..., Any], words: str) -> None:
    with pytest.raises(TypeError, match=f"host function app.f: {words}"):
        HostFunction.of("app", "f", function)


def test_values_go_in_and_come_out() -> None:
    wanted = FunctionType((I32, F32, I32), (I64,))
    host_function = HostFunction.of("app", "loose", loose)
    assert unpack((I64,), host_function.run(wanted, pack(wanted.params, (7, 1.5, 1)))) == (7,)
    assert unpack((I64,), host_function.run(wanted, pack(wanted.params, (7, 1.5, 0)))) == (1,)
    assert HostFunction.of("a", "n", nothing).run(FunctionType((I32,)), pack((I32,), (1,))) == b""
    assert unpack((I32, F64), HostFunction.of("a", "p", pair).run(FunctionType((I32,), (I32, F64)), pack((I32,), (3,)))) == (
        3,
        1.5,
    )


def test_a_wrong_result_is_named() -> None:
    def wrong(a: i32) -> i32:
        return "seven"  # type: ignore[return-value]

    with pytest.raises(SignatureMismatch, match=r"host function app\.wrong: result 1: expected i32, got str"):
        HostFunction.of("app", "wrong", wrong).run(FunctionType((I32,), (I32,)), pack((I32,), (1,)))


def test_hostile_arguments_are_refused() -> None:
    with pytest.raises(ProtocolError, match=r"arguments of app\.n: expected 8 bytes"):
        HostFunction.of("app", "n", nothing).run(FunctionType((I32,)), b"1234567")


def test_threads_start_when_all_are_busy_and_end_when_closed() -> None:
    threads = Threads()
    gates = [threading.Event() for _ in range(4)]
    reached = [threading.Event() for _ in range(4)]

    def work(number: int) -> None:
        reached[number].set()
        gates[number].wait(10)

    for number in range(4):
        threads.submit(lambda n=number: work(n))  # type: ignore[misc]
    assert all(event.wait(5) for event in reached), "four blocking pieces of work run at one time"
    for gate in gates:
        gate.set()
    done = threading.Event()
    threads.submit(done.set)
    assert done.wait(5)
    threads.close()
    for thread in [t for t in threading.enumerate() if t.name == "sandboxhost-function"]:
        thread.join(5)
        assert not thread.is_alive()
