"""Functions of the application: called by guests, in the application, with its own exceptions."""

from __future__ import annotations

import threading

import pytest

from sandboxhost import (
    Cancelled,
    DeadlineExceeded,
    Grants,
    Host,
    HostFunctionError,
    LimitExceeded,
    Limits,
    LinkError,
    SignatureMismatch,
    Trap,
    i32,
    i64,
)

from .conftest import HELPED, MATH


class Lost(Exception):
    """An exception of the application, which could not travel to another process."""

    def __init__(self, key: int) -> None:
        super().__init__(key)
        self.lock = threading.Lock()


@pytest.fixture(scope="module")
def helped(host: Host) -> Host:
    """The host with app.lookup: what it does depends on the key."""
    thrown = Lost(7)

    @host.function("app", "lookup")
    def lookup(key: i32) -> i64:
        if key == -1:
            raise thrown
        if key == -2:
            return "x"  # type: ignore[return-value]
        if key == -3:
            return int(host.load(HELPED).call("plain", 21))
        if key == -4:
            return int(host.load(MATH).call("divide", 1, 0))
        if key <= -10:
            return int(host.load(HELPED).call("go", key + 1 if key < -10 else 5))
        return key * 1000

    host.thrown = thrown  # type: ignore[attr-defined]
    return host


def test_a_guest_calls_the_application(helped: Host) -> None:
    plugin = helped.load(HELPED)
    assert plugin.call("go", 2) == 2000 and plugin.call("many", 50) == 1000 * 50 * 51 // 2
    assert plugin.submit("go", 3).result(10) == 3000
    assert plugin.map("go", range(20)) == [1000 * i for i in range(20)]


@pytest.mark.parametrize("how", ["call", "submit", "map"])
def test_its_exception_comes_back_as_itself(helped: Host, how: str) -> None:
    plugin = helped.load(HELPED)
    with pytest.raises(HostFunctionError) as caught:
        if how == "call":
            plugin.call("go", -1)
        elif how == "submit":
            plugin.submit("go", -1).result(10)
        else:
            plugin.map("go", [1, -1, 2])
    assert caught.value.__cause__ is helped.thrown  # type: ignore[attr-defined]
    assert plugin.call("go", 1) == 1000


def test_a_wrong_result_is_the_applications_mistake(helped: Host) -> None:
    with pytest.raises(HostFunctionError) as caught:
        helped.load(HELPED).call("go", -2)
    assert isinstance(caught.value.__cause__, SignatureMismatch)
    assert "app.lookup: result 1: expected i64, got str" in str(caught.value.__cause__)


def test_it_may_call_plugins_itself(helped: Host) -> None:
    plugin = helped.load(HELPED)
    assert plugin.call("go", -3) == 42
    assert plugin.call("go", -16) == 5000, "seven levels deep"
    with pytest.raises(HostFunctionError) as caught:
        plugin.call("go", -4)
    assert isinstance(caught.value.__cause__, Trap)
    futures = [plugin.submit("go", -12) for _ in range(12)]
    assert [f.result(20) for f in futures] == [5000] * 12, "more calls that nest than there are threads"


def test_imports_that_are_not_granted_are_named(helped: Host) -> None:
    with pytest.raises(LinkError, match='unknown import: "app"."lookup": the function is not granted'):
        helped.load(HELPED, grants=Grants(functions=()))
    assert helped.load(HELPED, grants=Grants(functions=(("app", "lookup"),))).call("go", 1) == 1000
    with Host(workers=0) as bare, pytest.raises(LinkError, match='^unknown import: "app"."lookup"'):
        bare.load(HELPED)


def test_the_type_of_an_import_is_checked(workers: Host) -> None:
    @workers.function("app", "lookup")
    def lookup(key: i64) -> i64:
        return key

    with pytest.raises(LinkError, match=r'^incompatible import type: "app"."lookup": the module imports \(i32\) -> \(i64\)'):
        workers.load(HELPED)
    with pytest.raises(TypeError, match="belongs to WASI"):
        workers.function("wasi_snapshot_preview1", "fd_write")(lookup)


def test_the_number_of_calls_is_limited(helped: Host) -> None:
    plugin = helped.load(HELPED, limits=Limits(host_calls=10))
    assert plugin.call("many", 10) == 55_000
    with pytest.raises(LimitExceeded) as caught:
        plugin.call("many", 11)
    assert caught.value.limit == "host_calls"


def test_a_call_may_end_while_the_application_is_busy(workers: Host) -> None:
    entered, release = threading.Event(), threading.Event()

    @workers.function("app", "lookup")
    def lookup(key: i32) -> i64:
        entered.set()
        release.wait(20)
        return 1

    plugin = workers.load(HELPED, limits=Limits(deadline=0.3))
    future = plugin.submit("go", 1)
    assert entered.wait(5) and isinstance(future.exception(5), DeadlineExceeded)
    entered.clear()
    future = workers.load(HELPED, limits=Limits(deadline=20.0)).submit("go", 1)
    assert entered.wait(5) and future.cancel() and isinstance(future.exception(5), Cancelled)
    release.set()
    assert workers.load(MATH).call("add", 1, 1) == 2 and workers.statistics().workers_lost == 0
