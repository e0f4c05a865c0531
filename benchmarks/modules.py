"""The small modules that are called, instantiated and loaded: bytes made here, so that they are the same for every contender."""

from __future__ import annotations

import tests.builder as b

PAGE = 65_536
MIB = 1 << 20
BUFFER_PAGES = MIB // PAGE
I32_LOAD, I32_STORE, I32_SUB, I32_NE = b"\x28\2\0", b"\x36\2\0", b"\x6b", b"\x47"
DATA_TEXT = b"sixteen bytes..." * 16


def get(local: int) -> bytes:
    """local.get"""
    return b.LOCAL_GET + b.unsigned(local)


def load(address: int) -> bytes:
    """i32.load of a fixed address."""
    return b.i32_const(address) + I32_LOAD


def store(address: int, value: bytes) -> bytes:
    """i32.store of a value to a fixed address."""
    return b.i32_const(address) + value + I32_STORE


def add() -> bytes:
    """`add(i32, i32) -> i32` and nothing else."""
    return b.module(
        b.section(b.TYPE, b.vector([b.function_type([b.I32, b.I32], [b.I32])])),
        b.section(b.FUNCTION, b.vector([b.unsigned(0)])),
        b.section(b.EXPORT, b.vector([b.name("add") + b"\0\0"])),
        b.section(b.CODE, b.vector([b.body(get(0) + get(1) + b.I32_ADD + b.END)])),
    )


def add_with_memory() -> bytes:
    """The same with two pages of memory, of which a data segment initialises some; the sum goes by way of a page not yet used."""
    code = store(PAGE + 1024, load(1024)) + get(0) + get(1) + b.I32_ADD
    code += load(1024) + load(PAGE + 1024) + I32_SUB + b.I32_ADD + b.END
    return b.module(
        b.section(b.TYPE, b.vector([b.function_type([b.I32, b.I32], [b.I32])])),
        b.section(b.FUNCTION, b.vector([b.unsigned(0)])),
        b.section(b.MEMORY, b.vector([b.limits(2)])),
        b.section(b.EXPORT, b.vector([b.name("add") + b"\0\0", b.name("memory") + b"\2\0"])),
        b.section(b.CODE, b.vector([b.body(code)])),
        b.section(b.DATA, b.vector([b"\0" + b.i32_const(1024) + b.END + b.unsigned(len(DATA_TEXT)) + DATA_TEXT])),
    )


def host_caller() -> bytes:
    """`run(n: i32) -> i32` calls the import `host`.`f`: (i32, i32) -> i32 n times, with (sum so far, 1); gives the last sum."""
    loop = (
        b.BLOCK + bytes([b.EMPTY]) + get(0) + b.I32_EQZ + b.BR_IF + b"\0" + b.LOOP + bytes([b.EMPTY])
        + get(1) + b.i32_const(1) + b.CALL + b"\0" + b.LOCAL_SET + b"\1"
        + get(0) + b.i32_const(1) + I32_SUB + b.LOCAL_TEE + b"\0" + b.BR_IF + b"\0" + b.END + b.END + get(1) + b.END
    )  # fmt: skip
    return b.module(
        b.section(b.TYPE, b.vector([b.function_type([b.I32, b.I32], [b.I32]), b.function_type([b.I32], [b.I32])])),
        b.section(b.IMPORT, b.vector([b.name("host") + b.name("f") + b"\0\0"])),
        b.section(b.FUNCTION, b.vector([b.unsigned(1)])),
        b.section(b.EXPORT, b.vector([b.name("run") + b"\0\1"])),
        b.section(b.CODE, b.vector([b.body(loop, [(1, b.I32)])])),
    )


def endless() -> bytes:
    """`run()` never ends by itself."""
    return b.module(
        b.section(b.TYPE, b.vector([b.function_type()])),
        b.section(b.FUNCTION, b.vector([b.unsigned(0)])),
        b.section(b.EXPORT, b.vector([b.name("run") + b"\0\0"])),
        b.section(b.CODE, b.vector([b.body(b.LOOP + bytes([b.EMPTY]) + b.BR + b"\0" + b.END + b.END)])),
    )


