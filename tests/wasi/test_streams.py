"""Standard streams: buffers with a cap, pipes and files of the host, arguments and variables."""

from __future__ import annotations

import os
import pty
import struct
import threading
import time
from pathlib import Path

import pytest

from sandboxhost.errors import DeadlineExceeded
from sandboxworker.context import CallContext

from .guest import (
    AGAIN,
    BADF,
    BUFFER,
    CHARACTER_DEVICE,
    FAULT,
    FD_SEEK,
    FD_TELL,
    IS_FILE,
    NONBLOCK,
    NOSPC,
    NOTCAPABLE,
    RESULT,
    SPIPE,
    SUCCESS,
    Guest,
)


def filetype_and_rights(guest: Guest, fd: int) -> tuple[int, int]:
    assert guest.fd_fdstat_get(fd, BUFFER) == SUCCESS
    filetype, rights = struct.unpack("<B7xQ", guest.memory.read(BUFFER, 16))
    return filetype, rights


def looks_like_a_terminal(guest: Guest, fd: int) -> bool:
    """As C libraries decide it."""
    filetype, rights = filetype_and_rights(guest, fd)
    return filetype == CHARACTER_DEVICE and not rights & (FD_SEEK | FD_TELL)


def test_input_is_read_to_its_end(guest: Guest) -> None:
    guest.wasi.input(b"hello, world")
    assert guest.read(0, 5) == (SUCCESS, b"hello")
    assert guest.fd_read(0, *guest.iovecs((BUFFER, 2), (BUFFER + 10, 1), (BUFFER + 20, 100)), RESULT) == SUCCESS
    assert guest.u32() == 7
    assert guest.memory.read(BUFFER, 2) + guest.memory.read(BUFFER + 10, 1) + guest.memory.read(BUFFER + 20, 4) == b", world"
    assert guest.read(0) == (SUCCESS, b"")
    assert guest.write(0, b"x")[0] == NOTCAPABLE
    assert guest.read(1)[0] == NOTCAPABLE
    assert not looks_like_a_terminal(guest, 0)


def test_output_is_kept_up_to_its_cap(guest: Guest) -> None:
    guest.wasi.capture(1, 10)
    guest.wasi.capture(2, 0)
    assert guest.write(1, b"12345678") == (SUCCESS, 8)
    assert guest.write(1, b"") == (SUCCESS, 0)
    assert guest.write(1, b"9abc") == (SUCCESS, 2)
    assert guest.write(1, b"d") == (NOSPC, 0)
    assert guest.write(2, b"x") == (NOSPC, 0)
    assert guest.wasi.take_output(1) == (b"123456789a", True)
    assert guest.wasi.take_output(2) == (b"", True)
    assert guest.write(1, b"again") == (SUCCESS, 5)
    assert guest.fd_renumber(1, 2) == SUCCESS
    assert guest.write(2, b"!") == (SUCCESS, 1)
    assert guest.fd_close(2) == SUCCESS
    assert guest.wasi.take_output(1) == (b"again!", False), "also after it was renumbered and closed"


def test_much_output_in_small_pieces(guest: Guest) -> None:
    guest.wasi.capture(1, 1 << 20)
    piece = bytes(range(256)) * 16
    for _ in range(256):
        assert guest.write(1, piece) == (SUCCESS, 4096)
    assert guest.write(1, b"x")[0] == NOSPC
    assert guest.wasi.take_output(1) == (piece * 256, True)


def test_null_devices_are_no_terminals(guest: Guest) -> None:
    for fd in (0, 1, 2):
        assert filetype_and_rights(guest, fd)[0] == CHARACTER_DEVICE
        assert not looks_like_a_terminal(guest, fd)


def test_terminals_of_the_host(guest: Guest) -> None:
    master, slave = pty.openpty()
    null = os.open("/dev/null", os.O_RDWR)
    try:
        guest.wasi.descriptor(1, slave)
        guest.wasi.descriptor(2, null)
        assert looks_like_a_terminal(guest, 1)
        assert not looks_like_a_terminal(guest, 2)
        assert guest.fd_seek(1, 0, 1, RESULT) == SPIPE
        assert guest.write(1, b"hi") == (SUCCESS, 2)
        assert os.read(master, 10) == b"hi"
    finally:
        for fd in (master, slave, null):
            os.close(fd)


def test_files_of_the_host(guest: Guest, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"input")
    read, write = os.open(tmp_path / "in", os.O_RDONLY), os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    guest.wasi.descriptor(0, read)
    guest.wasi.descriptor(1, write)
    os.close(read)
    os.close(write)
    assert guest.read(0) == (SUCCESS, b"input")
    assert guest.write(1, b"output") == (SUCCESS, 6)
    assert filetype_and_rights(guest, 0)[0] == filetype_and_rights(guest, 1)[0] == IS_FILE
    assert (tmp_path / "out").read_bytes() == b"output"
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(RuntimeError, match="standard stream 1"):
            guest.wasi.descriptor(1, directory)
    finally:
        os.close(directory)
    with pytest.raises(RuntimeError, match="standard stream 1"):
        guest.wasi.descriptor(1, directory)
    with pytest.raises(RuntimeError, match="not 3"):
        guest.wasi.capture(3, 1)
    assert guest.write(1, b"!") == (SUCCESS, 1), "a refused stream leaves the old one"


