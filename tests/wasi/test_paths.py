"""Paths stay below the directory that was granted, whatever they are made of; POSIX's rules hold at the edges."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .guest import (
    ALL_RIGHTS,
    BUFFER,
    BUSY,
    CREAT,
    DIRECTORY,
    EXCL,
    EXIST,
    FAULT,
    ILSEQ,
    INVAL,
    IS_DIRECTORY,
    IS_FILE,
    IS_LINK,
    ISDIR,
    LOOP,
    NAMETOOLONG,
    NOENT,
    NOTCAPABLE,
    NOTDIR,
    NOTEMPTY,
    PATH2,
    PERM,
    RESULT,
    SUCCESS,
    TRUNC,
    WRITE_RIGHTS,
    Guest,
)

# Ways out, all of them below a directory that has links to what is outside.
ESCAPES = [
    "..", "../", "../secret", "../granted/file", "sub/../../secret", "sub/../..", "./../secret", "/", "/etc/passwd",
    "//etc/passwd", "up", "up/secret", "up/granted/file", "out", "absolute", "out_dir", "out_dir/x", "sub/../up/secret",
    "to_sub/../../secret", "up/up/etc",
]  # fmt: skip

Use = Callable[[Guest, int, str | bytes], Any]


def the_link(guest: Guest, directory: int, path: str | bytes) -> Any:
    return guest.path_link(directory, 0, *guest.path("file", PATH2), directory, *guest.path(path))


def rename_to(guest: Guest, directory: int, path: str | bytes) -> Any:
    return guest.path_rename(directory, *guest.path("file", PATH2), directory, *guest.path(path))


def symlink_at(guest: Guest, directory: int, path: str | bytes) -> Any:
    return guest.path_symlink(*guest.path("x", PATH2), directory, *guest.path(path))


# Those that follow the last component …
FOLLOWING: dict[str, Use] = {
    "open": lambda g, d, p: g.open(d, p)[0],
    "open_create": lambda g, d, p: g.open(d, p, CREAT, WRITE_RIGHTS)[0],
    "open_truncate": lambda g, d, p: g.open(d, p, TRUNC, WRITE_RIGHTS)[0],
    "open_directory": lambda g, d, p: g.open(d, p, DIRECTORY)[0],
    "filestat_get": lambda g, d, p: g.stat(d, p, follow=True)[0],
    "filestat_set_times": lambda g, d, p: g.path_filestat_set_times(d, 1, *g.path(p), 0, 0, 5),
}
# … and those that act on its name.
NAMING: dict[str, Use] = {
    "create_directory": lambda g, d, p: g.path_create_directory(d, *g.path(p)),
    "remove_directory": lambda g, d, p: g.path_remove_directory(d, *g.path(p)),
    "unlink_file": lambda g, d, p: g.path_unlink_file(d, *g.path(p)),
    "link_from": lambda g, d, p: g.path_link(d, 0, *g.path(p), d, *g.path("new", PATH2)),
    "link_to": the_link,
    "rename_from": lambda g, d, p: g.path_rename(d, *g.path(p), d, *g.path("new", PATH2)),
    "rename_to": rename_to,
    "symlink": symlink_at,
    "readlink": lambda g, d, p: g.path_readlink(d, *g.path(p), BUFFER, 100, RESULT),
    "filestat_get_link": lambda g, d, p: g.stat(d, p)[0],
    "open_nofollow": lambda g, d, p: g.open(d, p, follow=False)[0],
}
ALL = FOLLOWING | NAMING


def snapshot(tree: Path) -> list[tuple[str, int, bytes]]:
    """Everything outside of the granted directory, with contents and times."""
    outside = sorted(p for p in tree.parent.rglob("*") if tree not in p.parents and p != tree)
    return [(str(p), p.stat().st_mtime_ns, p.read_bytes() if p.is_file() else b"") for p in outside]


@pytest.mark.parametrize("use", FOLLOWING.values(), ids=FOLLOWING)
def test_dotdot_and_symlinks_lead_nowhere_by_following(guest: Guest, tree: Path, use: Use) -> None:
    directory = guest.grant(tree)
    before = snapshot(tree)
    for path in ESCAPES:
        assert use(guest, directory, path) == NOTCAPABLE, path
    assert snapshot(tree) == before


@pytest.mark.parametrize("use", NAMING.values(), ids=NAMING)
def test_dotdot_and_symlinks_lead_nowhere_by_naming(guest: Guest, tree: Path, use: Use) -> None:
    directory = guest.grant(tree)
    before = snapshot(tree)
    for path in ESCAPES:
        if path.startswith("/") or ("/" in path.rstrip("/") and not path.rstrip("/").endswith("..")):
            assert use(guest, directory, path) == NOTCAPABLE, path
    for path in ("..", "../", "sub/../.."):
        assert use(guest, directory, path) != SUCCESS, path
    assert snapshot(tree) == before


@pytest.mark.parametrize("use", ALL.values(), ids=ALL)
@pytest.mark.parametrize(
    ("path", "error"),
    [
        (b"", NOENT),
        (b"a\0b", INVAL),
        (b"file\0", INVAL),
        (b"\xff", ILSEQ),
        (b"sub/\xc0\xae\xc0\xae/x", ILSEQ),
        (b"\xed\xa0\x80", ILSEQ),
        (b"x" * 256, NAMETOOLONG),
        (b"sub/" * 1100, NAMETOOLONG),
        (b"file/x", NOTDIR),
        (b"missing/x", NOENT),
        (b"loop/x", LOOP),
    ],
)
def test_bad_paths(guest: Guest, tree: Path, use: Use, path: bytes, error: int) -> None:
    assert use(guest, guest.grant(tree), path) == error


def test_paths_outside_of_memory_fault(guest: Guest, tree: Path) -> None:
    directory = guest.grant(tree)
    end = guest.memory.byte_size
    for address, length in ((end, 1), (end - 3, 4), (0xFFFFFFFF, 1), (0, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF)):
        assert guest.path_create_directory(directory, address, length) == FAULT
        assert guest.path_rename(directory, *guest.path("file"), directory, address, length) == FAULT
        assert guest.path_open(directory, 0, address, length, 0, 0, 0, 0, RESULT) == FAULT
    assert guest.path_open(directory, 0, *guest.path("new"), CREAT, ALL_RIGHTS, 0, 0, end - 3) == FAULT
    assert not (tree / "new").exists(), "a call that faults has done nothing"


def test_paths_inside_work(guest: Guest, tree: Path) -> None:
    directory = guest.grant(tree)
    for path in (
        "file",
        "./file",
        "sub/../file",
        "sub//..//file",
        "to_file",
        "to_sub/../file",
        "sub/../sub/../to_file",
        ".//file",
    ):
        error, fields = guest.stat(directory, path, follow=True)
        assert (error, fields.get("filetype"), fields.get("size")) == (SUCCESS, IS_FILE, 10), path
        assert guest.read(guest.opened(directory, path)) == (SUCCESS, b"0123456789")
    assert guest.read(guest.opened(directory, "to_sub/inner")) == (SUCCESS, b"inner")
    assert guest.stat(directory, "to_file")[1]["filetype"] == IS_LINK
    assert guest.stat(directory, ".")[1]["filetype"] == IS_DIRECTORY
    subdirectory = guest.opened(directory, "sub", DIRECTORY, ALL_RIGHTS)
    assert guest.read(guest.opened(subdirectory, "inner")) == (SUCCESS, b"inner")
    assert guest.open(subdirectory, "../file")[0] == NOTCAPABLE, "a descriptor reaches what is below it, no more"


def test_links_are_not_followed_unless_asked(guest: Guest, tree: Path) -> None:
    directory = guest.grant(tree)
    assert guest.open(directory, "to_file", follow=False)[0] == LOOP
    assert guest.open(directory, "loop")[0] == LOOP
    assert guest.open(directory, "dangling")[0] == NOENT
    assert guest.open(directory, "dangling", CREAT | EXCL, WRITE_RIGHTS)[0] == EXIST
    assert guest.open(directory, "dangling", CREAT, WRITE_RIGHTS)[0] == SUCCESS
    assert (tree / "nowhere").exists()


# Trailing slashes: on every path function, on what is a directory, a file, a link to either, and on nothing.
SLASHES = {
    "open": {"sub/": SUCCESS, "sub//": SUCCESS, "file/": NOTDIR, "to_sub/": SUCCESS, "to_file/": NOTDIR, "new/": NOENT},
    "open_create": {"file/": ISDIR, "new/": ISDIR, "to_file/": ISDIR},
    "open_nofollow": {"sub/": SUCCESS, "file/": NOTDIR, "to_file/": NOTDIR, "new/": NOENT, "out_dir/": NOTCAPABLE},
    "filestat_get": {"sub/": SUCCESS, "file/": NOTDIR, "to_sub/": SUCCESS, "new/": NOENT, "out_dir/": NOTCAPABLE},
    "filestat_get_link": {"sub/": SUCCESS, "file/": NOTDIR, "to_file/": NOTDIR, "out_dir/": NOTCAPABLE, "out/": NOTCAPABLE},
    "filestat_set_times": {"sub/": SUCCESS, "file/": NOTDIR, "out_dir/": NOTCAPABLE},
    "create_directory": {
        "new/": SUCCESS,
        "new2//": SUCCESS,
        "sub/": EXIST,
        "file/": EXIST,
        "out_dir/": EXIST,
        "dangling/": EXIST,
    },
    "remove_directory": {
        "empty/": SUCCESS,
        "sub//": NOTEMPTY,
        "file/": NOTDIR,
        "to_sub/": NOTDIR,
        "new/": NOENT,
        "out_dir/": NOTDIR,
    },
    "unlink_file": {"file/": NOTDIR, "sub/": ISDIR, "to_file/": NOTDIR, "new/": NOENT, "out_dir/": NOTDIR},
    "link_from": {"file/": NOTDIR, "sub/": PERM, "to_file/": NOTDIR, "missing/": NOENT, "out_dir/": NOTDIR},
    "link_to": {"new/": NOENT, "sub/": EXIST, "out_dir/": EXIST},
    "rename_from": {
        "file/": NOTDIR,
        "to_file/": NOTDIR,
        "to_sub/": NOTDIR,
        "missing/": NOENT,
        "out_dir/": NOTDIR,
        "sub/": SUCCESS,
    },
    "rename_to": {"new/": NOTDIR, "sub/": NOTDIR},
    "symlink": {"new/": NOENT, "sub/": EXIST},
    "readlink": {"to_sub/": INVAL, "file/": NOTDIR, "sub/": INVAL, "new/": NOENT, "out_dir/": NOTCAPABLE},
}


@pytest.mark.parametrize(("name", "cases"), SLASHES.items(), ids=SLASHES)
def test_trailing_slash_on_every_path_function(guest: Guest, tree: Path, name: str, cases: dict[str, int]) -> None:
    directory = guest.grant(tree)
    before = snapshot(tree)
    assert {path: ALL[name](guest, directory, path) for path in cases} == cases
    assert snapshot(tree) == before


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("create_directory", EXIST), ("remove_directory", INVAL), ("unlink_file", ISDIR), ("link_from", PERM), ("link_to", EXIST),
        ("rename_from", BUSY), ("rename_to", BUSY), ("symlink", EXIST),
    ],
)  # fmt: skip
def test_dots_as_the_last_component(guest: Guest, tree: Path, name: str, error: int) -> None:
    directory = guest.grant(tree)
    for path in (".", "./", "sub/.", "sub/..", "sub/../", "empty/."):
        assert ALL[name](guest, directory, path) == error, path
    assert (tree / "empty").is_dir()


def test_directories_files_and_links_come_and_go(guest: Guest, tree: Path) -> None:
    directory = guest.grant(tree)
    assert guest.path_create_directory(directory, *guest.path("d")) == SUCCESS
    assert guest.path_create_directory(directory, *guest.path("d")) == EXIST
    assert guest.write(guest.opened(directory, "d/f", CREAT | EXCL, WRITE_RIGHTS), b"text") == (SUCCESS, 4)
    assert guest.path_link(directory, 0, *guest.path("d/f"), directory, *guest.path("d/g", PATH2)) == SUCCESS
    assert guest.stat(directory, "d/g")[1]["nlink"] == 2
    assert guest.path_symlink(*guest.path("f", PATH2), directory, *guest.path("d/s")) == SUCCESS
    assert guest.path_readlink(directory, *guest.path("d/s"), BUFFER, 100, RESULT) == SUCCESS
    assert guest.memory.read(BUFFER, guest.u32()) == b"f"
    assert guest.path_rename(directory, *guest.path("d"), directory, *guest.path("e", PATH2)) == SUCCESS
    assert guest.path_remove_directory(directory, *guest.path("e")) == NOTEMPTY
    for name in ("e/f", "e/g", "e/s"):
        assert guest.path_remove_directory(directory, *guest.path(name)) == NOTDIR
        assert guest.path_unlink_file(directory, *guest.path(name)) == SUCCESS
    assert guest.path_unlink_file(directory, *guest.path("e")) == ISDIR
    assert guest.path_remove_directory(directory, *guest.path("e")) == SUCCESS
    assert not (tree / "e").exists()


def test_what_symbolic_links_may_say(guest: Guest, tree: Path) -> None:
    directory = guest.grant(tree)
    top, below = "l{}", "sub/l{}"
    allowed = [("file", top), ("sub/inner", top), ("../file", below), ("sub/../file", top)]
    refused = [("..", top), ("../x", top), ("../../x", below), ("sub/../../x", top), ("/", top), ("/etc/passwd", below)]
    refused += [("../x/../..", below), ("x", "../l{}")]
    expected = [(SUCCESS, case) for case in allowed] + [(NOTCAPABLE, case) for case in refused] + [(NOENT, ("", top))]
    for number, (error, (target, at)) in enumerate(expected):
        name = at.format(number)
        assert guest.path_symlink(*guest.path(target, PATH2), directory, *guest.path(name)) == error, target
        assert os.path.lexists(tree / name) == (error == SUCCESS)


def test_a_link_that_moves_up_still_leads_nowhere(guest: Guest, tree: Path) -> None:
    directory = guest.grant(tree)
    assert guest.path_symlink(*guest.path("../secret", PATH2), directory, *guest.path("sub/l")) == SUCCESS
    assert guest.path_rename(directory, *guest.path("sub/l"), directory, *guest.path("l", PATH2)) == SUCCESS
    assert guest.open(directory, "l")[0] == NOTCAPABLE
    assert guest.stat(directory, "l", follow=True)[0] == NOTCAPABLE


def test_readlink(guest: Guest, tree: Path) -> None:
    directory = guest.grant(tree)
    assert guest.path_readlink(directory, *guest.path("to_file"), BUFFER, 2, RESULT) == SUCCESS
    assert guest.memory.read(BUFFER, guest.u32()) == b"fi", "cut, as in POSIX"
    assert guest.path_readlink(directory, *guest.path("to_file"), BUFFER, 0, RESULT) == SUCCESS
    assert guest.u32() == 0
    assert guest.path_readlink(directory, *guest.path("file"), BUFFER, 100, RESULT) == INVAL
    assert guest.path_readlink(directory, *guest.path("absolute"), BUFFER, 100, RESULT) == NOTCAPABLE
    assert guest.path_readlink(directory, *guest.path("to_file"), 0xFFFFFFF0, 100, RESULT) == FAULT


def test_a_hard_link_to_what_a_link_points_at_is_refused(guest: Guest, tree: Path) -> None:
    directory = guest.grant(tree)
    assert guest.path_link(directory, 1, *guest.path("out"), directory, *guest.path("new", PATH2)) == INVAL
    assert guest.path_link(directory, 0, *guest.path("out"), directory, *guest.path("new", PATH2)) == SUCCESS
    assert os.readlink(tree / "new") == "../secret", "the link itself has a second name"


def test_path_functions_need_a_directory(guest: Guest, tree: Path) -> None:
    directory = guest.grant(tree)
    file = guest.opened(directory, "file")
    for name, use in ALL.items():
        assert use(guest, file, "x") == NOTDIR, name
        assert use(guest, 0, "x") == NOTDIR, name
        assert use(guest, 99, "x") == 8, name
        assert use(guest, 0xFFFFFFFF, "x") == 8, name


def test_times(guest: Guest, tree: Path) -> None:
    directory = guest.grant(tree)
    stamp = 1_234_567_890_000_000_000
    assert guest.path_filestat_set_times(directory, 1, *guest.path("to_file"), stamp, 2 * stamp // 3, 1 | 4) == SUCCESS
    assert (tree / "file").stat().st_atime_ns == stamp
    assert guest.stat(directory, "file")[1]["atim"] == stamp
    assert guest.path_filestat_set_times(directory, 0, *guest.path("to_file"), stamp, 0, 1) == SUCCESS
    assert (tree / "to_file").lstat().st_atime_ns == stamp
    for flags in (3, 12, 16, 0xFFFF):
        assert guest.path_filestat_set_times(directory, 0, *guest.path("file"), 0, 0, flags) == INVAL
    assert guest.path_filestat_get(directory, 2, *guest.path("file"), BUFFER) == INVAL
