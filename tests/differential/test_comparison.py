"""The comparison itself: it accepts an engine that agrees, finds a planted fault and cuts the program down to it."""

from __future__ import annotations

from random import Random

import pytest

from .campaign import Campaign
from .compare import OracleSubject, OutOfFuel, difference, observe
from .program import generate
from .reduce import Reducer, assemble
from .tree import Node, Program


def _planted(program: Program, oracle: OracleSubject) -> str | None:
    """The difference against an engine that takes rotl for rotr."""
    binaries = assemble(program)
    if binaries is None:
        return None
    try:
        right = observe(program, binaries, oracle)
        for tree in program.modules:
            for function in tree.functions:
                _rename(function.body, "i32.rotl", "i32.rotr")
        return difference(right, observe(program, assemble(program) or [], oracle))
    except OutOfFuel:
        return None
    finally:
        for tree in program.modules:
            for function in tree.functions:
                _rename(function.body, "i32.rotr", "i32.rotl")


def _rename(nodes: list[Node], old: str, new: str) -> None:
    for node in nodes:
        if node.op == old:
            node.op = new
        _rename(node.operands, old, new)
        for body in node.bodies:
            _rename(body, old, new)


def test_generated_programs_are_valid_and_mostly_run() -> None:
    campaign = Campaign({"itself": OracleSubject()})
    for seed in range(40):
        assert campaign.check(seed) is None
    ran = campaign.outcomes["results"]
    assert ran > 0.6 * campaign.outcomes.total(), campaign.outcomes
    assert sum(1 for outcome in campaign.outcomes if outcome.startswith("trap: ")) >= 3, campaign.outcomes


def test_the_same_seed_makes_the_same_program() -> None:
    first, second = generate(Random(7)), generate(Random(7))
    assert [module.text() for module in first.modules] == [module.text() for module in second.modules]
    assert first.calls == second.calls


@pytest.mark.timeout(300)
def test_a_planted_fault_is_found_and_reduced() -> None:
    oracle = OracleSubject()
    for seed in range(200):
        program = generate(Random(seed))
        for tree in program.modules:
            for function in tree.functions:
                _rename(function.body, "i32.rotr", "i32.rotl")
        if _planted(program, oracle) is not None:
            break
    else:
        pytest.fail("no program of 200 shows that rotl is rotr")
    before = sum(len(module.text().splitlines()) for module in program.modules)
    Reducer(program, lambda candidate: _planted(candidate, oracle) is not None, attempts=400).run()
    after = "".join(module.text() for module in program.modules)
    assert "i32.rotl" in after
    assert len(after.splitlines()) < before / 3
