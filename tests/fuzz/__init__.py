"""Fuzzing: libFuzzer targets, the comparison with a second engine at speed, planted bugs, regressions."""
