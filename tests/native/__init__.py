"""Tests of the core through the Python binding: binaries made by hand."""
