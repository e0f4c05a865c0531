"""End to end: a host, real worker processes, real modules."""
