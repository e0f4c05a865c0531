"""A WASI command by a command line: the time from its start to its end, whatever it caches by itself."""

from __future__ import annotations

import subprocess
import time
from typing import Any

from benchmarks.probes.common import Answer


def measure(task: dict[str, Any]) -> Answer:
    """Figure: whole process."""
    began = time.perf_counter()
    done = subprocess.run(task["command"], input=task["stdin"].encode(), capture_output=True, check=False)
    seconds = time.perf_counter() - began
    return {
        "version": " ".join(task["command"]), "figures": {"whole process": (seconds, "s")},
        "stdout": done.stdout.decode("utf-8", "replace"), "exit_code": done.returncode, "same_again": True,
        "stderr": done.stderr.decode("utf-8", "replace")[-2000:],
    }  # fmt: skip
