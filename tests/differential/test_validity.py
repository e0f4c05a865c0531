"""Mutated modules are valid, or not, on both engines; long runs: ``python -m tests.differential.validity``."""

from __future__ import annotations

from .validity import campaign, disagreement, ours, theirs


def test_mutants_are_judged_alike() -> None:
    verdicts, found = campaign(0, 60)
    assert found == []
    assert verdicts["valid"] > 100
    assert verdicts["refused"] > 500


def test_the_judges_judge() -> None:
    empty = b"\0asm\1\0\0\0"
    assert ours(empty) == theirs(empty) == ""
    assert ours(empty + b"\1")
    assert theirs(empty + b"\1")
    assert disagreement(empty) is None
