"""WASI's paths once more, by class and over every function that takes one: NUL, double slashes, loops, a concurrent renamer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.wasi.conftest import guest, tree  # noqa: F401 - fixtures
from tests.wasi.guest import BOTH, INVAL, LOOP, NOTCAPABLE, PATH2, SUCCESS, Guest
from tests.wasi.test_paths import ALL, snapshot
from tests.wasi.test_programs import RENAMER, turned_over  # noqa: F401 - fixture


@pytest.mark.parametrize("name", ALL)
def test_nul_in_paths_cuts_nothing_off(guest: Guest, tree: Path, name: str) -> None:  # noqa: F811
    """What C would end at the NUL is refused, so that nobody is shown one name and given another."""
    directory = guest.grant(tree)
    before = (snapshot(tree), sorted(map(str, tree.rglob("*"))))
    for path in (b"\0", b"\0file", b"file\0", b"file\0.txt", b"sub\0/inner", b"sub/inner\0", b"sub/\0inner", b"..\0", b"new\0"):
        assert ALL[name](guest, directory, path) == INVAL, path
    assert (snapshot(tree), sorted(map(str, tree.rglob("*")))) == before


def test_nul_in_paths_of_the_second_argument(guest: Guest, tree: Path) -> None:  # noqa: F811
    directory = guest.grant(tree)
    assert guest.path_rename(directory, *guest.path("file"), directory, *guest.path(b"new\0", PATH2)) == INVAL
    assert guest.path_link(directory, 0, *guest.path("file"), directory, *guest.path(b"new\0x", PATH2)) == INVAL
    assert guest.path_symlink(*guest.path(b"file\0x", PATH2), directory, *guest.path("new")) == INVAL
    assert not os.path.lexists(tree / "new")


@pytest.mark.parametrize("name", ALL)
def test_double_slashes_are_single_ones(tmp_path: Path, name: str) -> None:
    """Inside and at the end; at the front the path is absolute however many there are."""
    answers = []
    for number, slash in enumerate(("/", "//", "///", "/.//")):
        granted = tmp_path / str(number)
        (granted / "sub" / "deep").mkdir(parents=True)
        (granted / "file").write_bytes(b"0123456789")
        (granted / "sub" / "inner").write_bytes(b"inner")
        (granted / "to_sub").symlink_to("sub")
        with Guest() as guest:  # noqa: F811
            directory = guest.grant(granted)
            for path in ("//etc/passwd", "//file", "///", "//"):
                assert ALL[name](guest, directory, path) == NOTCAPABLE, path
            paths = ("sub/inner", "sub/none", "none/inner", "sub/deep", "to_sub/inner", "sub/../file", "sub/../../x")
            mine = [ALL[name](guest, directory, path.replace("/", slash)) for path in paths]
            answers.append((mine, sorted(str(p.relative_to(granted)) for p in granted.rglob("*"))))
    assert answers[1:] == answers[:1] * 3


@pytest.mark.parametrize("name", ALL)
def test_loops_of_links_end(guest: Guest, tree: Path, name: str) -> None:  # noqa: F811
    """Links to themselves, to each other, and chains longer than the kernel follows."""
    for link, target in (("a", "b"), ("b", "a"), ("c", "./c"), ("d", "sub/../d"), ("e", "e/e"), ("chain0", "sub")):
        (tree / link).symlink_to(target)
    for n in range(1, 45):
        (tree / f"chain{n}").symlink_to(f"chain{n - 1}")
    directory = guest.grant(tree)
    for path in ("loop/x", "a/x", "b/x", "c/x", "d/x", "e/x", "chain44/x", "sub/../a/x"):
        assert ALL[name](guest, directory, path) == LOOP, path
    if name in ("open", "open_create", "open_truncate", "filestat_get", "filestat_set_times"):
        for path in ("loop", "a", "c", "d", "e", "chain44"):
            assert ALL[name](guest, directory, path) == LOOP, path
    assert guest.stat(directory, "chain30/inner", follow=True)[0] == SUCCESS, "what the kernel follows is followed"


@pytest.mark.parametrize("module", BOTH)
def test_concurrent_renamer_and_every_path_function(turned_over: Path, module: str) -> None:  # noqa: F811
    """Every function works on d/…, which is now a directory, now a link to what is outside: nothing outside is ever touched."""
    outside = turned_over / "outside"
    (outside / "file").write_text("outside")
    for place in (turned_over / "granted" / "d", turned_over / "granted"):
        (place / "file").write_text("inside")

    def untouched() -> list[tuple[bytes, int, int]]:
        return [(p.read_bytes(), p.stat().st_mtime_ns, p.stat().st_nlink) for p in (outside / "secret", outside / "file")]

    before = untouched()
    command = [sys.executable, "-c", RENAMER, str(turned_over)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as renamer, Guest(module) as guest:  # noqa: F811
        try:
            assert renamer.stdout is not None and renamer.stdout.readline() == b"ready\n"
            directory = guest.grant(turned_over / "granted")
            met: dict[str, set[int]] = {name: set() for name in ALL}
            for attempt in range(20_000):
                if attempt >= 60 and all(NOTCAPABLE in errors for errors in met.values()):
                    break
                for name, use in ALL.items():
                    for path in ("d/file", "d/made", "x/y/../../outside/file", "d/../outside/file"):
                        error = use(guest, directory, path)
                        met[name].add(error)
                        if name.startswith("open") and error == SUCCESS:
                            guest.fd_close(guest.u32())
            assert all(NOTCAPABLE in errors for errors in met.values()), met
        finally:
            renamer.kill()
    assert untouched() == before
    assert set(os.listdir(outside)) <= {"secret", "file", "y"}
    assert set(os.listdir(turned_over)) == {"secret", "outside", "granted"}
