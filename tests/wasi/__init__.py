"""Tests of WASI preview1: each function through real wasm code, and C programs against a real directory."""
