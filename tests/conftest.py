"""What all tests share: the repository's folder, and how hypothesis works here."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A shell without job control starts background jobs with SIGINT ignored, and a test run of those would never see an interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


ROOT = Path(__file__).resolve().parent.parent

# A machine under load, or a sanitizer build, is no reason to fail, hence no deadline.
settings.register_profile(
    "default",
    deadline=None,
    max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", "100")),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("default")


def own_temporary_directory() -> None:
    """What this run's hosts leave in the file system is told from what others do on the same machine."""
    place = tempfile.mkdtemp(prefix="sbx-")
    os.chmod(place, 0o711)  # workers that have left root pass through it
    os.environ["TMPDIR"] = tempfile.tempdir = place
    mine = os.getpid()
    atexit.register(lambda: os.getpid() == mine and shutil.rmtree(place, ignore_errors=True))


own_temporary_directory()


def set_default_tier(tier: str) -> None:
    """What engines and hosts run that are not told; `make test` runs some folders once more with the other executor."""
    from sandboxhost.engine import Engine as HostEngine
    from sandboxhost.host import Host
    from sandboxhost.options import TIERS
    from sandboxworker.engine import Engine

    if tier not in TIERS:
        raise pytest.UsageError(f"SANDBOXHOST_TIER: unknown tier {tier!r}; known are {', '.join(TIERS)}")
    for cls in (HostEngine, Engine):
        values = cls.__init__.__defaults__ or ()
        assert values.count("auto") == 1
        cls.__init__.__defaults__ = tuple(tier if value == "auto" else value for value in values)  # type: ignore[misc,unused-ignore]
    names = Host.__init__.__kwdefaults__ or {}
    assert names["tier"] == "auto"
    names["tier"] = tier


if TIER := os.environ.get("SANDBOXHOST_TIER"):
    set_default_tier(TIER)


@pytest.fixture
def root() -> Path:
    """The repository's folder."""
    return ROOT
