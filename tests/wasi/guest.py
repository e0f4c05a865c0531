"""A guest that forwards: a module whose exports call the WASI functions of the same names, with Python as the program."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from sandboxworker import native
from sandboxworker.context import CallContext
from sandboxworker.engine import Engine, Module
from sandboxworker.module_instance import FunctionInstance, MemoryInstance
from sandboxworker.store import Store
from sandboxworker.wasi import Wasi

PREVIEW1, UNSTABLE = "wasi_snapshot_preview1", "wasi_unstable"
BOTH = (PREVIEW1, UNSTABLE)

# errno
SUCCESS, AGAIN, BADF, BUSY, EXIST, FAULT, FBIG, ILSEQ = 0, 6, 8, 10, 20, 21, 22, 25
INVAL, ISDIR, LOOP, MFILE, NAMETOOLONG, NOENT, NOSPC = 28, 31, 32, 33, 37, 44, 51
NOTDIR, NOTEMPTY, NOTSUP, PERM, SPIPE, NOTCAPABLE = 54, 55, 58, 63, 70, 76
# rights
FD_READ, FD_SEEK, FD_TELL, FD_WRITE, PATH_OPEN, FD_READDIR = 1 << 1, 1 << 2, 1 << 5, 1 << 6, 1 << 13, 1 << 14
READ_RIGHTS = FD_READ | FD_SEEK | FD_TELL | 1 << 7 | 1 << 21 | 1 << 27
WRITE_RIGHTS = FD_WRITE | FD_SEEK | FD_TELL | 1 << 8 | 1 << 22 | 1 << 23 | 1 << 21
ALL_RIGHTS = (1 << 29) - 1
# oflags, fdflags, lookup flags, types of files
CREAT, DIRECTORY, EXCL, TRUNC = 1, 2, 4, 8
APPEND, NONBLOCK = 1, 4
FOLLOW = 1
CHARACTER_DEVICE, IS_DIRECTORY, IS_FILE, IS_LINK = 2, 3, 4, 7

RESULT, PATH, PATH2, BUFFER, IOVECS = 0x100, 0x1000, 0x3000, 0x8000, 0x6000
PAGES = 4

# The specification's functions in its order, by area: name:parameters; i = i32, I = i64. All but proc_exit answer one i32.
SPECIFICATION = """
args get:ii sizes_get:ii
environ get:ii sizes_get:ii
clock res_get:ii time_get:iIi
fd advise:iIIi allocate:iII close:i datasync:i fdstat_get:ii fdstat_set_flags:ii fdstat_set_rights:iII filestat_get:ii
fd filestat_set_size:iI filestat_set_times:iIIi pread:iiiIi prestat_get:ii prestat_dir_name:iii pwrite:iiiIi read:iiii
fd readdir:iiiIi renumber:ii seek:iIii sync:i tell:ii write:iiii
path create_directory:iii filestat_get:iiiii filestat_set_times:iiiiIIi link:iiiiiii open:iiiiiIIii readlink:iiiiii
path remove_directory:iii rename:iiiiii symlink:iiiii unlink_file:iii
poll oneoff:iiii
proc exit:i raise:i
sched yield:
random get:ii
sock accept:iii recv:iiiiii send:iiiii shutdown:ii
"""
FUNCTIONS: dict[str, tuple[str, str]] = {
    f"{area}_{name}": (params, "" if (area, name) == ("proc", "exit") else "i")
    for area, *entries in map(str.split, SPECIFICATION.strip().splitlines())
    for name, params in (entry.split(":") for entry in entries)
}


def leb(number: int) -> bytes:
    """Unsigned LEB128."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def text(value: str) -> bytes:
    """A name of the binary format."""
    return leb(len(value.encode())) + value.encode()


def section(number: int, entries: Sequence[bytes]) -> bytes:
    """A section that is a vector of entries."""
    body = leb(len(entries)) + b"".join(entries)
    return bytes([number]) + leb(len(body)) + body


def forwarding_module(module: str, functions: dict[str, tuple[str, str]], pages: int = PAGES) -> bytes:
    """Imports each function and exports one of the same name that calls it; exports the memory too."""
    codes = {"i": b"\x7f", "I": b"\x7e"}
    types, imports, own, exports, bodies = [], [], [], [], []
    for index, (name, (params, results)) in enumerate(functions.items()):
        valtypes = [leb(len(letters)) + b"".join(codes[c] for c in letters) for letters in (params, results)]
        types.append(b"\x60" + b"".join(valtypes))
        imports.append(text(module) + text(name) + b"\x00" + leb(index))
        own.append(leb(index))
        exports.append(text(name) + b"\x00" + leb(len(functions) + index))
        body = b"\x00" + b"".join(b"\x20" + leb(i) for i in range(len(params))) + b"\x10" + leb(index) + b"\x0b"
        bodies.append(leb(len(body)) + body)
    exports.append(text("memory") + b"\x02\x00")
    sections = {1: types, 2: imports, 3: own, 5: [b"\x00" + leb(pages)], 7: exports, 10: bodies}
    return b"\0asm\x01\0\0\0" + b"".join(section(number, entries) for number, entries in sections.items())


