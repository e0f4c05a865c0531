"""What `import sandboxhost` offers: pinned, complete, loaded only when used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import sandboxhost

NAMES = [
    "CallError",
    "Cancelled",
    "CompileStatistics",
    "Completed",
    "DeadlineExceeded",
    "DecodeError",
    "ElementOffsetOutOfBounds",
    "Frame",
    "FuelExhausted",
    "FunctionType",
    "GlobalType",
    "Grants",
    "GroupLimits",
    "GuestExit",
    "Host",
    "HostClosed",
    "HostForked",
    "HostFunctionError",
    "HostStatistics",
    "InstantiationError",
    "Latency",
    "LimitExceeded",
    "Limits",
    "LinkError",
    "Loss",
    "Manifest",
    "ManifestError",
    "MemoryLimit",
    "MemoryType",
    "ModuleError",
    "Outcome",
    "Overloaded",
    "PayloadTooLarge",
    "Plugin",
    "PluginStatistics",
    "ProcessLimits",
    "ProtocolError",
    "Quarantined",
    "SandboxError",
    "SignatureMismatch",
    "StackLimit",
    "Supervision",
    "TableType",
    "Trap",
    "UnknownFunction",
    "Usage",
    "ValidationError",
    "ValueType",
    "WorkerError",
    "WorkerLost",
    "WorkerStartError",
    "WorkerStatistics",
    "__version__",
    "externref",
    "f32",
    "f64",
    "funcref",
    "i32",
    "i64",
]


def test_all_is_pinned() -> None:
    assert sorted(sandboxhost.__all__) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_there(name: str) -> None:
    assert getattr(sandboxhost, name) is not None and name in dir(sandboxhost)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Hosst'"):
        _ = sandboxhost.Hosst


@pytest.mark.parametrize(
    ("statement", "forbidden"),
    [
        ("import sandboxhost", ["zmq", "msgpack", "sandboxhost.host", "sandboxworker"]),
        (
            "from sandboxhost import Host, Limits; import sandboxhost.cli, sandboxhost.core",
            ["sandboxworker", "_cffi_backend", "asyncio"],
        ),
    ],
)
def test_importing_loads_no_more_than_needed(statement: str, forbidden: list[str]) -> None:
    code = f"{statement}; import sys; print([n for n in {forbidden!r} if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": ":".join(sys.path)}
    )
    assert done.stdout.strip() == "[]"
