"""All 46 functions under both names: there, in order, with the signatures of the specification."""

from __future__ import annotations

import pytest

from sandboxhost.errors import GuestExit, LinkError
from sandboxworker import native
from sandboxworker.engine import Engine
from sandboxworker.store import Store
from sandboxworker.types import ValueType
from sandboxworker.wasi import Wasi, is_wasi_module

from .guest import BOTH, FUNCTIONS, NOTSUP, SUCCESS, Guest


def test_there_are_46_functions() -> None:
    assert native.plain("sbx_wasi_function_count") == len(FUNCTIONS) == 46


@pytest.mark.parametrize("module", BOTH)
def test_every_function_links_with_its_signature(module: str) -> None:
    letters = {"i": ValueType.I32, "I": ValueType.I64}
    with Store(Engine()) as store:
        wasi = Wasi(store)
        for name, (params, results) in FUNCTIONS.items():
            type_ = wasi.function(module, name).type
            assert type_.params == tuple(letters[c] for c in params), name
            assert type_.results == tuple(letters[c] for c in results), name


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("wasi_snapshot_preview1", "fd_dup"),
        ("wasi_snapshot_preview1", ""),
        ("wasi_snapshot_preview1", "fd_read\0"),
        ("wasi_snapshot_preview1", "fd_rea"),
        ("wasi_snapshot_preview2", "fd_read"),
        ("", "fd_read"),
        ("env", "fd_read"),
    ],
)
def test_an_unknown_import_is_named(module: str, name: str) -> None:
    with Store(Engine()) as store, pytest.raises(LinkError, match="unknown import"):
        Wasi(store).function(module, name)


def test_both_names_are_modules_of_wasi() -> None:
    assert [is_wasi_module(name) for name in (*BOTH, "wasi", "wasi_unstable\0", "")] == [True, True, False, False, False]


def test_proc_exit_ends_the_program_with_its_code(guest: Guest) -> None:
    for code in (0, 1, 125, 126, 255, 0xFFFFFFFF):
        with pytest.raises(GuestExit) as caught:
            guest.proc_exit(code)
        assert caught.value.code == code
    assert guest.sched_yield() == SUCCESS


def test_what_is_not_supported_says_so(guest: Guest) -> None:
    assert guest.proc_raise(2) == NOTSUP
    assert guest.sock_accept(0, 0, 0) == NOTSUP
    assert guest.sock_recv(0, 0, 0, 0, 0, 0) == NOTSUP
    assert guest.sock_send(0, 0, 0, 0, 0) == NOTSUP
    assert guest.sock_shutdown(0, 0) == NOTSUP
