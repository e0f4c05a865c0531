"""The guests of the chaos run: text format, made binary once; every call carries a number that the guest tells the ledger."""

from __future__ import annotations

from functools import cache

import wasmtime

from benchmarks import modules

from .traitor import MAGIC

_BEE = f"""(module
  (import "ledger" "ran" (func $ran (param i64)))
  (import "ledger" "slow" (func $slow (param i64 i32)))
  (import "ledger" "born" (func $born (result i32)))
  (import "ledger" "nest" (func $nest (param i64) (result i64)))
  (memory (export "memory") 1)
  (global $name (mut i32) (i32.const 0))
  (global $count (mut i32) (i32.const 0))
  (func $answer (param $n i64) (result i64) (i64.mul (local.get $n) (i64.const 3)))
  ;; runs in no time, and nobody is told
  (func (export "plain") (param $n i64) (result i64) (call $answer (local.get $n)))
  (func (export "record") (param $n i64) (result i64) (call $ran (local.get $n)) (call $answer (local.get $n)))
  (func (export "work") (param $n i64) (param $loops i32) (result i64)
    (call $ran (local.get $n))
    (loop $again (br_if $again (local.tee $loops (i32.sub (local.get $loops) (i32.const 1)))))
    (call $answer (local.get $n)))
  ;; the instance's name and how many calls it has had: no pair may be seen twice
  (func (export "bump") (param $n i64) (result i32 i32)
    (call $ran (local.get $n))
    (if (i32.eqz (global.get $name)) (then (global.set $name (call $born))))
    (global.set $count (i32.add (global.get $count) (i32.const 1)))
    (global.get $name) (global.get $count))
  (func (export "pause") (param $n i64) (param $ms i32) (result i64)
    (call $ran (local.get $n)) (call $slow (local.get $n) (local.get $ms)) (call $answer (local.get $n)))
  (func (export "nested") (param $n i64) (result i64) (call $ran (local.get $n)) (call $nest (local.get $n)))
  (func (export "spin") (param $n i64) (call $ran (local.get $n)) (loop $again (br $again)))
  (func (export "bulk") (param $n i64) (call $ran (local.get $n))
    (drop (memory.grow (i32.const 100)))
    (loop $again (memory.fill (i32.const 0) (i32.const 1) (i32.const 6000000)) (br $again)))
  ;; takes memory until there is no more, and writes to every page of it
  (func (export "hog") (param $n i64) (result i64)
    (call $ran (local.get $n))
    (loop $again
      (if (i32.ne (memory.grow (i32.const 16)) (i32.const -1))
        (then
          (memory.fill (i32.mul (i32.sub (memory.size) (i32.const 16)) (i32.const 65536)) (i32.const 7) (i32.const 1048576))
          (br $again))))
    (call $answer (local.get $n)))
  (func (export "fail") (param $n i64) (call $ran (local.get $n)) unreachable)
  (func (export "betray") (param $n i64) (param $how i32) (result i64 i32)
    (call $ran (local.get $n)) (i64.const {MAGIC}) (local.get $how)))"""

_SCRIBE = r"""(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
  (memory (export "memory") 1)
  ;; creates a file that must not be there yet, named by the number in letters from a to p, and writes its name into it; errno
  (func (export "note") (param $n i64) (result i32) (local $at i32) (local $errno i32)
    (local.set $at (i32.const 15))
    (loop $digits
      (i32.store8 (i32.add (i32.const 64) (local.get $at))
        (i32.add (i32.const 97) (i32.wrap_i64 (i64.and (local.get $n) (i64.const 15)))))
      (local.set $n (i64.shr_u (local.get $n) (i64.const 4)))
      (br_if $digits (i32.ge_s (local.tee $at (i32.sub (local.get $at) (i32.const 1))) (i32.const 0))))
    (local.set $errno (call $open (i32.const 3) (i32.const 0) (i32.const 64) (i32.const 16) (i32.const 5)
      (i64.const 0x40) (i64.const 0) (i32.const 0) (i32.const 8)))
    (if (local.get $errno) (then (return (local.get $errno))))
    (i32.store (i32.const 16) (i32.const 64)) (i32.store (i32.const 20) (i32.const 16))
    (local.set $errno (call $write (i32.load (i32.const 8)) (i32.const 16) (i32.const 1) (i32.const 24)))
    (drop (call $close (i32.load (i32.const 8))))
    (local.get $errno)))"""


def number_of(name: str) -> int:
    """The call for which the scribe has made a file of that name."""
    number = 0
    for letter in name:
        number = number << 4 | ord(letter) - 97
    return number


def binary(text: str) -> bytes:
    """Text format to binary."""
    return bytes(wasmtime.wat2wasm(text))


@cache
def bee() -> bytes:
    """Calls of every kind, with the ledger's functions as imports."""
    return binary(_BEE)


@cache
def scribe() -> bytes:
    """Writes a file for each call into its directory."""
    return binary(_SCRIBE)


def copier() -> bytes:
    """A WASI command: stdin to stdout."""
    return modules.cat()


def unique(number: int) -> bytes:
    """The bee in other bytes, which no cache has seen."""
    name, value = b"chaos", number.to_bytes(8, "little")
    return bee() + bytes([0, 1 + len(name) + len(value), len(name)]) + name + value
