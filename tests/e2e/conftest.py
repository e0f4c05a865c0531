"""Modules and hosts that the end-to-end tests share."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import wasmtime

import sandboxhost
import sandboxworker
from sandboxhost import Host

# Where the packages under test lie, for processes of the tests' own: another build of the core may be the one that is tested.
PACKAGES = os.pathsep.join(str(Path(package.__path__[0]).parent) for package in (sandboxhost, sandboxworker))


def when_busy(host: Host, action: Callable[..., object], *arguments: object, ended: int = 0) -> threading.Thread:
    """Does something in a thread of its own when a worker that has ended so many calls has one in flight, however long that takes
    to begin."""

    def act() -> None:
        end = time.monotonic() + 60
        while not any(w.in_flight and w.calls >= ended for w in host.statistics().workers) and time.monotonic() < end:
            time.sleep(0.001)
        time.sleep(0.05)
        action(*arguments)

    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    return thread


def wat(text: str) -> bytes:
    """Text format to binary."""
    return bytes(wasmtime.wat2wasm(text))


MATH = wat("""(module
  (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
  (func (export "wide") (param i64) (result i64) (i64.mul (local.get 0) (i64.const 3)))
  (func (export "half") (param f32 f64) (result f32 f64)
    (f32.div (local.get 0) (f32.const 2)) (f64.div (local.get 1) (f64.const 2)))
  (func (export "same") (param externref) (result externref) (local.get 0))
  (func (export "divide") (param i32 i32) (result i32) (i32.div_s (local.get 0) (local.get 1)))
  (func $deep (export "deep") (call $deep))
  (func (export "spin") (loop $again (br $again)))
  (func (export "count") (param $n i32) (result i32)
    (loop $again (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1))))) (local.get $n))
  (func (export "nothing"))
  (memory (export "memory") 1)
  (global $calls (mut i32) (i32.const 0))
  (func (export "bump") (result i32) (global.set $calls (i32.add (global.get $calls) (i32.const 1))) (global.get $calls))
  (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
  (func (export "touch") (param i32) (result i32) (i32.load (local.get 0))))""")

HELPED = wat("""(module
  (import "app" "lookup" (func $lookup (param i32) (result i64)))
  (func (export "go") (param i32) (result i64) (call $lookup (local.get 0)))
  (func (export "many") (param $n i32) (result i64) (local $sum i64)
    (loop $again
      (local.set $sum (i64.add (local.get $sum) (call $lookup (local.get $n))))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $sum))
  (func (export "plain") (param i32) (result i32) (i32.mul (local.get 0) (i32.const 2))))""")

COMMAND = wat(r"""(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 32) "oops\n")
  ;; the arguments to stdout, "oops" to stderr, stdin to stdout; exits with the number of arguments
  (func (export "_start")
    (drop (call $sizes (i32.const 0) (i32.const 4)))
    (drop (call $args (i32.const 64) (i32.const 1024)))
    (i32.store (i32.const 8) (i32.const 1024)) (i32.store (i32.const 12) (i32.load (i32.const 4)))
    (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 16)))
    (i32.store (i32.const 8) (i32.const 32)) (i32.store (i32.const 12) (i32.const 5))
    (drop (call $write (i32.const 2) (i32.const 8) (i32.const 1) (i32.const 16)))
    (i32.store (i32.const 8) (i32.const 4096)) (i32.store (i32.const 12) (i32.const 1000))
    (drop (call $read (i32.const 0) (i32.const 8) (i32.const 1) (i32.const 12)))
    (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 16)))
    (call $exit (i32.load (i32.const 0))))
  (func (export "print") (drop (call $write (i32.const 1) (i32.const 28) (i32.const 0) (i32.const 16)))
    (i32.store (i32.const 8) (i32.const 32)) (i32.store (i32.const 12) (i32.const 5))
    (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 16))))
  (func (export "leave") (param i32) (call $exit (local.get 0))))""")


@pytest.fixture(scope="module", params=[2, 0], ids=["workers", "in_process"])
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    """A host with two workers of two threads, and one without workers."""
    with Host(workers=request.param, threads=2) as host:
        yield host


@pytest.fixture(scope="module")
def workers() -> Iterator[Host]:
    """A host with two workers of two threads."""
    with Host(workers=2, threads=2) as host:
        yield host
