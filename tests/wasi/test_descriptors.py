"""The table of descriptors: numbers, limits, renumbering, closing; files and directories through them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .guest import (
    ALL_RIGHTS,
    BADF,
    BUFFER,
    CREAT,
    DIRECTORY,
    FAULT,
    FBIG,
    FD_READDIR,
    INVAL,
    IOVECS,
    IS_DIRECTORY,
    IS_FILE,
    IS_LINK,
    ISDIR,
    MFILE,
    NAMETOOLONG,
    NOTDIR,
    RESULT,
    SPIPE,
    SUCCESS,
    UNSTABLE,
    Guest,
)


def test_preopened_directories_are_listed_from_3_on(guest: Guest, tree: Path) -> None:
    guest.grant(tree, "/data")
    guest.grant(tree / "sub", "/ünïcode")
    for fd, name in ((3, b"/data"), (4, "/ünïcode".encode())):
        assert guest.fd_prestat_get(fd, RESULT) == SUCCESS
        assert (guest.u32(), guest.u32(RESULT + 4)) == (0, len(name))
        assert guest.fd_prestat_dir_name(fd, BUFFER, len(name)) == SUCCESS
        assert guest.memory.read(BUFFER, len(name)) == name
        assert guest.fd_prestat_dir_name(fd, BUFFER, len(name) - 1) == NAMETOOLONG
        assert guest.fd_prestat_dir_name(fd, 0xFFFFFFFE, len(name)) == FAULT
    for fd in (0, 1, 2, 5, 0xFFFFFFFF):
        assert guest.fd_prestat_get(fd, RESULT) == BADF
        assert guest.fd_prestat_dir_name(fd, BUFFER, 100) == BADF


def test_nothing_is_granted_by_default(guest: Guest) -> None:
    assert guest.fd_prestat_get(3, RESULT) == BADF
    assert guest.args_sizes_get(RESULT, RESULT + 4) == SUCCESS
    assert (guest.u32(), guest.u32(RESULT + 4)) == (0, 0)
    assert guest.environ_sizes_get(RESULT, RESULT + 4) == SUCCESS
    assert (guest.u32(), guest.u32(RESULT + 4)) == (0, 0)
    assert guest.read(0) == (SUCCESS, b"")
    assert guest.write(1, b"swallowed") == (SUCCESS, 9)


def test_the_limit_of_open_descriptors(guest: Guest, tree: Path) -> None:
    guest.set("sbx_wasi_limit", 10, 0)
    directory = guest.grant(tree)
    opened = [guest.opened(directory, "file") for _ in range(6)]
    assert opened == [4, 5, 6, 7, 8, 9]
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(1000):
        assert guest.open(directory, "made", CREAT, ALL_RIGHTS)[0] == MFILE
    assert not (tree / "made").exists(), "a full table leaves no file behind"
    assert set(os.listdir("/proc/self/fd")) == before
    assert guest.fd_close(6) == SUCCESS
    assert guest.opened(directory, "file") == 6, "the lowest that is free"


def test_numbers_0_to_2_are_not_used_again(guest: Guest, tree: Path) -> None:
    directory = guest.grant(tree)
    for fd in (0, 1, 2):
        assert guest.fd_close(fd) == SUCCESS
        assert guest.fd_close(fd) == BADF
    assert guest.opened(directory, "file") == 4
    assert guest.write(1, b"lost")[0] == BADF


def test_descriptors_are_closed_with_the_store(tree: Path) -> None:
    before = os.listdir("/proc/self/fd")
    with Guest() as guest:
        directory = guest.grant(tree)
        for _ in range(50):
            guest.opened(directory, "file")
    del guest.wasi
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_fd_renumber(guest: Guest, tree: Path) -> None:
    directory = guest.grant(tree)
    first, second = guest.opened(directory, "file"), guest.opened(directory, "sub/inner")
    assert guest.fd_renumber(second, first) == SUCCESS
    assert guest.read(first) == (SUCCESS, b"inner")
    assert guest.read(second)[0] == BADF
    assert guest.fd_renumber(first, first) == SUCCESS
    assert guest.read(first) == (SUCCESS, b"")
    for source, target in (
        (99, first),
        (first, 99),
        (99, 99),
        (first, 0xFFFFFFFF),
        (0xFFFFFFFF, first),
        (first, 1 << 31),
        (second, first),
    ):
        assert guest.fd_renumber(source, target) == BADF, (source, target)
    assert guest.fd_renumber(first, directory) == SUCCESS, "over a preopened directory"
    assert guest.fd_prestat_get(directory, RESULT) == BADF
    assert guest.fd_renumber(directory, 0) == SUCCESS
    assert guest.fd_seek(0, 0, 2 if guest.unstable else 0, RESULT) == SUCCESS
    assert guest.read(0) == (SUCCESS, b"inner")
    assert guest.fd_renumber(1, 0) == SUCCESS
    assert guest.write(0, b"x") == (SUCCESS, 1)


def test_renumbering_a_preopened_directory_keeps_what_it_is(guest: Guest, tree: Path) -> None:
    directory = guest.grant(tree, "/data")
    file = guest.opened(directory, "file")
    assert guest.fd_renumber(directory, file) == SUCCESS
    assert guest.fd_prestat_get(file, RESULT) == SUCCESS
    assert guest.opened(file, "sub/inner") == directory


def test_a_preopened_directory_can_be_closed(guest: Guest, tree: Path) -> None:
    directory = guest.grant(tree)
    assert guest.fd_close(directory) == SUCCESS
    assert guest.fd_prestat_get(directory, RESULT) == BADF
    assert guest.open(directory, "file")[0] == BADF


def test_seek_and_tell(guest: Guest, tree: Path) -> None:
    start, current, end = (2, 0, 1) if guest.module == UNSTABLE else (0, 1, 2)
    directory = guest.grant(tree)
    file = guest.opened(directory, "file", 0, ALL_RIGHTS)
    for offset, whence, position in (
        (4, start, 4),
        (2, current, 6),
        (-1, current, 5),
        (-3, end, 7),
        (100, end, 110),
        (0, start, 0),
    ):
        assert guest.fd_seek(file, offset, whence, RESULT) == SUCCESS
        assert guest.u64() == position
        assert guest.fd_tell(file, RESULT) == SUCCESS
        assert guest.u64() == position
    assert guest.fd_seek(file, -1, start, RESULT) == INVAL
    for whence in (3, 255, 0xFFFFFFFF):
        assert guest.fd_seek(file, 0, whence, RESULT) == INVAL
    assert guest.fd_seek(file, 0, start, 0xFFFFFFFC) == FAULT
    assert guest.fd_seek(directory, 0, start, RESULT) == BADF
    guest.wasi.input(b"x")
    assert guest.fd_seek(0, 0, current, RESULT) == SPIPE
    assert guest.fd_tell(0, RESULT) == SPIPE


def test_sizes_and_allocation(guest: Guest, tree: Path) -> None:
    directory = guest.grant(tree)
    file = guest.opened(directory, "file", 0, ALL_RIGHTS)
    assert guest.fd_filestat_set_size(file, 4) == SUCCESS
    assert guest.fd_filestat_get(file, BUFFER) == SUCCESS
    assert guest.filestat()["size"] == 4
    assert guest.fd_filestat_set_size(file, 1 << 63) == FBIG
    assert guest.fd_allocate(file, 0, 100) == SUCCESS
    assert (tree / "file").stat().st_size == 100
    assert guest.fd_allocate(file, 0, 0) == INVAL
    assert guest.fd_allocate(file, 1 << 63, 1) == INVAL
    assert guest.fd_allocate(file, (1 << 63) - 1, (1 << 63) - 1) == FBIG
    for advice in range(6):
        assert guest.fd_advise(file, 0, 0, advice) == SUCCESS
    assert guest.fd_advise(file, 0, 0, 6) == INVAL
    assert guest.fd_advise(file, 1 << 63, 0, 0) == INVAL
    assert guest.fd_advise(file, 1, (1 << 63) - 1, 0) == INVAL
    assert guest.fd_sync(file) == guest.fd_datasync(file) == guest.fd_sync(directory) == SUCCESS
    assert guest.fd_sync(1) == guest.fd_datasync(1) == INVAL
    stamp = 1_000_000_000_000_000_000
    assert guest.fd_filestat_set_times(file, stamp, stamp, 5) == SUCCESS
    assert (tree / "file").stat().st_mtime_ns == stamp
    assert guest.fd_filestat_set_times(file, stamp, stamp, 3) == INVAL


def test_reading_and_writing_at_an_offset(guest: Guest, tree: Path) -> None:
    directory = guest.grant(tree)
    file = guest.opened(directory, "file", 0, ALL_RIGHTS)
    assert guest.fd_pread(file, *guest.iovecs((BUFFER, 3), (BUFFER + 16, 0), (BUFFER + 3, 2)), 4, RESULT) == SUCCESS
    assert guest.memory.read(BUFFER, guest.u32()) == b"45678"
    assert guest.fd_pread(file, *guest.iovecs((BUFFER, 3)), 100, RESULT) == SUCCESS
    assert guest.u32() == 0
    assert guest.fd_pwrite(file, *guest.iovecs(guest.put(BUFFER, b"ab")), 8, RESULT) == SUCCESS
    assert guest.fd_pwrite(file, *guest.iovecs(guest.put(BUFFER, b"z")), 12, RESULT) == SUCCESS
    assert (tree / "file").read_bytes() == b"01234567ab\0\0z"
    assert guest.fd_tell(file, RESULT) == SUCCESS
    assert guest.u64() == 0
    assert guest.fd_pread(file, *guest.iovecs((BUFFER, 3)), 1 << 63, RESULT) == INVAL
    assert guest.fd_pread(0, *guest.iovecs((BUFFER, 3)), 0, RESULT) == SPIPE
    assert guest.fd_pwrite(1, *guest.iovecs((BUFFER, 3)), 0, RESULT) == SPIPE


def test_iovecs_are_checked_before_anything_moves(guest: Guest, tree: Path) -> None:
    directory = guest.grant(tree)
    file = guest.opened(directory, "file", 0, ALL_RIGHTS)
    end = guest.memory.byte_size
    assert guest.fd_write(file, *guest.iovecs((BUFFER, 2), (end - 1, 2)), RESULT) == FAULT
    assert guest.fd_write(file, *guest.iovecs((BUFFER, 2), (0xFFFFFFFF, 0xFFFFFFFF)), RESULT) == FAULT
    assert guest.fd_write(file, *guest.iovecs((BUFFER, 2)), end - 3) == FAULT
    assert guest.fd_read(file, *guest.iovecs((end, 1)), RESULT) == FAULT
    for address, count in ((end - 4, 1), (0xFFFFFFF8, 1), (0, end // 8 + 1)):
        assert guest.fd_write(file, address, count, RESULT) in (FAULT, INVAL)
    assert guest.fd_write(file, IOVECS, 1025, RESULT) == INVAL
    assert guest.fd_write(file, IOVECS, 0xFFFFFFFF, RESULT) == INVAL
    assert guest.fd_write(file, *guest.iovecs((0xFFFFFFFF, 0), (0, 0)), RESULT) == SUCCESS, "empty slices may dangle"
    assert guest.fd_write(file, 0, 0, RESULT) == SUCCESS
    assert (tree / "file").read_bytes() == b"0123456789"
    guest.put(IOVECS, (BUFFER.to_bytes(4, "little") + (1).to_bytes(4, "little")) * 1024)
    guest.put(BUFFER, b"y")
    assert guest.fd_write(file, IOVECS, 1024, RESULT) == SUCCESS
    assert (tree / "file").read_bytes() == b"y" * 1024


def test_a_sum_of_lengths_beyond_32_bits_is_invalid(tree: Path) -> None:
    with Guest(pages=1024) as guest:
        file = guest.opened(guest.grant(tree), "file", 0, ALL_RIGHTS)
        guest.put(IOVECS, (b"\0\0\0\0" + (1024 << 16).to_bytes(4, "little")) * 64)
        assert guest.fd_read(file, IOVECS, 64, RESULT) == INVAL
        assert guest.fd_read(file, IOVECS, 63, RESULT) == SUCCESS
        assert guest.u32() == 10


def test_directories_are_no_files(guest: Guest, tree: Path) -> None:
    directory = guest.grant(tree)
    assert guest.read(directory)[0] == ISDIR
    assert guest.fd_pread(directory, *guest.iovecs((BUFFER, 3)), 0, RESULT) == ISDIR
    assert guest.write(directory, b"x")[0] == BADF
    assert guest.fd_filestat_set_size(directory, 0) == BADF
    assert guest.fd_advise(directory, 0, 0, 0) == BADF
    assert guest.fd_allocate(directory, 0, 1) == BADF
    assert guest.fd_readdir(guest.opened(directory, "file"), BUFFER, 100, 0, RESULT) == NOTDIR
    assert guest.fd_readdir(0, BUFFER, 100, 0, RESULT) == NOTDIR


def test_readdir_lists_everything_once(guest: Guest, tree: Path) -> None:
    directory = guest.grant(tree)
    for size in (64, 200, 4096):
        found = list(guest.entries(directory, size))
        assert sorted(entry[0] for entry in found) == sorted([".", "..", *os.listdir(tree)])
    kinds = {name: kind for name, kind, _, _ in found}
    assert (kinds["file"], kinds["sub"], kinds["to_file"], kinds["up"]) == (IS_FILE, IS_DIRECTORY, IS_LINK, IS_LINK)
    inodes = {name: inode for name, _, inode, _ in found}
    assert inodes["file"] == (tree / "file").stat().st_ino
    assert inodes[".."] == tree.stat().st_ino, "what lies above is not told"


def test_readdir_cookies_hold_while_entries_come_and_go(guest: Guest, tree: Path) -> None:
    many = tree / "many"
    many.mkdir()
    names = {f"entry{i:04}" for i in range(500)}
    for name in names:
        (many / name).touch()
    directory = guest.opened(guest.grant(tree), "many", DIRECTORY, ALL_RIGHTS)
    seen = []
    for name, _, _, _ in guest.entries(directory, 300):
        seen.append(name)
        if name in names:
            (many / name).unlink()
    assert sorted(name for name in seen if name in names) == sorted(names)
    assert os.listdir(many) == []


def test_readdir_restarts_at_any_cookie(guest: Guest, tree: Path) -> None:
    directory = guest.grant(tree)
    found = list(guest.entries(directory))
    for index, (_, _, _, cookie) in enumerate(found[:-1]):
        assert guest.fd_readdir(directory, BUFFER, 4096, cookie, RESULT) == SUCCESS
        length = int.from_bytes(guest.memory.read(BUFFER + 16, 4), "little")
        assert guest.memory.read(BUFFER + 24, length).decode() == found[index + 1][0]


def test_readdir_at_the_edges(guest: Guest, tree: Path) -> None:
    directory = guest.grant(tree)
    assert guest.fd_readdir(directory, BUFFER, 0, 0, RESULT) == SUCCESS
    assert guest.u32() == 0
    assert guest.fd_readdir(directory, BUFFER, 10, 0, RESULT) == SUCCESS
    assert guest.u32() == 10, "a full buffer: the entry is cut"
    assert guest.fd_readdir(directory, BUFFER, 0xFFFFFFFF, 0, RESULT) == FAULT
    assert guest.fd_readdir(directory, BUFFER, 10, 0, 0xFFFFFFFD) == FAULT
    assert guest.fd_readdir(directory, BUFFER, 100, 0xFFFFFFFFFFFFFFFF, RESULT) == INVAL
    nothing = guest.opened(directory, "sub", DIRECTORY, FD_READDIR)
    assert {name for name, _, _, _ in guest.entries(nothing)} == {".", "..", "inner"}


def test_names_that_are_not_utf8_are_left_out(guest: Guest, tree: Path) -> None:
    Path(os.fsdecode(os.fsencode(tree) + b"/bad\xff")).touch()
    names = [name for name, _, _, _ in guest.entries(guest.grant(tree))]
    assert "file" in names
    assert all("\ufffd" not in name and not name.startswith("bad") for name in names)


def test_reading_a_directory_does_not_move_the_application_s_position(guest: Guest, tree: Path) -> None:
    fd = os.open(tree, os.O_RDONLY)
    try:
        guest.wasi.directory(fd, "/", False)
        assert len(list(guest.entries(3))) > 3
        assert sorted(os.listdir(fd)) == sorted(os.listdir(tree))
    finally:
        os.close(fd)


@pytest.mark.parametrize("path", ["", "a\0b"])
def test_a_guest_path_must_be_a_path(guest: Guest, tree: Path, path: str) -> None:
    fd = os.open(tree, os.O_RDONLY)
    try:
        with pytest.raises(RuntimeError, match="guest's path"):
            guest.wasi.directory(fd, path, False)
    finally:
        os.close(fd)


def test_only_a_directory_can_be_granted(guest: Guest, tree: Path) -> None:
    fd = os.open(tree / "file", os.O_RDONLY)
    try:
        with pytest.raises(RuntimeError, match="not a directory"):
            guest.wasi.directory(fd, "/", False)
    finally:
        os.close(fd)
    with pytest.raises(RuntimeError, match="cannot be opened"):
        guest.wasi.directory(fd, "/", False)
