"""Builds the fuzz targets and the observer's library out of the core's sources: with clang and libFuzzer, or as plain programs.

Objects are kept in a folder for each kind of build and reused; a bug that is planted in a copy of the tree recompiles one file.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGETS = ("decode", "tiers", "image")
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer", "-g1")
COMMON = (
    "-std=gnu11", "-pthread", "-fno-strict-aliasing", "-fwrapv", "-ffp-contract=off", "-fcf-protection=none", "-fPIC",
    "-fvisibility=hidden", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror",
)  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """A way to build. ``core`` are flags of the core's files but the interpreter's, which stays what is shipped."""

    name: str
    compiler: str
    core: tuple[str, ...]
    own: tuple[str, ...]
    link: tuple[str, ...]
    interpreter: tuple[str, ...] = ("-O2", "-DNDEBUG", "-fno-stack-protector")


FUZZER = Kind(
    "fuzzer", "clang", ("-O1", *SANITIZERS, "-fsanitize=fuzzer-no-link"), ("-O1", *SANITIZERS),
    ("-fsanitize=fuzzer,address,undefined",),
)  # fmt: skip
PLAIN = Kind("plain", os.environ.get("CC", "cc"), ("-O2", "-DNDEBUG"), ("-O2",), ())
# Here the interpreter is the portable loop, sanitized like the rest.
SANITIZED = Kind("sanitized", "gcc", ("-O1", *SANITIZERS), ("-O1", *SANITIZERS), SANITIZERS[:1], ("-O1", *SANITIZERS))


class BuildError(Exception):
    """The compiler's words."""


@cache
def libfuzzer_found() -> bool:
    """Whether libFuzzer targets can be built here: clang's run-time libraries may be a package apart."""
    program = b"int LLVMFuzzerTestOneInput(const char *d, long n) { return d && n < 0; }"
    command = ["clang", "-x", "c", "-", *FUZZER.link, "-o", os.devnull]
    if shutil.which("clang") is None:
        return False
    return subprocess.run(command, input=program, capture_output=True, check=False).returncode == 0


def _compile(command: Sequence[str], root: Path) -> None:
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"{' '.join(command)}\n{done.stderr[-4000:]}")


def _newest(files: Sequence[Path]) -> float:
    return max((path.stat().st_mtime for path in files), default=0.0)


class Builder:
    """Builds from the tree at ``root`` into its build/fuzz/KIND. Paths are relative to the tree: a copy of it is like it."""

    def __init__(self, kind: Kind, root: Path = ROOT) -> None:
        self.kind = kind
        self.root = root
        self.place = root / "build" / "fuzz" / kind.name
        self._folders = [Path("native", name) for name in ("src", "wasi", "generated")]
        self._own = Path("tests", "fuzz", "native")
        self._includes = [f"-I{folder}" for folder in (Path("native", "include"), *self._folders, self._own)]

    def target(self, name: str) -> Path:
        """A fuzz target: a libFuzzer program, or one that replays files."""
        parts = ["bytes", "walk", "smith", "smith_body", "mutate", "alike", f"target_{name}"]
        if name == "tiers":
            parts.append("observe")
        if name != "image":
            parts.append("mutator")
        if self.kind is not FUZZER:
            parts.append("replay")
        return self._link(name, [], self._objects(parts))

    def library(self) -> Path:
        """The observer as a shared library, for the comparison with another engine."""
        parts = ["bytes", "walk", "smith", "smith_body", "mutate", "alike", "canonical", "observe", "library"]
        return self._link("libobserve.so", ["-shared"], self._objects(parts))

    def _objects(self, parts: Sequence[str]) -> list[Path]:
        self.place.mkdir(parents=True, exist_ok=True)
        generator = self.root / "native" / "ops" / "generate.py"
        subprocess.run([sys.executable, str(generator), str(self.root / "native" / "generated")], check=True)
        core = [folder / path.name for folder in self._folders for path in sorted((self.root / folder).glob("*.c"))]
        own = [self._own / f"{part}.c" for part in parts]
        with ThreadPoolExecutor(int(os.environ.get("SBX_JOBS", 0)) or os.cpu_count()) as pool:
            return list(pool.map(self._object, [*core, *own]))

    def _object(self, source: Path) -> Path:
        flags = self.kind.own if source.parent == self._own else self.kind.core
        if source.name.startswith("interp"):
            flags = self.kind.interpreter
        out = self.place / f"{source.parent.name}_{source.stem}.o"
        compiler = [self.kind.compiler, *COMMON, *flags, *self._includes]
        command = [*compiler, "-c", str(source), "-o", str(out.relative_to(self.root))]
        record, key = out.with_suffix(".d"), out.with_suffix(".key")
        wanted = hashlib.sha256(repr(command).encode()).hexdigest()
        if out.exists() and record.exists() and key.exists() and key.read_text() == wanted:
            names = record.read_text().replace("\\\n", " ").partition(":")[2].split()
            files = [self.root / name for name in names]
            if all(path.exists() for path in files) and _newest(files) <= out.stat().st_mtime:
                return out
        key.unlink(missing_ok=True)
        _compile([*command, "-MMD", "-MF", str(record.relative_to(self.root))], self.root)
        key.write_text(wanted)
        return out

    def _link(self, name: str, flags: Sequence[str], objects: Sequence[Path]) -> Path:
        out = self.place / name
        if not out.exists() or _newest(objects) > out.stat().st_mtime:
            link = [self.kind.compiler, "-pthread", *flags, *self.kind.link]
            _compile([*link, *map(str, objects), "-lm", "-o", str(out)], self.root)
        return out
