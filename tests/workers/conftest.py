"""Fixtures of the worker's tests: a store that is closed after the test, a worker process that is gone after it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sandboxworker.engine import Engine
from sandboxworker.store import Store

from .driver import WorkerDriver


@pytest.fixture
def engine() -> Engine:
    """An engine of its own: nothing in its cache."""
    return Engine()


@pytest.fixture
def store(engine: Engine) -> Iterator[Store]:
    """A store of that engine."""
    with Store(engine) as made:
        yield made


@pytest.fixture(scope="module")
def shared_worker() -> Iterator[WorkerDriver]:
    """One worker with two threads for the tests of a file that leave it well."""
    driver = WorkerDriver()
    yield driver
    driver.close()


@pytest.fixture
def worker(shared_worker: WorkerDriver) -> WorkerDriver:
    """The shared worker with nothing unread."""
    assert not shared_worker.answers
    return shared_worker