class Guest:
    """One instance with its grants. `guest.path_open(...)` calls the function, integers in, errno out."""

    def __init__(self, module: str = PREVIEW1, pages: int = PAGES, metered: bool = False) -> None:
        self.module = module
        self.unstable = module == UNSTABLE
        self.engine = Engine(metered=metered)
        self.store = Store(self.engine)
        self.wasi = Wasi(self.store)
        self.code = Module(forwarding_module(module, FUNCTIONS, pages))
        self.engine.compile_module(self.code)
        self.instance = self.store.instantiate(self.code, imports=self.wasi.imports(self.engine.image(self.code)))
        self.memory = cast(MemoryInstance, self.instance.exports["memory"])
        self.context: CallContext | None = None
        self.preopened = 2

    def __enter__(self) -> Guest:
        return self

    def __exit__(self, *_: object) -> None:
        self.store.close()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or "instance" not in self.__dict__:
            raise AttributeError(name)
        function = cast(FunctionInstance, self.instance.exports[name])

        def call(*params: int) -> Any:
            results = function.call(*params, context=self.context)
            return results[0] if results else None

        return call

    def grant(self, directory: Path | str, guest_path: str = "/", writable: bool = True) -> int:
        """Grants a directory; its descriptor."""
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self.wasi.directory(fd, guest_path, writable)
        finally:
            os.close(fd)
        self.preopened += 1
        return self.preopened

    def set(self, function: str, *args: Any) -> None:
        """A setter of the core that reports errors."""
        native.checked(function, self.wasi.pointer, *args)

    def set_clock(self, mode: str, *args: int) -> None:
        """sbx_wasi_clock_MODE."""
        native.plain(f"sbx_wasi_clock_{mode}", self.wasi.pointer, *args)

    def put(self, address: int, data: bytes) -> tuple[int, int]:
        """Writes to the guest's memory; (address, length)."""
        self.memory.write(address, data)
        return address, len(data)

    def path(self, path: str | bytes, at: int = PATH) -> tuple[int, int]:
        """The two arguments that a path is."""
        return self.put(at, path.encode() if isinstance(path, str) else path)

    def u32(self, address: int = RESULT) -> int:
        return int.from_bytes(self.memory.read(address, 4), "little")

    def u64(self, address: int = RESULT) -> int:
        return int.from_bytes(self.memory.read(address, 8), "little")

    def open(
        self, directory: int, path: str | bytes, oflags: int = 0, rights: int = READ_RIGHTS, fdflags: int = 0,
        follow: bool = True, inheriting: int = ALL_RIGHTS,
    ) -> tuple[int, int]:  # fmt: skip
        """path_open: (errno, descriptor)."""
        error = self.path_open(directory, int(follow), *self.path(path), oflags, rights, inheriting, fdflags, RESULT)
        return error, self.u32() if not error else -1

    def opened(self, *args: Any, **options: Any) -> int:
        """path_open that must succeed."""
        error, fd = self.open(*args, **options)
        assert error == SUCCESS, f"path_open answered {error}"
        return fd

    def iovecs(self, *buffers: tuple[int, int]) -> tuple[int, int]:
        """An array of iovec: its address and count."""
        self.put(IOVECS, b"".join(struct.pack("<II", *buffer) for buffer in buffers))
        return IOVECS, len(buffers)

    def write(self, fd: int, data: bytes) -> tuple[int, int]:
        """fd_write: (errno, count)."""
        error = self.fd_write(fd, *self.iovecs(self.put(BUFFER, data)), RESULT)
        return error, self.u32() if not error else 0

    def read(self, fd: int, length: int = 4096) -> tuple[int, bytes]:
        """fd_read: (errno, bytes)."""
        error = self.fd_read(fd, *self.iovecs((BUFFER, length)), RESULT)
        return error, self.memory.read(BUFFER, self.u32()) if not error else b""

    def stat(self, directory: int, path: str | bytes, follow: bool = False) -> tuple[int, dict[str, int]]:
        """path_filestat_get: (errno, fields)."""
        error = self.path_filestat_get(directory, int(follow), *self.path(path), BUFFER)
        return error, {} if error else self.filestat()

    def filestat(self) -> dict[str, int]:
        """The filestat at BUFFER, in the layout of this guest's module."""
        names = ("dev", "ino", "filetype", "nlink", "size", "atim", "mtim", "ctim")
        form = "<QQB3xIQQQQ" if self.unstable else "<QQB7xQQQQQ"
        return dict(zip(names, struct.unpack(form, self.memory.read(BUFFER, struct.calcsize(form))), strict=True))

    def entries(self, fd: int, size: int = 4096) -> Iterator[tuple[str, int, int, int]]:
        """fd_readdir to the end: (name, type, inode, next cookie)."""
        cookie = 0
        while True:
            assert self.fd_readdir(fd, BUFFER, size, cookie, RESULT) == SUCCESS
            used = self.u32()
            data, at = self.memory.read(BUFFER, used), 0
            while at + 24 <= used:
                following, inode, length, kind = struct.unpack_from("<QQIB", data, at)
                if at + 24 + length > used:
                    break
                yield data[at + 24 : at + 24 + length].decode(), kind, inode, following
                at, cookie = at + 24 + length, following
            if used < size:
                return
            assert at, "not one entry fits"

    def subscription(
        self, userdata: int, kind: int, *, fd: int = 0, clock: int = 1, timeout: int = 0, absolute: bool = False
    ) -> bytes:
        """One subscription in the layout of this guest's module."""
        if kind:
            content = struct.pack("<I", fd)
        else:
            content = (b"\xaa" * 8 if self.unstable else b"") + struct.pack("<IxxxxQQH", clock, timeout, 0, int(absolute))
        return (struct.pack("<QB7x", userdata, kind) + content).ljust(56 if self.unstable else 48, b"\0")

    def poll(self, *subscriptions: bytes) -> tuple[int, list[tuple[int, int, int, int, int]]]:
        """poll_oneoff: (errno, events as (userdata, error, type, bytes, flags))."""
        self.put(BUFFER, b"".join(subscriptions))
        error = self.poll_oneoff(BUFFER, BUFFER + 0x4000, len(subscriptions), RESULT)
        count = self.u32() if not error else 0
        return error, [struct.unpack("<QHBxxxxxQH", self.memory.read(BUFFER + 0x4000 + 32 * i, 26)) for i in range(count)]
