"""A few hundred random programs on every configuration of our engine; long runs: ``python -m tests.differential``."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings

from tests import strategies

from .campaign import Campaign
from .compare import sandbox_subjects
from .tree import Program

CHUNK = 50


@pytest.mark.parametrize("first_seed", range(0, 300, CHUNK))
def test_seeded_programs_behave_as_on_the_second_engine(first_seed: int) -> None:
    campaign = Campaign(sandbox_subjects())
    for seed in range(first_seed, first_seed + CHUNK):
        finding = campaign.check(seed)
        assert finding is None, finding.script
    assert campaign.outcomes["results"] > CHUNK


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(strategies.programs())
def test_drawn_programs_behave_as_on_the_second_engine(program: Program) -> None:
    finding = Campaign(sandbox_subjects(), reduce=False).check_program(program)
    assert finding is None, finding.script


def test_every_seed_is_a_program_of_its_own() -> None:
    from .program import generate

    texts = {"".join(module.text() for module in generate(Random(seed)).modules) for seed in range(50)}
    assert len(texts) == 50
