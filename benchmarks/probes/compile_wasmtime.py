"""wasmtime's compilation on one thread: its module, and what it serializes to."""

from __future__ import annotations

import time
from typing import Any

import wasmtime

from benchmarks.peers import wasmtime_py
from benchmarks.probes.common import Answer, module_bytes

CODE_SECTION = 10


def measure(task: dict[str, Any]) -> Answer:
    """Figures as of compile_ours, where wasmtime tells them."""
    data = module_bytes(task)
    config = wasmtime.Config()
    config.parallel_compilation = False
    engine = wasmtime.Engine(config)
    began, began_processor = time.perf_counter(), time.process_time()
    module = wasmtime.Module(engine, data)
    processor, clock = time.process_time() - began_processor, time.perf_counter() - began
    code = code_section_bytes(data)
    return {
        "version": wasmtime_py.version(),
        "figures": {
            "speed, processor time": (code / processor / 1e6, "MB/s"), "speed, clock": (code / clock / 1e6, "MB/s"),
            "image, per byte of module": (len(module.serialize()) / len(data), "B/B"),
        },
        "code_section_bytes": code,
    }  # fmt: skip


def code_section_bytes(data: bytes) -> int:
    """Length of the code section's contents."""
    offset = 8
    while offset < len(data):
        number, length, shift, offset = data[offset], 0, 0, offset + 1
        while True:
            byte = data[offset]
            offset += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        if number == CODE_SECTION:
            return length
        offset += length
    return 0
