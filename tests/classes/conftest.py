"""What tests of bug classes share: every way to execute a module, and a store for each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sandboxworker.store import Store

from .executors import EXECUTORS, Executor


@pytest.fixture(params=EXECUTORS, ids=str)
def executor(request: pytest.FixtureRequest) -> Executor:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def store(executor: Executor) -> Iterator[Store]:
    with executor.store() as made:
        yield made
