"""Every forbidden act from every kind of thread, refused; and let through once its layer is off: so it is the layer's doing."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import sandboxhost
import sandboxworker
from tests.conftest import ROOT

from .acts import ACTS, FILES, KILLED

PATHS = [str(Path(package.__path__[0]).parent) for package in (sandboxhost, sandboxworker)]
SITE = [path for path in sys.path if path.endswith("site-packages")]
Try = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def attempt() -> Iterator[Try]:
    """Makes one act in a process of its own: attempt(act, kind, without=layers, …) -> the driver's answer."""
    command = [sys.executable, "-I", "-S", "-B", str(Path(__file__).with_name("driver.py")), *PATHS, str(ROOT), *SITE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdin is not None and driver.stdout is not None
        sent, answers = driver.stdin, driver.stdout

        def ask(act: str, kind: str = "call", without: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
            print(json.dumps({"act": act, "kind": kind, "without": without, "host": os.getpid(), **more}), file=sent, flush=True)
            answer: dict[str, Any] = json.loads(answers.readline())
            return answer

        yield ask
        sent.close()


KINDS = ("main", "call", "watchdog", "compile")


@pytest.mark.parametrize("name", ACTS)
def test_an_act_is_refused_and_its_layer_is_why(attempt: Try, name: str) -> None:
    act = ACTS[name]
    outcomes = {kind: attempt(name, kind)["outcome"] for kind in KINDS}
    assert outcomes == dict.fromkeys(KINDS, act.refused)
    free = attempt(name, "call", ("seccomp",))["outcome"]
    assert free != KILLED and "exit" not in free, "without the filter it gets past it"
    if act.free:
        assert free == act.free
    elif act.refused == "EPERM":
        assert free != "EPERM"


@pytest.mark.parametrize("act", FILES, ids=lambda act: act.name)
def test_files_are_behind_three_walls(attempt: Try, act: Any) -> None:
    """The filter, Landlock, and a root directory with nothing in it."""
    if act.number < 0:
        pytest.skip("this machine has no such system call")
    assert attempt(act.name, without=("seccomp", "landlock", "root"))["outcome"] == "ok"
    assert attempt(act.name, without=("landlock", "root"))["outcome"] == "EPERM"
    assert attempt(act.name, without=("seccomp", "landlock"))["outcome"] == "ENOENT"
    if "open" in act.name:
        assert attempt(act.name, without=("seccomp", "root"))["outcome"] == "EACCES"


def test_there_are_enough_acts() -> None:
    assert len(ACTS) >= 100


@pytest.mark.skipif(platform.machine() != "x86_64", reason="calls of another kind are x86-64's")
def test_calls_of_the_32_bit_kind_are_refused(attempt: Try) -> None:
    free = attempt("int 0x80", without=("seccomp",))["outcome"]
    assert free in ("ok", "SIGSEGV"), "SIGSEGV: this kernel does not have them anyway"
    assert attempt("int 0x80")["outcome"] == (KILLED if free == "ok" else "SIGSEGV")


def test_memory_gains_no_right_to_run_without_the_filter_either(attempt: Try) -> None:
    """PR_SET_MDWE."""
    answer = attempt("mprotect executable", without=("seccomp",))
    assert answer["outcome"] == ("ok" if "exec-gain" in answer["missing"] else "EACCES")
    assert attempt("mprotect executable", without=("seccomp", "exec-gain"))["outcome"] == "ok"


def test_nobody_outside_gets_a_signal_without_the_filter_either(attempt: Try) -> None:
    """Landlock's scope, and another user; with none of them the signal goes through."""
    assert attempt("kill of the host", without=("seccomp", "user", "capabilities"))["outcome"] == "EPERM"
    alone = ("seccomp", "landlock", "user", "capabilities", "namespaces")
    assert attempt("kill of the host", without=alone)["outcome"] == "ok"


@pytest.mark.parametrize(("layer", "level"), [
    ("seccomp", "none"), ("privileges", "none"), ("landlock", "seccomp-only"), ("namespaces", "no-userns")])  # fmt: skip
def test_the_level_says_what_is_missing(attempt: Try, layer: str, level: str) -> None:
    answer = attempt("getcwd", without=(layer,))
    assert answer["level"] == level and answer["missing"][layer] == "not tried"


def test_a_granted_directory_and_nothing_else(attempt: Try, tmp_path: Path) -> None:
    granted = tmp_path / "granted"
    granted.mkdir()
    (granted / "inside").write_text("x")
    (tmp_path / "outside").write_text("x")

    def outcome(act: str, path: str, writable: bool, without: tuple[str, ...] = (), flags: int = 0) -> str:
        answer = attempt(act, "call", without, path=path, flags=flags, grant=[str(granted), writable])
        return str(answer["outcome"])

    write, make = os.O_WRONLY, os.O_WRONLY | os.O_CREAT
    for writable in (False, True):
        assert outcome("openat2", "inside", writable) == "ok"
        assert outcome("openat2", "../outside", writable) == "EACCES"
        assert outcome("openat2", "../outside", writable, ("landlock",)) == "ok", "what Landlock is for"
        assert outcome("anywhere", "/etc/passwd", writable) == "ENOENT"
        assert outcome("anywhere", "/etc/passwd", writable, ("root",)) == "EACCES"
        assert outcome("anywhere", "/etc/passwd", writable, ("root", "landlock")) == "ok"
        assert outcome("mknodat", "pipe", writable) == KILLED
    assert outcome("openat2", "inside", False, flags=write) == "EACCES"
    assert outcome("openat2", "new", False, flags=make) == "EACCES"
    assert outcome("mkdirat", "folder", False) == "EACCES"
    assert outcome("openat2", "inside", True, flags=write) == "ok"
    assert outcome("openat2", "new", True, flags=make) == "ok" and (granted / "new").exists()
    assert outcome("mkdirat", "folder", True) == "ok" and (granted / "folder").is_dir()
