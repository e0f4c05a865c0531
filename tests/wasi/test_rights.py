"""Rights: what a read-only directory refuses, what descriptors pass on, what they can give up."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from .guest import (
    ALL_RIGHTS,
    APPEND,
    BADF,
    BUFFER,
    CREAT,
    DIRECTORY,
    FD_READ,
    FD_READDIR,
    FD_SEEK,
    FD_WRITE,
    INVAL,
    IS_DIRECTORY,
    IS_FILE,
    ISDIR,
    NOTCAPABLE,
    PATH2,
    PATH_OPEN,
    READ_RIGHTS,
    RESULT,
    SUCCESS,
    TRUNC,
    WRITE_RIGHTS,
    Guest,
)


def fdstat(guest: Guest, fd: int) -> tuple[int, int, int, int]:
    """(filetype, flags, rights, inheriting)."""
    assert guest.fd_fdstat_get(fd, BUFFER) == SUCCESS
    filetype, flags, rights, inheriting = struct.unpack("<BxHxxxxQQ", guest.memory.read(BUFFER, 24))
    return filetype, flags, rights, inheriting


def contents(tree: Path) -> list[tuple[str, bytes, int]]:
    """Names, bytes and times of all that is in the directory."""
    return [
        (str(p), p.read_bytes() if p.is_file() else b"", p.lstat().st_mtime_ns)
        for p in sorted(tree.rglob("*"))
        if p.name not in ("up", "out_dir")
    ]


def test_a_read_only_directory_is_read(guest: Guest, tree: Path) -> None:
    directory = guest.grant(tree, writable=False)
    assert guest.read(guest.opened(directory, "file")) == (SUCCESS, b"0123456789")
    assert guest.stat(directory, "file")[0] == SUCCESS
    assert "inner" in [entry[0] for entry in guest.entries(guest.opened(directory, "sub", DIRECTORY, ALL_RIGHTS))]
    assert guest.path_readlink(directory, *guest.path("to_file"), BUFFER, 10, RESULT) == SUCCESS


@pytest.mark.parametrize("through", [".", "sub"])
def test_rights_on_a_read_only_directory_refuse_every_change(guest: Guest, tree: Path, through: str) -> None:
    readable = guest.grant(tree, "/ro", writable=False)
    writable = guest.grant(tree.parent / "outside", "/rw")
    before = contents(tree)
    name = "file" if through == "." else "inner"
    directory = guest.opened(readable, through, DIRECTORY, ALL_RIGHTS)
    path, new = guest.path(name), guest.path("new", PATH2)
    assert guest.path_create_directory(directory, *new) == NOTCAPABLE
    assert guest.path_remove_directory(directory, *guest.path("empty")) == NOTCAPABLE
    assert guest.path_unlink_file(directory, *guest.path(name)) == NOTCAPABLE
    assert guest.path_rename(directory, *path, directory, *new) == NOTCAPABLE
    assert guest.path_rename(directory, *path, writable, *new) == NOTCAPABLE
    assert guest.path_link(directory, 0, *path, directory, *new) == NOTCAPABLE
    assert guest.path_link(directory, 0, *path, writable, *new) == NOTCAPABLE, "a second name would be writable"
    assert guest.path_symlink(*guest.path("x"), directory, *new) == NOTCAPABLE
    assert guest.path_filestat_set_times(directory, 1, *guest.path(name), 0, 0, 5) == NOTCAPABLE
    assert guest.fd_filestat_set_times(directory, 0, 0, 5) == NOTCAPABLE
    assert guest.open(directory, name, TRUNC)[0] == NOTCAPABLE
    assert guest.open(directory, "new", CREAT)[0] == NOTCAPABLE
    assert guest.open(directory, name, 0, FD_WRITE)[0] == NOTCAPABLE
    assert guest.open(directory, name, 0, ALL_RIGHTS)[0] == NOTCAPABLE
    assert guest.opened(writable, "made", CREAT, WRITE_RIGHTS) > 0
    assert guest.path_rename(writable, *guest.path("made"), directory, *new) == NOTCAPABLE
    assert guest.path_link(writable, 0, *guest.path("made"), directory, *new) == NOTCAPABLE
    file = guest.opened(directory, name, 0, ALL_RIGHTS & ~FD_WRITE)
    assert guest.write(file, b"x")[0] == NOTCAPABLE
    assert guest.fd_pwrite(file, *guest.iovecs((BUFFER, 1)), 0, RESULT) == NOTCAPABLE
    assert guest.fd_filestat_set_size(file, 0) == NOTCAPABLE
    assert guest.fd_allocate(file, 0, 100) == NOTCAPABLE
    assert guest.fd_filestat_set_times(file, 0, 0, 5) == NOTCAPABLE
    assert contents(tree) == before


def test_rights_of_what_is_opened(guest: Guest, tree: Path) -> None:
    directory = guest.grant(tree)
    filetype, flags, rights, inheriting = fdstat(guest, guest.opened(directory, "file", 0, ALL_RIGHTS, APPEND))
    assert (filetype, flags, inheriting) == (IS_FILE, APPEND, 0)
    assert rights & (FD_READ | FD_WRITE | FD_SEEK) == FD_READ | FD_WRITE | FD_SEEK
    assert not rights & (PATH_OPEN | FD_READDIR)
    filetype, _, rights, inheriting = fdstat(guest, guest.opened(directory, "sub", DIRECTORY, ALL_RIGHTS))
    assert filetype == IS_DIRECTORY
    assert rights & PATH_OPEN and rights & FD_READDIR and not rights & (FD_READ | FD_WRITE)
    assert inheriting & FD_WRITE
    assert guest.write(guest.opened(directory, "file", 0, READ_RIGHTS), b"x")[0] == NOTCAPABLE
    assert guest.read(guest.opened(directory, "file", 0, WRITE_RIGHTS))[0] == NOTCAPABLE
    assert guest.open(directory, "sub", 0, ALL_RIGHTS)[0] == ISDIR


def test_what_a_directory_does_not_pass_on_cannot_be_had_below(guest: Guest, tree: Path) -> None:
    directory = guest.grant(tree)
    below = guest.opened(directory, "sub", DIRECTORY, ALL_RIGHTS, inheriting=ALL_RIGHTS & ~FD_WRITE)
    assert guest.open(below, "inner", 0, FD_WRITE)[0] == NOTCAPABLE
    assert guest.read(guest.opened(below, "inner")) == (SUCCESS, b"inner")
    nothing = guest.opened(directory, "sub", DIRECTORY, 0, inheriting=0)
    assert guest.open(nothing, "inner")[0] == NOTCAPABLE
    assert guest.fd_readdir(nothing, BUFFER, 100, 0, RESULT) == NOTCAPABLE


def test_rights_can_only_be_given_up(guest: Guest, tree: Path) -> None:
    directory = guest.grant(tree)
    file = guest.opened(directory, "file", 0, ALL_RIGHTS)
    _, _, rights, _ = fdstat(guest, file)
    assert guest.fd_fdstat_set_rights(file, rights | PATH_OPEN, 0) == NOTCAPABLE
    assert guest.fd_fdstat_set_rights(file, rights, 1) == NOTCAPABLE
    assert guest.fd_fdstat_set_rights(file, rights & ~FD_WRITE, 0) == SUCCESS
    assert guest.write(file, b"x")[0] == NOTCAPABLE
    assert guest.fd_fdstat_set_rights(file, rights, 0) == NOTCAPABLE
    assert guest.fd_fdstat_set_rights(directory, 0, 0) == SUCCESS
    assert guest.open(directory, "file")[0] == NOTCAPABLE
    assert guest.fd_fdstat_set_rights(99, 0, 0) == BADF


def test_flags(guest: Guest, tree: Path) -> None:
    directory = guest.grant(tree)
    file = guest.opened(directory, "file", 0, ALL_RIGHTS)
    for flags in (0, 1, 2, 4, 8, 16, 31):
        assert guest.fd_fdstat_set_flags(file, flags) == SUCCESS
        assert fdstat(guest, file)[1] == flags
        assert guest.write(file, b"x") == (SUCCESS, 1)
    for flags in (32, 0xFFFF, 0xFFFFFFFF):
        assert guest.fd_fdstat_set_flags(file, flags) == INVAL


def test_append_writes_at_the_end_and_pwrite_does_not(guest: Guest, tree: Path) -> None:
    directory = guest.grant(tree)
    file = guest.opened(directory, "file", 0, ALL_RIGHTS, APPEND)
    assert guest.fd_seek(file, 0, 0 if not guest.unstable else 2, RESULT) == SUCCESS
    assert guest.write(file, b"end") == (SUCCESS, 3)
    assert guest.fd_pwrite(file, *guest.iovecs(guest.put(BUFFER, b"X")), 1, RESULT) == SUCCESS
    assert (tree / "file").read_bytes() == b"0X23456789end"


@pytest.mark.parametrize(
    ("oflags", "fdflags", "lookup"),
    [(16, 0, 0), (0xFFFF, 0, 0), (CREAT | DIRECTORY, 0, 0), (TRUNC | DIRECTORY, 0, 0), (0, 32, 0), (0, 0, 2)],
)
def test_unknown_flags_are_invalid(guest: Guest, tree: Path, oflags: int, fdflags: int, lookup: int) -> None:
    directory = guest.grant(tree)
    assert guest.path_open(directory, lookup, *guest.path("file"), oflags, FD_READ, 0, fdflags, RESULT) == INVAL
