"""Tests of the two executors against each other, and of the checker over machine code."""
