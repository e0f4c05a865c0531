"""`python -m benchmarks.probes MODULE`: one measurement; the task in JSON on stdin, the answer in JSON on stdout."""

from __future__ import annotations

import importlib
import json
import os
import sys

from benchmarks.probes import common

if __name__ == "__main__":
    # Stdout is the answer's alone: whatever else is printed in this process goes to stderr.
    answer = os.dup(1)
    os.dup2(2, 1)
    task = json.load(sys.stdin)
    common.seconds = task.get("seconds", common.seconds)
    done = importlib.import_module(f"benchmarks.probes.{sys.argv[1]}").measure(task)
    with os.fdopen(answer, "w") as stream:
        json.dump(done, stream)
