"""CPython, Ruby and SQLite, compiled by others, run as an application's user would run them: `sandboxhost run FILE …`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sandboxworker import native
from sandboxworker.engine import Engine
from sandboxworker.image import Image
from tests.real.fetch import FOLDER, PROGRAMS

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

NEEDS_SIMD = "wasmedge_quickjs.wasm"
COMMAND_LINE = "import sys; from sandboxhost.cli import main; sys.exit(main())"


def program(name: str) -> str:
    """The path of a fetched program; a missing one fails the test, it does not skip it."""
    path = FOLDER / name
    assert path.is_file(), f"{name} is not in {FOLDER}: `make real` fetches it"
    return str(path)


def run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """`sandboxhost` with these arguments, in a process of its own."""
    command = [sys.executable, "-c", COMMAND_LINE, *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=240)


@pytest.mark.parametrize("explicit_bounds", [False, True], ids=["guarded", "explicit"])
@pytest.mark.parametrize("metered", [False, True], ids=["unmetered", "metered"])
@pytest.mark.parametrize("name", sorted(set(PROGRAMS) - {NEEDS_SIMD}))
def test_machine_code_passes_the_checker(name: str, metered: bool, explicit_bounds: bool) -> None:
    """Every function of whole programs stays in its sandbox, as far as native/src/x64_check.c can prove."""
    if not native.HAS_COMPILED_TIER:
        pytest.skip("this machine has no compiled tier")
    options = Engine(tier="compiled", metered=metered, explicit_bounds=explicit_bounds).options
    image = Image.description(native.compile_bytes(Path(program(name)).read_bytes(), options))
    assert image.machine_bytes > 1_000_000
    image.check_machine_code()


def expect(done: subprocess.CompletedProcess[str], stdout: str, code: int = 0) -> None:
    """The exact output and exit code; what the program said on stderr is shown if they differ."""
    assert (done.stdout, done.returncode) == (stdout, code), done.stderr


def test_python_computes_and_imports() -> None:
    source = "import json,sys; print(sys.version); print(sum(i*i for i in range(100000)))"
    done = run("run", program("python-3.11.3.wasm"), "-c", source)
    assert done.returncode == 0, done.stderr
    version, total = done.stdout.splitlines()
    assert version.startswith("3.11.3 (")
    assert total == "333328333350000"


def test_python_runs_its_library() -> None:
    source = (
        "import collections, decimal, hashlib, json, re, struct, zlib\n"
        "print(hashlib.sha256(b'abc').hexdigest())\n"
        "print(json.dumps({'a': [1, 2.5, None]}, sort_keys=True))\n"
        "print(decimal.Decimal(2).sqrt())\n"
        "print(re.sub(r'(\\w+) (\\w+)', r'\\2 \\1', 'hello world'))\n"
        "print(collections.Counter('mississippi').most_common(1))\n"
        "print(zlib.crc32(b'123456789'), struct.pack('<d', 0.1).hex())\n"
    )
    lines = [
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        '{"a": [1, 2.5, null]}',
        "1.414213562373095048801688724",
        "world hello",
        "[('i', 4)]",
        "3421780262 9a9999999999b93f",
    ]
    expect(run("run", program("python-3.11.3.wasm"), "-c", source), "\n".join(lines) + "\n")


def test_python_reads_stdin_and_gives_its_exit_code() -> None:
    source = "import sys; text = sys.stdin.read(); print(text.upper(), end=''); print('talk', file=sys.stderr); sys.exit(7)"
    done = run("run", program("python-3.11.3.wasm"), "-c", source, stdin="one\ntwo\n")
    expect(done, "ONE\nTWO\n", 7)
    assert "talk" in done.stderr


def test_python_sees_nothing_that_was_not_granted(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    source = (
        "import os\n"
        f"for name in ({str(secret)!r}, '/etc/passwd', '../../etc/passwd'):\n"
        "    try:\n"
        "        print(open(name).read())\n"
        "    except OSError as error:\n"
        "        print(type(error).__name__)\n"
        "print('HOME' in os.environ, 'PATH' in os.environ)\n"
    )
    done = run("run", program("python-3.11.3.wasm"), "-c", source)
    assert done.returncode == 0, done.stderr
    assert "secret" not in done.stdout and "root:" not in done.stdout
    assert done.stdout.splitlines()[-1] == "False False"
    assert len(done.stdout.splitlines()) == 4


def test_python_raises_what_it_raises() -> None:
    done = run("run", program("python-3.11.3.wasm"), "-c", "def f(n):\n    return 1 / n\nf(0)")
    expect(done, "", 1)
    assert "ZeroDivisionError: division by zero" in done.stderr


def test_ruby() -> None:
    expect(run("run", program("ruby-3.2.0.wasm"), "-e", "puts 6*7"), "42\n")


def test_ruby_computes_with_blocks_and_big_numbers() -> None:
    source = (
        "puts (1..20).select(&:even?).map { |n| n ** 20 }.sum\n"
        "begin; Integer('x'); rescue ArgumentError => e; puts e.message; end"
    )
    total = sum(n**20 for n in range(2, 21, 2))
    expect(run("run", program("ruby-3.2.0.wasm"), "-e", source), f'{total}\ninvalid value for Integer(): "x"\n')


def test_sqlite_under_the_older_name_of_preview1() -> None:
    expect(run("run", program("sqlite.wasm"), ":memory:", "select 6*7"), "42\n")


def test_sqlite_runs_a_script_from_stdin() -> None:
    script = (
        "create table t(k integer primary key, v text);\n"
        "with recursive n(i) as (select 1 union all select i + 1 from n where i < 1000)\n"
        "insert into t select i, 'row ' || i from n;\n"
        "select count(*), sum(k), max(v) from t;\n"
    )
    expect(run("run", program("sqlite.wasm"), "-batch", ":memory:", stdin=script), "1000|500500|row 999\n")


@pytest.mark.parametrize("name", sorted(set(PROGRAMS) - {NEEDS_SIMD}))
def test_every_program_validates(name: str) -> None:
    done = run("validate", program(name))
    assert done.returncode == 0, done.stderr


def test_a_program_with_vectors_is_refused_by_name() -> None:
    done = run("validate", program(NEEDS_SIMD))
    assert done.returncode == 65
    assert "simd is not supported" in done.stderr and "at offset 0x836cb" in done.stderr
