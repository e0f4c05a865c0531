"""Manifests: what they may say, how wrong ones are refused, where they are found."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandboxhost.errors import ManifestError
from sandboxhost.grants import Grants
from sandboxhost.limits import Limits
from sandboxhost.manifest import MAX_BYTES, Manifest, find_manifest, parse_manifest, read_manifest

WHOLE = """
name = "lookup"
description = "sums"
module = "lookup.wasm"
entry = "sum"
instance = "persistent"
[limits]
memory = "2MiB"
fuel = 1_000_000
[grants]
directories = { "/data" = "rw" }
environment = ["LANG"]
functions = [["app", "lookup"]]
"""


def test_a_whole_manifest() -> None:
    manifest = parse_manifest(WHOLE)
    assert manifest == Manifest(
        "lookup",
        "sums",
        "lookup.wasm",
        "sum",
        "persistent",
        {"memory": "2MiB", "fuel": 1_000_000},
        {"/data": "rw"},
        ("LANG",),
        (("app", "lookup"),),
    )
    lowered = manifest.lower(Limits(memory="1MiB"))
    assert lowered.memory == 2**20 and lowered.fuel == 1_000_000
    assert manifest.narrow(Grants(environment={"LANG": "C", "HOME": "/"})).environment == {"LANG": "C"}


def test_without_a_grants_table_nothing_is_narrowed() -> None:
    grants = Grants(environment={"LANG": "C"}, directories={"/a": "/tmp"})
    assert parse_manifest('name = "x"').narrow(grants) == grants
    assert parse_manifest('name = "x"\n[grants]').narrow(grants) == Grants(functions=())


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        ('name = "x"\ncolour = 1', "colour", "unknown key 'colour'; known are name, "),
        ('name = "x"\n[limits]\nmemroy = 1', "memroy", "unknown key 'memroy'"),
        ('name = "x"\n[grants]\nnetwork = true', "grants.network", "unknown key 'grants.network'"),
        ('description = "x"', "name", "name: expected"),
        ('name = ""', "name", "name: expected"),
        ("name = 3", "name", "expected text, got 3"),
        ('name = "a\\u001b"', "name", "printable"),
        ('name = "x"\ninstance = "shared"', "instance", '"fresh", "persistent" or a number'),
        ('name = "x"\nmodule = "../x.wasm"', "module", "beside the manifest"),
        ('name = "x"\nmodule = ".."', "module", "beside"),
        ('name = "x"\nlimits = 3', "limits", "expected a table"),
        ('name = "x"\ninstance = 0', "instance", "a number of calls"),
        ('name = "x"\ninstance = true', "instance", "a number of calls"),
        ('name = "x"\nisolation = "none"', "isolation", '"shared" or "plugin"'),
        ('name = "x"\n[limits]\nmemory = "lots"', "memory", "expected a size"),
        ('name = "x"\n[grants]\ndirectories = { "/a" = "rwx" }', "grants.directories", '"ro" or "rw"'),
        ('name = "x"\n[grants]\nenvironment = "LANG"', "environment", "expected a list"),
        ('name = "x"\n[grants]\nenvironment = [1]', "grants.environment", "unexpected 1"),
        ('name = "x"\n[grants]\nfunctions = [["app"]]', "grants.functions", r"\[module, name\]"),
        ("name = ", "", "not TOML"),
        ("a = " + "[" * 5000, "", "not TOML"),
    ],
)
def test_wrong_manifests_are_refused_and_the_key_named(text: str, key: str, words: str) -> None:
    with pytest.raises(ManifestError, match=words) as caught:
        parse_manifest(text, "plugin.toml")
    assert caught.value.key == key and str(caught.value).startswith("plugin.toml: ")


def test_files(tmp_path: Path) -> None:
    module = tmp_path / "lookup.wasm"
    module.write_bytes(b"\0asm")
    assert find_manifest(module) == (module, None)
    (tmp_path / "manifest.toml").write_text(WHOLE)
    for path in (module, tmp_path, tmp_path / "manifest.toml"):
        found, manifest = find_manifest(path)
        assert found == module and manifest is not None and manifest.name == "lookup"
    assert find_manifest(tmp_path / "other.wasm") == (tmp_path / "other.wasm", None)
    (tmp_path / "other.toml").write_text('name = "other"')
    assert find_manifest(tmp_path / "other.wasm")[1] == Manifest("other")
    with pytest.raises(ManifestError, match="which file is the plugin"):
        find_manifest(tmp_path / "other.toml")
    with pytest.raises(FileNotFoundError):
        find_manifest(tmp_path / "missing.toml")


def test_hostile_files(tmp_path: Path) -> None:
    path = tmp_path / "manifest.toml"
    path.write_bytes(b'name = "\xff"')
    with pytest.raises(ManifestError, match="not UTF-8 at byte 8"):
        read_manifest(path)
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(ManifestError, match="larger than"):
        read_manifest(path)