def late() -> bytes:
    """`spin()` and `bulk()` never end by themselves, `bulk` fills 4 MiB again and again; `wait(ms)` calls the import
    `host`.`block`; `count(n) -> n` counts to n in steps of one."""
    forever = b.LOOP + bytes([b.EMPTY]) + b"%b" + b.BR + b"\0" + b.END + b.END
    fill = b.i32_const(0) + b.i32_const(1) + b.i32_const(4 * MIB) + b"\xfc\x0b\0"
    count = (
        b.LOOP + bytes([b.EMPTY]) + get(1) + b.i32_const(1) + b.I32_ADD + b.LOCAL_TEE + b"\1" + get(0) + I32_NE + b.BR_IF + b"\0"
        + b.END + get(1) + b.END
    )  # fmt: skip
    names = [b.name(name) + b"\0" + b.unsigned(1 + index) for index, name in enumerate(("spin", "bulk", "wait", "count"))]
    return b.module(
        b.section(b.TYPE, b.vector([b.function_type(), b.function_type([b.I32]), b.function_type([b.I32], [b.I32])])),
        b.section(b.IMPORT, b.vector([b.name("host") + b.name("block") + b"\0\1"])),
        b.section(b.FUNCTION, b.vector([b.unsigned(type_) for type_ in (0, 0, 1, 2)])),
        b.section(b.MEMORY, b.vector([b.limits(4 * MIB // PAGE)])),
        b.section(b.EXPORT, b.vector(names)),
        b.section(b.CODE, b.vector([
            b.body(forever % b""), b.body(forever % fill), b.body(get(0) + b.CALL + b"\0" + b.END), b.body(count, [(1, b.I32)]),
        ])),
    )  # fmt: skip


def cat() -> bytes:
    """A WASI command: standard input to standard output, a mebibyte at a time at most."""
    read_iov, read_count, write_iov, write_count, buffer = 0, 8, 16, 24, PAGE
    done, length = 0, 1  # locals
    read = store(read_iov, b.i32_const(buffer)) + store(read_iov + 4, b.i32_const(MIB)) + (
        b.i32_const(0) + b.i32_const(read_iov) + b.i32_const(1) + b.i32_const(read_count) + b.CALL + b"\0" + fail_if_any()
    )  # fmt: skip
    ended = load(read_count) + b.LOCAL_TEE + b.unsigned(length) + b.I32_EQZ + b.BR_IF + b"\1"
    write = (
        store(write_iov, b.i32_const(buffer) + get(done) + b.I32_ADD) + store(write_iov + 4, get(length) + get(done) + I32_SUB)
        + b.i32_const(1) + b.i32_const(write_iov) + b.i32_const(1) + b.i32_const(write_count) + b.CALL + b"\1" + fail_if_any()
        + load(write_count) + get(done) + b.I32_ADD + b.LOCAL_TEE + b.unsigned(done) + get(length) + I32_SUB + b.BR_IF + b"\0"
    )  # fmt: skip
    code = (
        b.BLOCK + bytes([b.EMPTY]) + b.LOOP + bytes([b.EMPTY]) + read + ended + b.i32_const(0) + b.LOCAL_SET + b.unsigned(done)
        + b.LOOP + bytes([b.EMPTY]) + write + b.END + b.BR + b"\0" + b.END + b.END + b.END
    )  # fmt: skip
    wasi = "wasi_snapshot_preview1"
    return b.module(
        b.section(b.TYPE, b.vector([b.function_type([b.I32] * 4, [b.I32]), b.function_type()])),
        b.section(b.IMPORT, b.vector([b.name(wasi) + b.name("fd_read") + b"\0\0", b.name(wasi) + b.name("fd_write") + b"\0\0"])),
        b.section(b.FUNCTION, b.vector([b.unsigned(1)])),
        b.section(b.MEMORY, b.vector([b.limits(1 + BUFFER_PAGES)])),
        b.section(b.EXPORT, b.vector([b.name("_start") + b"\0\2", b.name("memory") + b"\2\0"])),
        b.section(b.CODE, b.vector([b.body(code, [(2, b.I32)])])),
    )


def fail_if_any() -> bytes:
    """Takes an errno: traps unless it is 0."""
    return b"\x04" + bytes([b.EMPTY]) + b.UNREACHABLE + b.END
