"""Decode, validate and compile in our core: the call of sbx_compile alone, on one thread."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.peers import ours
from benchmarks.probes.common import Answer, module_bytes

REPEATS = 3


def measure(task: dict[str, Any]) -> Answer:
    """Figures: MB/s of code section, in processor time and by the clock (best of a few), and what comes out per byte of wasm."""
    from sandboxworker import native
    from sandboxworker.engine import Engine
    from sandboxworker.image import Image

    data = module_bytes(task)
    options = Engine(tier=task.get("tier", "auto"), metered=bool(task.get("metered"))).options
    processor, clock = [], []
    for _ in range(REPEATS):
        began, began_processor = time.perf_counter(), time.thread_time()
        made = native.compile_bytes(data, options)
        processor.append(time.thread_time() - began_processor)
        clock.append(time.perf_counter() - began)
    image = Image.from_bytes(made)
    code = image.code_section_bytes
    # Machine code where there is any, else the interpreter's; per byte of the code section, which it is made from.
    _, machine = native.machine_section(image.pointer)
    interpreted = 2 * sum(function.code_units for function in native.image_records(image.pointer, "functions"))
    return {
        "version": ours.version(),
        "figures": {
            "speed, processor time": (code / min(processor) / 1e6, "MB/s"), "speed, clock": (code / min(clock) / 1e6, "MB/s"),
            "code made, per byte of code section": ((machine or interpreted) / code, "B/B"),
            "image, per byte of module": (image.size / len(data), "B/B"),
        },
        "executor": "compiled" if machine else "interpreter", "code_section_bytes": code,
    }  # fmt: skip
