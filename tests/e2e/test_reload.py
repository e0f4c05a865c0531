"""Hot reload: another module takes a plugin's place between two calls, or nothing changes at all."""

from __future__ import annotations

import gc
import threading
from pathlib import Path
from typing import Any

import pytest

from sandboxhost import (
    DecodeError,
    Host,
    HostClosed,
    Limits,
    LinkError,
    Plugin,
    SignatureMismatch,
    Trap,
    UnknownFunction,
    ValidationError,
    i32,
    i64,
)

from .conftest import wat


def answering(number: int, extra: str = "") -> bytes:
    """A module whose function says which one it is, by itself and through the application."""
    return wat(f"""(module
      (import "app" "note" (func $note (param i32) (result i32)))
      (func (export "which") (result i32) (i32.const {number}))
      (func (export "noted") (result i32) (call $note (i32.const {number})))
      (func (export "echo") (param i32) (result i32) (local.get 0)) {extra})""")


def register(host: Host) -> list[int]:
    """The function that they import; what it was called with."""
    seen: list[int] = []

    @host.function("app", "note")
    def note(number: i32) -> i32:
        seen.append(number)
        return number + 100

    return seen


def test_new_calls_go_to_the_new_module(host: Host) -> None:
    seen = register(host)
    plugin = host.load(answering(1), name="versions")
    assert (plugin.generation, plugin.call("which"), plugin.call("noted")) == (1, 1, 101)
    done = plugin.reload(answering(2, '(func (export "more"))'))
    assert done == (2, ("more",), (), ()) and plugin.generation == 2 and repr(plugin) == "<Plugin versions>"
    assert (plugin.call("which"), plugin.call("noted"), plugin.call("more")) == (2, 102, None)
    assert plugin.submit("which").result(30) == 2 and plugin.map("echo", range(50)) == list(range(50))
    assert seen == [1, 2], "the application's functions are bound to both"
    found = plugin.statistics()
    assert found.generation == 2 and found.outcomes == {"ok": 56} and found.draining == 0
    assert [entry.name for entry in host.statistics().plugins].count("versions") == 1
    plugin.unload()
    with pytest.raises(UnknownFunction, match="not loaded"):
        plugin.call("which")
    with pytest.raises(UnknownFunction, match="not loaded"):
        plugin.reload(answering(3))


@pytest.mark.parametrize(
    ("module", "error", "words"),
    [
        (b"\0asm\2\0\0\0", DecodeError, "version"),
        (b"\0asm\1\0\0\0\1\4\1\x60\0\0\3\2\1\0\x0a\5\1\3\0\x1a\x0b", ValidationError, "type mismatch"),  # drop, of nothing
        (wat('(module (import "app" "other" (func)))'), LinkError, '"app"."other"'),
        (wat('(module (import "app" "note" (func (param i64))))'), LinkError, "incompatible import type"),
        (wat('(module (func (export "which") (result i64) (i64.const 1)))'), SignatureMismatch,
         r"versions stays as it is \(generation 1\): 'echo' is gone; 'noted' is gone; 'which' was .*i32.* and is .*i64"),
    ],
)  # fmt: skip
def test_what_fails_changes_nothing(host: Host, module: bytes, error: type[Exception], words: str) -> None:
    register(host)
    plugin = host.load(answering(1), name="versions")
    before = len(host.statistics().plugins)
    with pytest.raises(error, match=words):
        plugin.reload(module)
    assert (plugin.generation, plugin.call("which"), plugin.call("noted")) == (1, 1, 101)
    assert len(host.statistics().plugins) == before and plugin.statistics().generation == 1
    assert plugin.reload(answering(2)).generation == 2 and plugin.call("which") == 2, "and it can be reloaded after it"
    plugin.unload()


def test_changes_of_signatures_are_taken_when_they_are_wanted(host: Host) -> None:
    register(host)
    plugin = host.load(answering(1))
    done = plugin.reload(wat('(module (func (export "which") (result i64) (i64.const 7)))'), allow_changes=True)
    assert done == (2, (), ("echo", "noted"), ("which",)) and plugin.call("which") == 7
    with pytest.raises(UnknownFunction, match="exports no function 'echo'"):
        plugin.call("echo", 1)


def test_a_trial_decides(host: Host) -> None:
    register(host)
    plugin = host.load(answering(1))
    tried: list[Any] = []

    def trial(candidate: Plugin) -> None:
        tried.append((candidate.call("which"), plugin.call("which"), candidate.generation))
        if tried[-1][0] == 2:
            raise ValueError("two is not liked")

    with pytest.raises(ValueError, match="two is not liked"):
        plugin.reload(answering(2), trial=trial)
    assert plugin.call("which") == 1 and plugin.generation == 1
    assert plugin.reload(answering(3), trial=trial).generation == 2 and plugin.call("which") == 3
    assert tried == [(2, 1, 2), (3, 1, 2)], "the plugin serves on while the other is tried"
    with pytest.raises(Trap):
        plugin.reload(answering(4, '(func (export "bad") unreachable)'), trial=lambda candidate: candidate.call("bad"))
    assert plugin.call("which") == 3
    with pytest.raises(UnknownFunction, match="unloaded while"):
        plugin.reload(answering(5), trial=lambda candidate: plugin.unload())


