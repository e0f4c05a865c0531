"""The command line as a user types it: data on stdout, talk on stderr, and the exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sandboxhost import cli, errors
from sandboxworker import native

from .conftest import COMMAND, MATH, PACKAGES, wat

ROOT = Path(__file__).resolve().parents[2]


def sandboxhost(
    *arguments: str | Path, stdin: bytes = b"", environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Runs the command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "sandboxhost", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": PACKAGES, **(environment or {})},
        check=False,
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with modules."""
    folder = tmp_path_factory.mktemp("modules")
    (folder / "math.wasm").write_bytes(MATH)
    (folder / "cat.wasm").write_bytes(COMMAND)
    (folder / "broken.wasm").write_bytes(MATH[:-3])
    (folder / "needy.wasm").write_bytes(wat('(module (import "app" "f" (func)))'))
    return folder


@pytest.mark.parametrize("mode", [[], ["--in-process"]])
def test_run_a_command(files: Path, mode: list[str]) -> None:
    done = sandboxhost("run", *mode, files / "cat.wasm", "-c", "--json", "x=1", stdin=b"from stdin")
    assert done.stdout == b"cat\0-c\0--json\0x=1\0from stdin", "everything after FILE is the guest's"
    assert done.stderr == b"oops\n" and done.returncode == 4


@pytest.mark.parametrize("mode", [[], ["--in-process"]])
def test_run_an_export(files: Path, mode: list[str]) -> None:
    done = sandboxhost("run", *mode, files / "math.wasm", "add", "2", "-44")
    assert (done.stdout, done.stderr, done.returncode) == (b"-42\n", b"", 0)
    done = sandboxhost("run", *mode, "--json", "--fuel", "1000", files / "math.wasm", "half", "1", "0x3")
    assert done.returncode == 2 and b"'0x3' is no f64" in done.stderr
    done = sandboxhost("run", *mode, "--json", "--fuel", "1000", files / "math.wasm", "half", "1", "3e0")
    answer = json.loads(done.stdout)
    assert answer["values"] == [0.5, 1.5] and answer["usage"]["fuel"] > 0
    assert sandboxhost("run", *mode, "--invoke", "leave", files / "cat.wasm", "9").returncode == 9
    assert sandboxhost("run", files / "math.wasm", "same", "null").stdout == b"null\n"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["run", "{}/math.wasm"], 2, "math is no command; name one of its functions: "),
        (["run", "{}/math.wasm", "sub"], 2, "no function 'sub'"),
        (["run", "{}/math.wasm", "add", "1"], 2, "add: expected 2 params, but passed 1"),
        (["run", "{}/math.wasm", "add", "1", "x"], 2, "'x' is no i32"),
        (["run", "{}/absent.wasm"], 2, "absent.wasm"),
        (["run", "{}/broken.wasm"], 65, "DecodeError"),
        (["run", "{}/needy.wasm"], 65, '"app"."f"'),
        (["run", "{}/math.wasm", "divide", "1", "0"], 70, "integer divide by zero\n  in divide at offset"),
        (["run", "--deadline", "0.2", "{}/math.wasm", "spin"], 75, "DeadlineExceeded"),
        (["run", "--fuel", "9", "{}/math.wasm", "spin"], 75, "fuel"),
        (["run", "--memory", "0", "{}/math.wasm", "nothing"], 75, "MemoryLimit"),
        (["run", "--memory", "lots", "x"], 2, "expected a size"),
        (["run", "--dir", "x", "y"], 2, "GUEST=HOST"),
        (["run", "--dir", "/a=/no/such", "y"], 2, "is no directory"),
        (["run"], 2, "usage"),
        (["run", "--minimum-level", "most", "x"], 2, "invalid choice: 'most'"),
        (["jump"], 2, "invalid choice"),
        ([], 2, "COMMAND"),
        (["run", "--env", "SURELY_NOT_SET", "x"], 2, "is not set here"),
        (["inspect", "{}/broken.wasm"], 65, "DecodeError"),
        (["validate", "{}/math.wasm", "{}/broken.wasm"], 65, "broken.wasm: DecodeError"),
    ],
)
def test_exit_codes_and_words(files: Path, arguments: list[str], code: int, words: str) -> None:
    done = sandboxhost(*[word.format(files) for word in arguments])
    assert done.returncode == code and words in done.stderr.decode()
    assert b"Traceback" not in done.stderr


def test_a_manifest_names_the_entry_and_the_limits(files: Path, tmp_path: Path) -> None:
    (tmp_path / "math.wasm").write_bytes(MATH)
    (tmp_path / "manifest.toml").write_text('name = "m"\nmodule = "math.wasm"\nentry = "add"\n[limits]\nfuel = 50\n')
    assert sandboxhost("run", tmp_path, "2", "3").stdout == b"5\n"
    assert sandboxhost("run", "--invoke", "spin", tmp_path).returncode == 75


