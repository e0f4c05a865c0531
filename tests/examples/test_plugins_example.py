"""Every example plugin, loaded by its manifest, does what its expected.toml says: in worker processes and in this process."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import sandboxhost
from sandboxhost import Grants, Host, SandboxError, i32, i64
from sandboxhost.manifest import read_manifest

FOLDER = Path(__file__).resolve().parents[2] / "plugins_example"
PLUGINS = sorted(path.parent.name for path in FOLDER.glob("*/manifest.toml"))
STEP_KEYS = {"call", "arguments", "results", "run", "stdin", "stdout", "exit_code", "error", "message"}


def expected(name: str) -> dict[str, Any]:
    """The plugin's expected.toml, its keys checked."""
    with (FOLDER / name / "expected.toml").open("rb") as file:
        data = tomllib.load(file)
    assert set(data) <= {"application", "step"} and set(data.get("application", {})) <= {"environment", "files"}
    for step in data["step"]:
        assert set(step) <= STEP_KEYS and ("call" in step) != ("run" in step)
        assert "error" in step or "results" in step or "exit_code" in step, f"a step that expects nothing: {step}"
    return data


@pytest.fixture(scope="module", params=[2, 0], ids=["workers", "in_process"])
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    """A host that offers what the plugins import."""
    with Host(workers=request.param) as host:

        @host.function("app", "lookup")
        def lookup(key: i32) -> i64:
            if key < 0:
                raise KeyError(key)
            return key * key

        yield host


def application_grants(data: dict[str, Any], folder: Path) -> Grants:
    """What the application grants; the manifest narrows it. Every plugin is offered a directory."""
    application = data.get("application", {})
    for name, text in application.get("files", {}).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Grants(directories={"/data": (folder, "rw")}, environment=application.get("environment", {}))


def take(plugin: Any, step: dict[str, Any]) -> None:
    """One step of a plugin's expected.toml."""
    if "run" in step:
        done = plugin.run(step["run"], step.get("stdin", "").encode())
        assert (done.stdout.decode(), done.exit_code) == (step["stdout"], step["exit_code"]), done.stderr
    else:
        outcome = plugin.invoke(step["call"], *step["arguments"])
        assert list(outcome.values) == step["results"]
        assert [type(value) for value in outcome.values] == [type(value) for value in step["results"]]


@pytest.mark.parametrize("name", PLUGINS)
def test_the_plugin_does_what_it_must(host: Host, name: str, tmp_path: Path) -> None:
    data = expected(name)
    plugin = host.load(FOLDER / name, grants=application_grants(data, tmp_path))
    try:
        for step in data["step"]:
            if "error" not in step:
                take(plugin, step)
                continue
            with pytest.raises(SandboxError) as raised:
                take(plugin, step)
            assert type(raised.value) is getattr(sandboxhost, step["error"])
            assert str(raised.value).startswith(step["message"])
    finally:
        plugin.unload()


def test_the_report_of_files_lies_in_the_granted_directory(host: Host, tmp_path: Path) -> None:
    data = expected("files")
    plugin = host.load(FOLDER / "files", grants=application_grants(data, tmp_path))
    assert plugin.run(["/data"]).exit_code == 0
    assert (tmp_path / "report.txt").read_text() == "apples.txt 13 bytes\nplums.txt 9 bytes\nsub/\n"


def test_files_cannot_write_where_it_may_only_read(host: Host, tmp_path: Path) -> None:
    (tmp_path / "apples.txt").write_text("Cox\n")
    plugin = host.load(FOLDER / "files", grants=Grants(directories={"/data": (tmp_path, "ro")}))
    assert plugin.run(["/data"]).exit_code == 1
    assert os.listdir(tmp_path) == ["apples.txt"]


def test_an_exception_in_the_application_comes_back_as_itself(host: Host) -> None:
    plugin = host.load(FOLDER / "lookup")
    with pytest.raises(sandboxhost.HostFunctionError) as raised:
        plugin.call("sum", -1, 1)
    cause = raised.value.__cause__
    assert isinstance(cause, KeyError) and cause.args == (-1,)


def test_lookup_is_not_loaded_without_its_function(host: Host) -> None:
    with pytest.raises(sandboxhost.LinkError, match=r'unknown import: "app"\."lookup"'):
        host.load(FOLDER / "lookup", grants=Grants(functions=()))


@pytest.mark.parametrize("name", PLUGINS)
def test_the_folder_is_complete(name: str) -> None:
    manifest = read_manifest(FOLDER / name / "manifest.toml")
    assert (manifest.name, manifest.module) == (name, f"{name}.wasm")
    assert manifest.description and manifest.limits["deadline"] <= 10
    assert (FOLDER / name / manifest.module).read_bytes()[:8] == b"\0asm\1\0\0\0"
    assert f"[{name}]({name}/{name}." in (FOLDER / "README.md").read_text(encoding="utf-8")
    assert expected(name)["step"]


def test_there_are_plugins_in_four_languages() -> None:
    sources = {path.suffix for name in PLUGINS for path in (FOLDER / name).glob(f"{name}.*")} - {".wasm"}
    assert sources == {".c", ".zig", ".ts", ".wat"}
    assert len(PLUGINS) >= 7
