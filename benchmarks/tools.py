"""The tools that sources are built with: how one is run, and how it is said that one is missing or refused."""

from __future__ import annotations

import importlib.util
import shlex
import subprocess
from collections.abc import Sequence


class BuildError(Exception):
    """A tool is missing, or refused a source; the text says which and what to do."""


def run_tool(command: Sequence[str]) -> str:
    """Runs a tool and gives its stdout; `BuildError` with the tool's own words if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BuildError(f"{shlex.join(command)} ended with {done.returncode}:\n{(done.stderr or done.stdout).strip()}")
    return done.stdout


def need_module(name: str, version: str) -> None:
    """`BuildError` unless the Python package is installed."""
    if importlib.util.find_spec(name) is None:
        raise BuildError(f"the Python package {name} is needed: pip install {name}=={version}")