def test_pipes_of_the_host(guest: Guest) -> None:
    from_guest, guest_out = os.pipe()
    guest_in, to_guest = os.pipe()
    guest.wasi.descriptor(0, guest_in)
    guest.wasi.descriptor(1, guest_out)
    os.close(guest_in)
    os.close(guest_out)
    try:
        os.write(to_guest, b"ping")
        assert guest.read(0) == (SUCCESS, b"ping")
        assert guest.fd_fdstat_set_flags(0, NONBLOCK) == SUCCESS
        assert guest.read(0)[0] == AGAIN
        assert os.get_blocking(from_guest), "what the guest sets is its own affair"
        assert guest.fd_seek(0, 0, 1, RESULT) == SPIPE
        assert not looks_like_a_terminal(guest, 0)
        late = threading.Timer(0.03, os.write, (to_guest, b"late"))
        late.start()
        assert guest.fd_fdstat_set_flags(0, 0) == SUCCESS
        assert guest.read(0) == (SUCCESS, b"late")
        late.join()
        os.close(to_guest)
        assert guest.read(0) == (SUCCESS, b"")
        assert guest.write(1, b"pong") == (SUCCESS, 4)
        assert os.read(from_guest, 10) == b"pong"
    finally:
        os.close(from_guest)


def test_a_write_to_a_pipe_goes_on_to_its_end() -> None:
    with Guest(pages=8) as guest:
        from_guest, guest_out = os.pipe()
        guest.wasi.descriptor(1, guest_out)
        os.close(guest_out)
        data = os.urandom(300_000)
        received = bytearray()

        def drain() -> None:
            while len(received) < len(data):
                received.extend(os.read(from_guest, 65536))

        reader = threading.Thread(target=drain)
        reader.start()
        assert guest.write(1, data) == (SUCCESS, len(data))
        reader.join()
        os.close(from_guest)
        assert received == data


def test_a_deadline_ends_a_blocked_read_and_a_blocked_write(guest: Guest) -> None:
    never, guest_in = os.pipe()
    full, guest_out = os.pipe()
    guest.wasi.descriptor(0, never)
    guest.wasi.descriptor(1, guest_out)
    os.set_blocking(guest_out, False)
    try:
        while True:
            os.write(guest_out, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(guest_out, True)
    for use in (lambda: guest.read(0), lambda: guest.write(1, b"x")):
        guest.context = CallContext.within(0.05)
        start = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            use()
        assert time.monotonic() - start < 30
    for fd in (never, guest_in, full, guest_out):
        os.close(fd)


def test_arguments_and_variables(guest: Guest) -> None:
    guest.wasi.arguments(["program", "", "ünï", "a b"])
    guest.wasi.environment(["A=1", "EMPTY=", "EQ=a=b"])
    for name, expected in (("args", [b"program", b"", "ünï".encode(), b"a b"]), ("environ", [b"A=1", b"EMPTY=", b"EQ=a=b"])):
        sizes, get = getattr(guest, name + "_sizes_get"), getattr(guest, name + "_get")
        assert sizes(RESULT, RESULT + 4) == SUCCESS
        count, size = guest.u32(), guest.u32(RESULT + 4)
        assert (count, size) == (len(expected), sum(len(e) + 1 for e in expected))
        assert get(BUFFER, BUFFER + 100) == SUCCESS
        pointers = struct.unpack(f"<{count}I", guest.memory.read(BUFFER, 4 * count))
        assert [guest.memory.read(p, 32).split(b"\0")[0] for p in pointers] == expected
        end = guest.memory.byte_size
        assert sizes(end - 3, RESULT) == sizes(RESULT, end - 3) == FAULT
        assert get(end - 4 * count + 1, BUFFER) == get(BUFFER, end - size + 1) == FAULT
        assert get(end - 4 * count, BUFFER) == get(BUFFER, end - size) == SUCCESS


@pytest.mark.parametrize("variable", ["", "NAME", "=value", "A=\0"])
def test_a_variable_must_be_one(guest: Guest, variable: str) -> None:
    with pytest.raises(RuntimeError, match="environment"):
        guest.wasi.environment([variable])


def test_closed_streams(guest: Guest) -> None:
    for fd in (0, 1, 2):
        guest.set("sbx_wasi_stdio_closed", fd)
        assert guest.fd_fdstat_get(fd, BUFFER) == BADF
        assert guest.read(fd)[0] == guest.write(fd, b"x")[0] == BADF