def test_calls_that_were_accepted_end_on_the_old_one(workers: Host) -> None:
    entered, go_on = threading.Event(), threading.Event()

    @workers.function("app", "hold")
    def hold() -> i64:
        entered.set()
        go_on.wait(60)
        return 5

    def holding(number: int) -> bytes:
        return wat(f"""(module (import "app" "hold" (func $hold (result i64)))
          (func (export "held") (result i64) (i64.mul (call $hold) (i64.const {number})))
          (func (export "which") (result i32) (i32.const {number})))""")

    plugin = workers.load(holding(1), limits=Limits(concurrent_calls=1))
    first = plugin.submit("held")
    assert entered.wait(60)
    queued = [plugin.submit("which") for _ in range(3)]
    plugin.reload(holding(10))
    assert plugin.call("which") == 10, "the new one does not wait for the old one"
    now = plugin.statistics()
    assert (now.generation, now.pending, now.draining, now.queued) == (2, 4, 4, 3)
    go_on.set()
    assert first.result(60) == 5 and [future.result(60) for future in queued] == [1, 1, 1]
    found = plugin.statistics()
    assert (found.pending, found.draining, found.outcomes) == (0, 0, {"ok": 5})
    plugin.unload()
    assert plugin not in workers.statistics().plugins


def test_a_persistent_plugin_begins_anew(host: Host) -> None:
    counting = """(module (global $n (mut i32) (i32.const {}))
      (func (export "next") (result i32) (global.set $n (i32.add (global.get $n) (i32.const 1))) (global.get $n)))"""
    plugin = host.load(wat(counting.format(0)), instance="persistent")
    assert [plugin.call("next"), plugin.call("next")] == [1, 2]
    plugin.reload(wat(counting.format(40)))
    assert plugin.persistent and [plugin.call("next"), plugin.call("next")] == [41, 42]


def test_a_manifest_goes_on_lowering(host: Host, tmp_path: Path) -> None:
    """Bytes bring none: that of the folder still holds, and so does the application's word."""
    growing = wat('(module (memory 1) (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0))))')
    (tmp_path / "p.wasm").write_bytes(growing)
    (tmp_path / "manifest.toml").write_text('name = "p"\nmodule = "p.wasm"\n[limits]\nmemory = "1MiB"\n')
    plugin = host.load(tmp_path, limits=Limits(memory="4MiB"))
    assert plugin.call("grow", 16) == -1
    plugin.reload(growing)
    assert plugin.call("grow", 16) == -1 and plugin.call("grow", 15) == 1
    (tmp_path / "manifest.toml").write_text('name = "p"\nmodule = "p.wasm"\n[limits]\nmemory = "1GiB"\n')
    plugin.reload(tmp_path)
    assert plugin.limits.memory == 4 * 2**20 and plugin.call("grow", 64) == -1 and plugin.call("grow", 63) == 1


def test_no_call_is_lost_while_modules_come_and_go(workers: Host) -> None:
    """Every face at once, thirty generations: each call is answered by one of them, nothing is refused."""
    register(workers)
    plugin = workers.load(answering(1))
    stop = threading.Event()
    wrong: list[object] = []
    counts = [0, 0, 0]

    def calling(face: int) -> None:
        while not stop.is_set():
            try:
                if face == 0:
                    found: list[Any] = [plugin.call("which"), plugin.call("noted") - 100]
                elif face == 1:
                    found = [future.result(60) for future in [plugin.submit("which") for _ in range(5)]]
                else:
                    found = [1 + value for value in plugin.map("echo", [0] * 40)]
                if not all(1 <= value <= 31 for value in found):
                    wrong.append(found)
                counts[face] += 1
            except BaseException as exc:
                wrong.append(exc)
                return

    threads = [threading.Thread(target=calling, args=(face,)) for face in range(3)]
    for thread in threads:
        thread.start()
    for number in range(2, 32):
        plugin.reload(answering(number % 3 + 1))
    stop.set()
    for thread in threads:
        thread.join(60)
    assert wrong == [] and min(counts) > 0
    assert plugin.generation == 31 and plugin.statistics().pending == 0
    assert list(plugin.statistics().outcomes) == ["ok"]


def test_a_collected_host_says_so() -> None:
    host = Host(workers=0)
    plugin = host.load(wat('(module (func (export "f")))'))
    host.close()
    with pytest.raises(HostClosed):
        plugin.reload(wat('(module (func (export "f")))'))
    del host
    gc.collect()
    with pytest.raises(HostClosed):
        plugin.reload(wat('(module (func (export "f")))'))
