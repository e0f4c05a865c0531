"""Gets what a measurement needs: kernels, peers' packages, our extension; says so, and never leaves a contender out silently."""

from __future__ import annotations

import importlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.build import build_missing
from benchmarks.peers import PEERS

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ROOT / "build" / "benchmarks" / "packages"
"""Packages that the running Python does not have; only the measuring processes see them."""


class NotReady(Exception):
    """Something that the measurement needs cannot be had; the text says what and why."""


def worker_folder() -> Path:
    """Where the sandboxworker that would be imported here lies (another build of the core may be measured), else the tree's."""
    spec = importlib.util.find_spec("sandboxworker")
    found = spec and spec.submodule_search_locations
    return Path(next(iter(found))).parent if found else ROOT / "workers"


def environment() -> dict[str, str]:
    """The environment of the measuring processes: this tree first, the packages fetched here last."""
    paths = [str(ROOT), str(worker_folder()), *filter(None, [os.environ.get("PYTHONPATH")]), str(PACKAGES)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}


def importable(name: str) -> str:
    """Empty if the measuring processes can import the module, else the last line of what they say."""
    command = [sys.executable, "-c", f"import {name}"]
    done = subprocess.run(command, env=environment(), cwd=ROOT, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]


def say(text: str) -> None:
    """Talk goes to stderr; stdout is for results."""
    print(text, file=sys.stderr, flush=True)


def install(*packages: str) -> None:
    """Installs packages into `PACKAGES`. Raises NotReady."""
    say(f"installing {', '.join(packages)} into {PACKAGES.relative_to(ROOT)}")
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--target",
        str(PACKAGES),
        *packages,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotReady(f"{', '.join(packages)} could not be installed:\n{done.stderr.strip()}")


def prepare_ours() -> None:
    """Our run-time dependencies and the extension, built in place if it is not there. Raises NotReady."""
    if not importable("sandboxworker.engine"):
        return
    missing = [package for package, module in (("cffi", "cffi"), ("msgpack", "msgpack"), ("psutil", "psutil"), ("pyzmq", "zmq"),
                                               ("setuptools", "setuptools")) if importable(module)]  # fmt: skip
    if missing:
        install(*missing)
    say("building the native core")
    command = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    problem = importable("sandboxworker.engine")
    if done.returncode != 0 or problem:
        raise NotReady(f"the native core could not be built: {problem}\n{done.stderr.strip()}")


def prepare(peers: Sequence[str]) -> None:
    """Makes sure that every named peer and every kernel is there. Raises NotReady or BuildError."""
    for name in peers:
        if name == "ours":
            prepare_ours()
            continue
        peer = importlib.import_module(PEERS[name])
        module = {"pywasm3": "wasm3"}.get(peer.PACKAGE, peer.PACKAGE)
        if importable(module):
            install(peer.PACKAGE)
            problem = importable(module)
            if problem:
                raise NotReady(f"{peer.PACKAGE} was installed but cannot be imported: {problem}")
    built = build_missing()
    if built:
        say(f"built kernels: {', '.join(built)}")
