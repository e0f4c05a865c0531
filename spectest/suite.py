"""Where the scripts are: given paths, $WASM_TESTSUITE or ../shared/testsuite beside the repository; the suite's groups."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

ENVIRONMENT_VARIABLE = "WASM_TESTSUITE"
REVISION = "193e551ff22663995b1ac95dc62344133669e14b"
"""The commit of the public repository that the groups were made for."""
_OWN_GROUPS = Path(__file__).with_name("groups.json")
_BESIDE_REPOSITORY = Path(__file__).resolve().parents[2] / "shared" / "testsuite"


class SuiteMissing(Exception):
    """No suite, no such path or no such group: the run fails and says so."""


def find_suite(environment: Mapping[str, str] = os.environ) -> Path | None:
    """The directory of the official suite, None where there is none. SuiteMissing: the variable names no directory."""
    named = environment.get(ENVIRONMENT_VARIABLE)
    if named:
        if not Path(named).is_dir():
            raise SuiteMissing(f"${ENVIRONMENT_VARIABLE} is {named!r}, which is not a directory")
        return Path(named)
    return _BESIDE_REPOSITORY if _BESIDE_REPOSITORY.is_dir() else None


def scripts(paths: Sequence[str], groups: Sequence[str]) -> list[Path]:
    """The scripts to run: the given files and directories (with groups: of those directories), or the suite's.

    Raises SuiteMissing when a path or group does not exist or there is nothing to run.
    """
    roots = [Path(path) for path in paths]
    if not roots:
        suite = find_suite()
        if suite is None:
            raise SuiteMissing(
                "the official WebAssembly test suite was not found: give its path, or set "
                f"${ENVIRONMENT_VARIABLE} (the README names its public repository)"
            )
        roots = [suite]
    found: list[Path] = []
    for root in roots:
        if not root.exists():
            raise SuiteMissing(f"{root} does not exist")
        found += _below(root, groups)
    if not found:
        raise SuiteMissing(f"no .wast script in {', '.join(str(root) for root in roots)}")
    return found


def _below(root: Path, groups: Sequence[str]) -> list[Path]:
    if root.is_file():
        return [root]
    if not groups:
        return sorted(root.glob("*.wast"))
    table = _groups(root)
    names: list[str] = []
    for group in groups:
        if group not in table:
            raise SuiteMissing(f"no group {group!r} in {root / 'groups.json'}: it has {', '.join(sorted(table))}")
        names += table[group]
    missing = [name for name in names if not (root / name).is_file()]
    if missing:
        raise SuiteMissing(f"groups.json names files that {root} has not: {', '.join(missing)} (made for {REVISION[:12]})")
    return [root / name for name in dict.fromkeys(names)]


def _groups(root: Path) -> dict[str, list[str]]:
    """The directory's own groups.json; the public repository has none, there ours serves, made for REVISION."""
    path = root / "groups.json"
    if not path.exists():
        path = _OWN_GROUPS
    try:
        table = json.loads(path.read_text())
    except OSError as error:
        raise SuiteMissing(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise SuiteMissing(f"{path} is not JSON: {error}") from None
    if not isinstance(table, dict) or not all(isinstance(names, list) for names in table.values()):
        raise SuiteMissing(f"{path} is not an object of lists")
    return table
