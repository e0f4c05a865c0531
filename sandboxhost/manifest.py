"""The manifest next to a plugin: its name, its module, the limits it can live with and the grants it wishes for, in TOML.

    name = "lookup"                          # required; everything else may be left out
    description = "…"
    module = "lookup.wasm"                   # file beside the manifest
    entry = "sum"                            # export that is called, or the command that is run ("_start")
    instance = "fresh"                       # or "persistent", or a number of calls that one instance serves
    isolation = "shared"                     # or "plugin": processes of its own, whatever the application says
    [limits]                                 # fields of Limits; they only ever lower what the application allows
    memory = "2MiB"
    [grants]                                 # wishes; what the application grants beyond them is not granted
    directories = { "/data" = "rw" }         # guest path = "ro" or "rw"
    environment = ["LANG"]
    functions = [["app", "lookup"]]
"""
from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import ManifestError, printable
from .grants import Grants
from .limits import Limits

__all__ = ["Manifest", "find_manifest", "parse_manifest", "read_manifest"]

MAX_BYTES = 64 * 2**10
FILE_NAME = "manifest.toml"
_KEYS = ("name", "description", "module", "entry", "instance", "isolation", "limits", "grants")
_GRANT_KEYS = ("directories", "environment", "functions")


@dataclass(frozen=True)
class Manifest:
    """What a plugin says about itself. Nothing in it can raise a limit or grant anything."""

    name: str
    description: str = ""
    module: str = ""
    entry: str = ""
    instance: str | int = "fresh"
    limits: Mapping[str, Any] = field(default_factory=dict)
    directories: Mapping[str, str] | None = None
    environment: tuple[str, ...] | None = None
    functions: tuple[tuple[str, str], ...] | None = None
    isolation: str = "shared"

    def lower(self, limits: Limits) -> Limits:
        """The application's limits, lowered to the manifest's."""
        return limits.lowered_by(self.limits)

    def narrow(self, grants: Grants) -> Grants:
        """The application's grants without what the manifest does not wish for; without a [grants] table unchanged."""
        return grants.narrowed_to(self.directories, self.environment, self.functions)


def parse_manifest(text: str, source: str = FILE_NAME) -> Manifest:
    """The manifest in `text`. Raises ManifestError that names `source` and the offending key."""
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        raise ManifestError(f"{source}: not TOML: {exc}") from None
    _known(data, _KEYS, source, "")
    grants = _typed(data, "grants", dict, {}, source)
    _known(grants, _GRANT_KEYS, source, "grants.")
    name = _typed(data, "name", str, "", source)
    if not name or not name.isprintable() or len(name) > 200:
        raise ManifestError(f"{source}: name: expected a printable text of at most 200 characters, got {name!r}", key="name")
    instance = data.get("instance", "fresh")
    if instance not in ("fresh", "persistent") and not (type(instance) is int and 0 < instance < 2**31):
        text = f"{source}: instance: expected \"fresh\", \"persistent\" or a number of calls, got {instance!r}"
        raise ManifestError(text, key="instance")
    isolation = _typed(data, "isolation", str, "shared", source)
    if isolation not in ("shared", "plugin"):
        raise ManifestError(f"{source}: isolation: expected \"shared\" or \"plugin\", got {isolation!r}", key="isolation")
    module = _typed(data, "module", str, "", source)
    if module and (os.path.basename(module) != module or "\0" in module or module in (".", "..")):
        raise ManifestError(f"{source}: module: expected the name of a file beside the manifest, got {module!r}", key="module")
    limits = _typed(data, "limits", dict, {}, source)
    try:
        Limits().lowered_by(limits)
    except ManifestError as exc:
        raise ManifestError(f"{source}: {exc}", key=exc.key) from None
    wishes = bool(grants) or "grants" in data
    return Manifest(
        name, _typed(data, "description", str, "", source), module, _typed(data, "entry", str, "", source), instance, limits,
        _directories(grants, source) if wishes else None,
        tuple(_list(grants, "environment", str, source)) if wishes else None,
        tuple(_function(item, source) for item in _list(grants, "functions", list, source)) if wishes else None, isolation)


def read_manifest(path: str | os.PathLike[str]) -> Manifest:
    """The manifest in a file. Raises OSError, ManifestError."""
    with open(path, "rb") as file:
        data = file.read(MAX_BYTES + 1)
    source = os.fspath(path)
    if len(data) > MAX_BYTES:
        raise ManifestError(f"{source}: larger than {MAX_BYTES} bytes")
    try:
        return parse_manifest(data.decode("utf-8"), source)
    except UnicodeDecodeError as exc:
        raise ManifestError(f"{source}: not UTF-8 at byte {exc.start}") from None


def find_manifest(path: str | os.PathLike[str]) -> tuple[Path, Manifest | None]:
    """(module file, manifest) for a path that names a plugin: its folder, its manifest, or its module.

    The manifest of a module FILE.wasm is FILE.toml beside it, or a manifest.toml beside it that names FILE.wasm as its module.
    Raises OSError, ManifestError.
    """
    path = Path(path)
    if path.is_dir():
        path = path / FILE_NAME
    if path.suffix == ".toml":
        manifest = read_manifest(path)
        if not manifest.module:
            raise ManifestError(f"{path}: module: missing; which file is the plugin?", key="module")
        return path.with_name(manifest.module), manifest
    own = path.with_suffix(".toml")
    if own.is_file():
        return path, read_manifest(own)
    shared = path.with_name(FILE_NAME)
    if shared.is_file() and (manifest := read_manifest(shared)).module == path.name:
        return path, manifest
    return path, None


def _known(table: Mapping[str, Any], keys: tuple[str, ...], source: str, prefix: str) -> None:
    for key in table:
        if key not in keys:
            shown = printable(f"{prefix}{key}", 100)
            raise ManifestError(f"{source}: unknown key {shown!r}; known are {', '.join(prefix + k for k in keys)}", key=shown)


def _typed(table: Mapping[str, Any], key: str, kind: type, default: Any, source: str) -> Any:
    value = table.get(key, default)
    if not isinstance(value, kind):
        words: dict[type, str] = {str: "text", dict: "a table", list: "a list"}
        raise ManifestError(f"{source}: {key}: expected {words[kind]}, got {value!r}", key=key)
    return value


def _list(table: Mapping[str, Any], key: str, kind: type, source: str) -> list[Any]:
    values: list[Any] = _typed(table, key, list, [], source)
    for value in values:
        if not isinstance(value, kind):
            raise ManifestError(f"{source}: grants.{key}: unexpected {value!r}", key=f"grants.{key}")
    return values


def _function(item: list[Any], source: str) -> tuple[str, str]:
    if len(item) != 2 or not all(isinstance(part, str) for part in item):
        raise ManifestError(f"{source}: grants.functions: expected [module, name], got {item!r}", key="grants.functions")
    return item[0], item[1]


def _directories(grants: Mapping[str, Any], source: str) -> dict[str, str]:
    table: dict[str, str] = _typed(grants, "directories", dict, {}, source)
    for guest, mode in table.items():
        if mode not in ("ro", "rw"):
            raise ManifestError(f"{source}: grants.directories: {guest!r}: expected \"ro\" or \"rw\", got {mode!r}",
                                key="grants.directories")
    return table
