"""What the fuzzers found once: every module in regressions/ is judged and run by both tiers, on whatever build runs the tests."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from sandboxhost.errors import LimitExceeded, ModuleError, ValidationError
from sandboxworker import native
from tests import builder
from tests.differential.tiers import MODES, TierCampaign
from tests.differential.tree import Invocation
from tests.differential.validity import disagreement

FOLDER = Path(__file__).parent / "regressions"
MODULES = sorted(FOLDER.glob("*.wasm"))


@cache
def campaign() -> TierCampaign:
    """Its engines and stacks serve all."""
    return TierCampaign()


def exported_functions(data: bytes) -> list[str]:
    """Names of the functions that a valid module exports."""
    import wasmtime

    return [e.name for e in wasmtime.Module(wasmtime.Engine(), data).exports if isinstance(e.type, wasmtime.FuncType)]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_module_that_was_found_is_treated_alike(path: Path) -> None:
    data = path.read_bytes()
    assert disagreement(data) is None
    try:
        native.compile_bytes(data, native.CompileOptions(0))
    except (ModuleError, LimitExceeded):
        return
    calls = [Invocation(0, name, ()) for name in exported_functions(data)]
    for mode in MODES:
        if mode.metered:  # an old find may loop
            assert campaign()._differs(mode, [data], calls)[0] is None


def test_there_are_regressions() -> None:
    assert MODULES


@pytest.mark.parametrize("index", [1, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF])
def test_a_block_type_beyond_the_types_is_unknown(index: int) -> None:
    """2^32 - 1 was taken for the block type without parameters and results."""
    body = builder.BLOCK + builder.signed(index) + builder.END + builder.END
    with pytest.raises(ValidationError, match=f"unknown type {index}"):
        native.compile_bytes(builder.one_function(body), native.CompileOptions(0))
