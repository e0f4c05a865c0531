"""Rebuilds the programs: python -m tests.wasi.programs.build (needs the package ziglang)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> None:
    for source in sorted(HERE.glob("*.c")):
        command = [sys.executable, "-m", "ziglang", "cc", "-target", "wasm32-wasi", "-Os", "-s"]
        subprocess.run([*command, source.name, "-o", source.with_suffix(".wasm").name], check=True, cwd=HERE)


if __name__ == "__main__":
    main()
