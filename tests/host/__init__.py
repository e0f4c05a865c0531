"""Tests of sandboxhost's modules that need no process."""
