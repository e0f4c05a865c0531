"""Any function with any arguments: an errno comes back, the process lives, nothing outside of the granted directory changes."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from sandboxhost.errors import CallError, LimitExceeded
from sandboxworker import native
from sandboxworker.context import CallContext

from .guest import ALL_RIGHTS, BOTH, BUFFER, CREAT, FUNCTIONS, IOVECS, PATH, PATH2, RESULT, SUCCESS, Guest

MEMORY = 4 * 65536
EDGES32 = [0, 1, 2, 3, 4, 5, 8, 10, 16, 48, 56, 1024, 4096, MEMORY - 8, MEMORY - 1, MEMORY, 1 << 31, (1 << 32) - 8, (1 << 32) - 1]
EDGES64 = [*EDGES32, (1 << 29) - 1, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]
# Not the one that ends the program, and not the one that would fill the disk.
CALLABLE = [name for name in FUNCTIONS if name not in ("proc_exit", "fd_allocate")]
PLACES = [RESULT, PATH, PATH2, BUFFER, IOVECS]
PATHS = ["file", "sub/inner", ".", "..", "../secret", "sub/../../secret", "new", "link", "out", "/", "sub/", "a/b/c", ""]
WASM = {
    "i": st.sampled_from(EDGES32 + PLACES) | st.integers(0, 70),
    "I": st.sampled_from(EDGES64) | st.integers(0, (1 << 64) - 1),
}


@st.composite
def calls(draw: st.DrawFn) -> list[tuple[str, tuple[int, ...], str]]:
    """A short program: (function, arguments, what lies at PATH)."""
    out = []
    for _ in range(draw(st.integers(1, 25))):
        name = draw(st.sampled_from(CALLABLE))
        path = draw(st.sampled_from(PATHS))
        if name.startswith("path_") and draw(st.booleans()):
            out.append((name, plausible(draw, name, len(path)), path))
        else:
            out.append((name, tuple(draw(WASM[c]) for c in FUNCTIONS[name][0]), path))
    return out


def plausible(draw: st.DrawFn, name: str, length: int) -> tuple[int, ...]:
    """Arguments that get past the first checks: directories are 3 and 4, paths lie at PATH."""
    directory, flags = draw(st.sampled_from([3, 4])), draw(st.integers(0, 1))
    rights = draw(st.sampled_from([0, 2, 66, ALL_RIGHTS]))
    shapes = {
        "path_open": (
            directory,
            flags,
            PATH,
            length,
            draw(st.integers(0, 15)),
            rights,
            ALL_RIGHTS,
            draw(st.integers(0, 31)),
            RESULT,
        ),
        "path_rename": (directory, PATH, length, 3, PATH2, 3),
        "path_link": (directory, flags, PATH, length, 3, PATH2, 3),
        "path_symlink": (PATH, length, 3, PATH2, 3),
        "path_readlink": (directory, PATH, length, BUFFER, 100, RESULT),
        "path_filestat_get": (directory, flags, PATH, length, BUFFER),
        "path_filestat_set_times": (directory, flags, PATH, length, rights, rights, draw(st.integers(0, 15))),
    }
    return shapes.get(name, (directory, PATH, length))


def everything(folder: Path) -> dict[str, bytes]:
    """All files outside of what is writable, with their contents."""
    return {
        str(p): p.read_bytes() if p.is_file() else b"" for p in folder.rglob("*") if "writable" not in p.relative_to(folder).parts
    }


@given(st.sampled_from(BOTH), calls())
def test_any_call_is_answered(module: str, program: list[tuple[str, tuple[int, ...], str]]) -> None:
    with tempfile.TemporaryDirectory() as name, Guest(module) as guest:
        folder = Path(name)
        for directory in ("writable", "readable"):
            (folder / directory / "sub").mkdir(parents=True)
            (folder / directory / "file").write_bytes(b"0123456789")
            (folder / directory / "sub" / "inner").write_bytes(b"inner")
            (folder / directory / "link").symlink_to("sub")
            (folder / directory / "out").symlink_to("../secret")
        (folder / "secret").write_text("secret")
        before = everything(folder)
        guest.grant(folder / "writable", "/w")
        guest.grant(folder / "readable", "/r", writable=False)
        guest.wasi.input(b"input")
        guest.wasi.capture(1, 100)
        guest.path("new", PATH2)
        for function, arguments, path in program:
            guest.put(IOVECS, (BUFFER.to_bytes(4, "little") + (8).to_bytes(4, "little")) * 4)
            guest.path(path)
            guest.context = CallContext.within(5)
            assert 0 <= getattr(guest, function)(*arguments) <= 76, (function, arguments)
        assert everything(folder) == before


def test_a_refused_allocation_is_an_error_like_any_other() -> None:
    """In the hostile build the n-th allocation fails, for every n; in others all succeed."""
    with tempfile.TemporaryDirectory() as name:
        for n in range(40):
            with Guest() as guest:
                guest.wasi.random(n)
                fd = os.open(name, os.O_RDONLY)
                native.stress_fail_after(n)
                try:
                    guest.wasi.arguments(["program"])
                    guest.wasi.environment(["A=b" * 100])
                    guest.wasi.capture(1, 100_000)
                    guest.wasi.input(b"input")
                    guest.wasi.directory(fd, "/", True)
                except (LimitExceeded, MemoryError):
                    continue
                finally:
                    native.stress_fail_after(-1)
                    os.close(fd)
                native.stress_fail_after(n)
                try:
                    answers = [guest.open(3, f"file{i}", CREAT, ALL_RIGHTS)[0] for i in range(20)]
                    answers += [guest.write(1, b"x" * 10_000)[0] for _ in range(5)]
                    answers.append(guest.poll(guest.subscription(1, 0), guest.subscription(2, 1))[0])
                except (LimitExceeded, CallError, MemoryError):
                    answers = []
                finally:
                    native.stress_fail_after(-1)
                assert set(answers) <= {SUCCESS, 48}
                assert guest.open(3, "after", CREAT, ALL_RIGHTS)[0] == SUCCESS
