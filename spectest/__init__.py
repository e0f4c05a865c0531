"""Runner for the official WebAssembly test suite and any other .wast script, on sandboxworker's engine."""
