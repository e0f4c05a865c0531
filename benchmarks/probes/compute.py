"""A kernel in one of the peers of `compute`: compilation, start-up and run apart.

Task: {peer, wasm, small_size, size, options}.
Answer: {version, compile, start, run, processor, small_result, result}: seconds, unsigned numbers. `processor` is the processor
time of the run, of all threads: on a machine with other work it moves less than the clock on the wall.
`start` holds the instantiation and a first small call, so that lazy work is not counted as running.
"""

from __future__ import annotations

import importlib
import time
from pathlib import Path
from typing import Any

from benchmarks.peers import PEERS


def measure(task: dict[str, Any]) -> dict[str, Any]:
    """Runs the task with the peer that it names."""
    peer = importlib.import_module(PEERS[task["peer"]])
    data = Path(task["wasm"]).read_bytes()
    version = peer.version()
    # What an engine imports is neither compilation nor start-up of the module: a first, tiny module pays for it.
    peer.compile(b"\0asm\1\0\0\0", task["options"])
    begin = time.perf_counter()
    compiled = peer.compile(data, task["options"])
    ready = time.perf_counter()
    run = peer.start(compiled)
    small_result = run(task["small_size"])
    started, processor_started = time.perf_counter(), time.process_time()
    result = run(task["size"])
    done, processor_done = time.perf_counter(), time.process_time()
    return {
        "version": version, "compile": ready - begin, "start": started - ready, "run": done - started,
        "processor": processor_done - processor_started,
        "small_result": small_result, "result": result,
    }  # fmt: skip
