"""Hypothesis strategies: values of each type as raw bits, and whole programs, both shrinking towards the simple."""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import strategies as st

from .differential import ops
from .differential.program import generate
from .differential.tree import Program

NUMBERS = ops.NUMBERS


def raw_values(value_type: str) -> st.SearchStrategy[int]:
    """Raw bits of a number: edge cases and anything."""
    width = int(value_type[1:])
    edges = st.builds(lambda seed: ops.bits(Random(seed), value_type), st.integers(0, 1000))
    return st.one_of(st.integers(0, (1 << width) - 1), edges)


def argument_lists(types: tuple[str, ...]) -> st.SearchStrategy[tuple[Any, ...]]:
    """One raw value a type."""
    return st.tuples(*(raw_values(value_type) for value_type in types))


def programs() -> st.SearchStrategy[Program]:
    """Random programs; hypothesis owns the randomness and so can shrink it."""
    return st.randoms(use_true_random=False).map(generate)
