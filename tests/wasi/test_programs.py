"""C programs, built by a real toolchain against a real C library, in a real directory; and one that somebody turns over."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sandboxhost.errors import GuestExit
from sandboxworker.engine import Engine, Module
from sandboxworker.store import Store
from sandboxworker.wasi import Wasi

from .guest import ALL_RIGHTS, CREAT, NOENT, NOTCAPABLE, SUCCESS, Guest

PROGRAMS = Path(__file__).resolve().parent / "programs"

EXPECTED = """\
argument program
argument one two
variable value
ftell: 7
fgets: line 1
pwrite: 4
pread: 4
ftruncate: 0
lseek: 5
append: 1
stat: 0
size 6, regular 1
exclusive: File exists
mkdir: 0
rename: 0
link: 0
symlink: 0
readlink: 8
utimensat: 0
stat: 0
mtime 1000000001, links 2
/data: . .. absolute dir out soft up
/data/dir: . .. second text
rmdir: Directory not empty
unlink: 0
rmdir: 0
/data: . .. absolute out up
/data/../secret: refused
/secret: refused
../secret: refused
/data/out: refused
/data/absolute: refused
/data/up/secret: refused
/etc/passwd: refused
read-only: read: 1
read-only: create: Capabilities insufficient
read-only: truncate: Capabilities insufficient
read-only: unlink: Capabilities insufficient
read-only: rename: Capabilities insufficient
read-only: link: Capabilities insufficient
read-only: write: Bad file descriptor
input first
input second
poll: 1
nanosleep: 0
slept 3600
getentropy: 0
random 5a76f94e
terminal 000
"""


def run(name: str, directories: dict[str, tuple[Path, bool]], arguments: list[str], data: bytes = b"") -> tuple[int, str]:
    """Runs a program to its end: (exit code, standard output)."""
    engine = Engine()
    module = Module((PROGRAMS / f"{name}.wasm").read_bytes())
    engine.compile_module(module)
    with Store(engine) as store:
        wasi = Wasi(store)
        wasi.arguments(arguments)
        wasi.environment(["NAME=value"])
        wasi.input(data)
        wasi.capture(1, 1 << 20)
        wasi.random(7)
        for guest_path, (path, writable) in directories.items():
            fd = os.open(path, os.O_RDONLY)
            wasi.directory(fd, guest_path, writable)
            os.close(fd)
        instance = store.instantiate(module, imports=wasi.imports(engine.image(module)))
        code = 0
        try:
            instance.exports["_start"].call()  # type: ignore[union-attr]
        except GuestExit as exit_:
            code = exit_.code
        return code, wasi.take_output(1)[0].decode()


def test_a_c_program_finds_what_posix_promises(tmp_path: Path) -> None:
    for name in ("data", "read"):
        (tmp_path / name).mkdir()
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "read" / "file").write_text("text")
    for name, target in (("out", "../secret"), ("absolute", str(tmp_path / "secret")), ("up", "..")):
        (tmp_path / "data" / name).symlink_to(target)
    directories = {"/data": (tmp_path / "data", True), "/read": (tmp_path / "read", False)}
    code, output = run("files", directories, ["program", "one two"], b"first\nsecond\n")
    assert output.splitlines() == EXPECTED.splitlines()
    assert code == 7
    assert (tmp_path / "secret").read_text() == "secret"
    assert (tmp_path / "read" / "file").read_text() == "text"


def test_a_million_opens(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    before = len(os.listdir("/proc/self/fd"))
    code, output = run("storm", {"/data": (tmp_path, False)}, ["storm"])
    assert output == "opened 1020, refused 998980, other 0, again 1000\n", "1,024 less the streams and the directory"
    assert code == 0
    assert len(os.listdir("/proc/self/fd")) < before + 10, "the guest's descriptors went with its store"


# Turns the directory over as fast as it can: d is now a directory, now a link to what is outside; x/y is now inside, now outside.
RENAMER = """
import os, sys
os.chdir(sys.argv[1])
print("ready", flush=True)
parent = os.getppid()
while os.getppid() == parent:
    os.rename("granted/d", "granted/t"); os.rename("granted/l", "granted/d")
    os.rename("granted/x/y", "outside/y")
    os.rename("granted/d", "granted/l"); os.rename("granted/t", "granted/d")
    os.rename("outside/y", "granted/x/y")
"""


@pytest.fixture
def turned_over(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    for name in ("granted/d", "granted/x/y"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "secret").write_text("outside")
    (tmp_path / "outside" / "secret").write_text("outside")
    (tmp_path / "granted" / "d" / "secret").write_text("inside")
    (tmp_path / "granted" / "l").symlink_to("../outside")
    return tmp_path


def test_a_concurrent_renamer_opens_no_way_out(turned_over: Path) -> None:
    """At least 3,000 attempts, and as many more as it takes to have met both states."""
    with subprocess.Popen([sys.executable, "-c", RENAMER, str(turned_over)], stdout=subprocess.PIPE) as renamer, Guest() as guest:
        try:
            assert renamer.stdout is not None and renamer.stdout.readline() == b"ready\n"
            directory = guest.grant(turned_over / "granted")
            met: dict[int, int] = {}
            for attempt in range(100_000):
                if attempt >= 3000 and {SUCCESS, NOTCAPABLE} <= met.keys():
                    break
                error, fd = guest.open(directory, "d/secret")
                met[error] = met.get(error, 0) + 1
                if not error:
                    assert guest.read(fd) == (SUCCESS, b"inside")
                    assert guest.fd_close(fd) == SUCCESS
                assert guest.open(directory, "x/y/../../secret")[0] != SUCCESS
                assert guest.open(directory, "x/y/../../granted/d/secret")[0] != SUCCESS
                for error, made in (
                    guest.open(directory, "d/made", CREAT, ALL_RIGHTS),
                    guest.open(directory, "x/y/../../outside/made", CREAT, 0),
                ):
                    assert error or guest.fd_close(made) == SUCCESS
                guest.path_create_directory(directory, *guest.path("d/new"))
                guest.path_unlink_file(directory, *guest.path("d/l"))
                guest.path_symlink(*guest.path("x", 0x3000), directory, *guest.path("d/l"))
            assert met[SUCCESS] and met[NOTCAPABLE], met
            assert met.keys() <= {SUCCESS, NOTCAPABLE, NOENT, 6, 32}, met
        finally:
            renamer.kill()
    assert set(os.listdir(turned_over / "outside")) <= {"secret", "y"}
    assert (turned_over / "outside" / "secret").read_text() == "outside"
    assert set(os.listdir(turned_over)) == {"secret", "outside", "granted"}
