"""The contenders: one module each; each measurement runs in a fresh process (child.py).

A peer module offers
    PACKAGE: str                                      what to install, as pip names it ("" for our own)
    version() -> str                                  release and build, for the report
    compile(data: bytes, options: Mapping) -> Any     bytes to whatever the engine calls compiled
    start(compiled) -> Callable[[int], int]           a fresh instance's export `run`; its result as an unsigned 64-bit number
"""

from __future__ import annotations

PEERS = {"ours": "benchmarks.peers.ours", "wasm3": "benchmarks.peers.pywasm3", "wasmtime": "benchmarks.peers.wasmtime_py"}
"""Name on the command line -> module."""
