"""C programs of the tests, built for WASI."""
