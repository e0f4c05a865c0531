"""Tests of the runner of .wast scripts: above all, that it fails when it should."""
