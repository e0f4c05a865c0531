"""What a plugin may reach: exactly what is granted, nothing by default."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sandboxhost import Grants, Host

from .conftest import wat

EXAMPLES = Path(__file__).resolve().parents[2] / "plugins_example"

CLOCK = wat("""(module
  (import "wasi_snapshot_preview1" "clock_time_get" (func $time (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "now") (result i64) (drop (call $time (i32.const 0) (i64.const 1) (i32.const 0))) (i64.load (i32.const 0)))
  (func (export "random") (result i64) (drop (call $random (i32.const 0) (i32.const 8))) (i64.load (i32.const 0))))""")


def test_nothing_is_granted_by_default(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "xyzzy")
    hello = host.load((EXAMPLES / "hello" / "hello.wasm").read_bytes(), name="hello")
    done = hello.run()
    assert done.exit_code == 0 and b"xyzzy" not in done.stdout
    files = host.load((EXAMPLES / "files" / "files.wasm").read_bytes(), name="files")
    for path in ("/", "/etc", ".", "/data"):
        assert files.run([path]).exit_code != 0
    clock = host.load(CLOCK)
    assert clock.call("now") < 10**9, "no real clock"
    assert clock.call("now") == clock.call("now"), "and the same in every run"


def test_directories_are_granted_with_their_rights(host: Host, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "apple.txt").write_text("Cox")
    (tmp_path / "outside.txt").write_text("secret")
    data = (EXAMPLES / "files" / "files.wasm").read_bytes()
    writable = host.load(data, name="files", grants=Grants(directories={"/data": (tmp_path / "in", "rw")}))
    done = writable.run(["/data"])
    assert done.exit_code == 0 and b"apple.txt 3 bytes" in done.stdout and (tmp_path / "in" / "report.txt").is_file()
    (tmp_path / "in" / "link").symlink_to(tmp_path)
    for path in ("/data/..", "/data/link", "/data/../outside.txt"):
        assert b"outside" not in writable.run([path]).stdout
    (tmp_path / "in" / "report.txt").unlink()
    (tmp_path / "in" / "link").unlink()
    readable = host.load(data, name="files", grants=Grants(directories={"/data": tmp_path / "in"}))
    assert readable.run(["/data"]).exit_code != 0 and not (tmp_path / "in" / "report.txt").exists()


def test_clock_and_random_numbers(host: Host) -> None:
    real = host.load(CLOCK, grants=Grants(clock=1.0))
    assert real.call("now") % 10**9 == 0 and real.call("now") > 1_700_000_000 * 10**9
    assert host.load(CLOCK, grants=Grants(clock=1e-9)).call("now") % 10**6 != 0
    seeded = host.load(CLOCK, grants=Grants(random_seed=7))
    assert seeded.call("random") == seeded.call("random") == host.load(CLOCK, grants=Grants(random_seed=7)).call("random")
    assert host.load(CLOCK, grants=Grants(random_seed=8)).call("random") != seeded.call("random")
    free = host.load(CLOCK)
    assert free.call("random") != free.call("random")


def test_arguments_and_environment(host: Host) -> None:
    data = (EXAMPLES / "hello" / "hello.wasm").read_bytes()
    plugin = host.load(data, name="hello", grants=Grants(environment={"LANG": "xx"}, arguments=("granted",)))
    assert b"xx" in plugin.run().stdout and b"granted" in plugin.run().stdout
    own = plugin.run(["own"], environment={"LANG": "yy"}).stdout
    assert b"own" in own and b"granted" not in own and b"yy" in own


def test_the_host_keeps_a_granted_directory_open_though_it_is_renamed(host: Host, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_text("1")
    plugin = host.load(
        (EXAMPLES / "files" / "files.wasm").read_bytes(), grants=Grants(directories={"/data": (tmp_path / "a", "rw")})
    )
    os.rename(tmp_path / "a", tmp_path / "b")
    assert b"x 1 bytes" in plugin.run(["/data"]).stdout
