"""The memory of a fresh instance is all zeros again, whichever pages a call touched; those in regular use are not faulted in
anew."""

from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandboxworker.engine import Engine
from sandboxworker.fresh import FreshInstances
from sandboxworker.native import sanitized

from .driver import module

PAGE = 4096
SPOIL = """(module
    (memory PAGES 64)
    (func (export "fill") (param i32 i32) (memory.fill (local.get 0) (i32.const 0xA5) (local.get 1)))
    (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
    (func (export "two") (param i32 i32)
        (drop (memory.grow (i32.const 2)))
        (i32.store8 (local.get 0) (i32.const 1)) (i32.store8 (local.get 1) (i32.const 1)))
    (func (export "found") (result i32) (local $i i32)
        (loop $next
            (if (i64.ne (i64.load (local.get $i)) (i64.const 0)) (then (return (local.get $i))))
            (br_if $next (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 8)))
                (i32.mul (memory.size) (i32.const 65536)))))
        (i32.const -1)))"""


def fresh(pages: int) -> FreshInstances:
    engine, source = Engine(), module(SPOIL.replace("PAGES", str(pages)))
    engine.compile_module(source)
    return FreshInstances(engine, source)


@pytest.fixture(scope="module", params=[1, 2, 17, 32, 33])
def spoiled(request: pytest.FixtureRequest) -> Iterator[tuple[FreshInstances, int]]:
    with fresh(request.param) as found:
        yield found, request.param * 65536


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_every_touched_page_is_new(spoiled: tuple[FreshInstances, int], data: st.DataObject) -> None:
    instances, size = spoiled
    for _ in range(data.draw(st.integers(1, 4))):
        begin = data.draw(st.integers(0, size - 1))
        length = data.draw(st.integers(0, min(size - begin, data.draw(st.sampled_from([1, PAGE, 40 * PAGE, size])))))
        instances.call("fill", begin, length)
        assert instances.call("found") == (-1,), (begin, length)


def test_scattered_single_bytes(spoiled: tuple[FreshInstances, int]) -> None:
    """More parts than are looked at one by one, and pages beyond the first size."""
    instances, size = spoiled
    for step in (2 * PAGE, 5 * PAGE, 16 * PAGE):
        for first in range(0, size - step, 2 * step):
            instances.call("two", first, first + step - 1)
        assert instances.call("found") == (-1,)
    instances.call("two", size - 1, size + 2 * 65536 - 1)
    assert instances.call("grow", 2) == (size // 65536,)
    assert instances.call("found") == (-1,)


def test_pages_in_regular_use_stay() -> None:
    if sanitized():
        return  # its own memory faults too
    with fresh(17) as instances:
        for _ in range(3):
            instances.call("fill", 0, 1 << 20)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(100):
            instances.call("fill", 0, 1 << 20)
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
        assert faults < 100 * 64, "a mebibyte has 256 pages"
        for _ in range(3):  # no more in use: given back
            instances.call("fill", 0, 0)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        instances.call("fill", 0, 1 << 20)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before > 128