def test_every_error_has_an_exit_code() -> None:
    assert cli.exit_code(errors.WorkerLost("x")) == 76 and cli.exit_code(errors.GuestExit("x", code=3)) == 3
    assert cli.exit_code(errors.GuestExit("x", code=256)) == 1 and cli.exit_code(errors.StackLimit("x")) == 75
    assert cli.exit_code(errors.InstantiationError("x")) == 65 and cli.exit_code(errors.ManifestError("x")) == 2


def test_environment_and_directories_are_granted_by_name(files: Path, tmp_path: Path) -> None:
    show = ROOT / "plugins_example" / "hello" / "hello.wasm"
    done = sandboxhost("run", "--env", "LANG=xx", show, environment={"HOME": "/secret-home"})
    assert done.returncode == 0 and b"xx" in done.stdout and b"secret" not in done.stdout
    (tmp_path / "fruit.txt").write_text("pear\n")
    listing = ROOT / "plugins_example" / "files" / "files.wasm"
    done = sandboxhost("run", "--dir", f"/data={tmp_path}", listing, "/data")
    assert done.returncode == 0 and b"fruit.txt 5 bytes" in done.stdout and (tmp_path / "report.txt").exists()
    (tmp_path / "report.txt").unlink()
    done = sandboxhost("run", "--dir", f"/data={tmp_path}:ro", listing, "/data")
    assert not (tmp_path / "report.txt").exists() and done.returncode != 0
    assert sandboxhost("run", listing, "/data").returncode != 0


def test_inspect(files: Path) -> None:
    done = sandboxhost("inspect", files / "cat.wasm")
    text = done.stdout.decode()
    assert done.returncode == 0 and done.stderr == b""
    assert "wasi_snapshot_preview1.fd_write: func (i32, i32, i32, i32) -> (i32)" in text and "_start: func () -> ()" in text
    assert "memories (1)\n  1.. pages" in text
    data = json.loads(sandboxhost("inspect", "--json", "--ir", files / "math.wasm").stdout)
    assert {"name": "add", "kind": "func", "type": "(i32, i32) -> (i32)"} in data["exports"] and data["imports"] == []
    assert data["memories"] == [{"minimum": 1, "maximum": None}] and "i32_add" in data["ir"]
    listing = sandboxhost("inspect", "--ir", files / "math.wasm").stdout.decode()
    assert "function 0 (add): (i32, i32) -> (i32)" in listing and "i32_add" in listing
    assert sandboxhost("inspect").returncode == 2


def test_inspect_lists_machine_code(files: Path) -> None:
    if not native.HAS_COMPILED_TIER:
        assert sandboxhost("inspect", "--asm", files / "math.wasm").returncode == 76
        return
    listing = sandboxhost("inspect", files / "math.wasm", "--asm", "add").stdout.decode()
    assert "tier: compiled" in listing and "function 0 (add)" in listing and listing.rstrip().endswith("ret")
    assert "function 1" not in listing
    data = json.loads(sandboxhost("inspect", "--json", "--asm", files / "math.wasm").stdout)
    assert data["tier"] == "compiled" and data["machine_bytes"] > 0 and "ret" in data["asm"]
    assert sandboxhost("inspect", files / "math.wasm", "--asm", "no such function").returncode == 2


def test_validate(files: Path) -> None:
    done = sandboxhost("validate", files / "math.wasm")
    assert (done.returncode, done.stderr) == (0, b"") and done.stdout.decode() == f"{files / 'math.wasm'}: valid\n"
    verdicts = json.loads(sandboxhost("validate", "--json", files / "math.wasm", files / "broken.wasm").stdout)
    assert [v["valid"] for v in verdicts] == [True, False] and isinstance(verdicts[1]["offset"], int)


def test_demo() -> None:
    done = sandboxhost("demo", "--workers", "2")
    text = done.stdout.decode()
    assert done.returncode == 0 and done.stderr == b"", done.stderr
    for words in ("Hello", "DeadlineExceeded", "FuelExhausted", "MemoryLimit", "WorkerLost", "the next call", "all gone"):
        assert words in text
    assert "\x1b" not in text, "no colours where there is no terminal"


def test_output_that_nobody_reads(files: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "sandboxhost", "inspect", str(files / "math.wasm")],
        stdout=write,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": PACKAGES},
        timeout=60,
        check=False,
    )
    os.close(write)
    assert b"Traceback" not in done.stderr and done.returncode in (0, 1)
