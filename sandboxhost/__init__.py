"""Runs untrusted WebAssembly plugins in worker processes. Names are loaded when first used: importing this costs nothing."""
from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import (
        CallError,
        Cancelled,
        DeadlineExceeded,
        DecodeError,
        ElementOffsetOutOfBounds,
        Frame,
        FuelExhausted,
        GuestExit,
        HostClosed,
        HostForked,
        HostFunctionError,
        InstantiationError,
        LimitExceeded,
        LinkError,
        Loss,
        ManifestError,
        MemoryLimit,
        ModuleError,
        Overloaded,
        PayloadTooLarge,
        ProtocolError,
        Quarantined,
        SandboxError,
        SignatureMismatch,
        StackLimit,
        Trap,
        UnknownFunction,
        ValidationError,
        WorkerError,
        WorkerLost,
        WorkerStartError,
    )
    from .grants import Grants
    from .host import Host
    from .limits import GroupLimits, Limits, ProcessLimits
    from .manifest import Manifest
    from .plugin import Completed, Outcome, Plugin
    from .statistics import CompileStatistics, HostStatistics, Latency, PluginStatistics, Usage, WorkerStatistics
    from .supervision import Supervision
    from .values import FunctionType, GlobalType, MemoryType, TableType, ValueType, externref, f32, f64, funcref, i32, i64

__version__ = "0.1.0"

__all__ = [
    "CallError", "Cancelled", "CompileStatistics", "Completed", "DeadlineExceeded", "DecodeError", "ElementOffsetOutOfBounds",
    "Frame", "FuelExhausted", "FunctionType", "GlobalType", "Grants", "GroupLimits", "GuestExit", "Host", "HostClosed",
    "HostForked", "HostFunctionError", "HostStatistics", "InstantiationError", "Latency", "LimitExceeded", "Limits",
    "LinkError", "Loss", "Manifest", "ManifestError", "MemoryLimit", "MemoryType", "ModuleError", "Outcome", "Overloaded",
    "PayloadTooLarge", "Plugin", "PluginStatistics", "ProcessLimits", "ProtocolError", "Quarantined", "SandboxError",
    "SignatureMismatch", "StackLimit", "Supervision", "TableType", "Trap", "UnknownFunction", "Usage", "ValidationError",
    "ValueType", "WorkerError", "WorkerLost", "WorkerStartError", "WorkerStatistics", "__version__", "externref", "f32",
    "f64", "funcref", "i32", "i64",
]

_HOME = {
    "errors": (
        "CallError", "Cancelled", "DeadlineExceeded", "DecodeError", "ElementOffsetOutOfBounds", "Frame", "FuelExhausted",
        "GuestExit", "HostClosed", "HostForked", "HostFunctionError", "InstantiationError", "LimitExceeded", "LinkError", "Loss",
        "ManifestError", "MemoryLimit", "ModuleError", "Overloaded", "PayloadTooLarge", "ProtocolError", "Quarantined",
        "SandboxError", "SignatureMismatch", "StackLimit", "Trap", "UnknownFunction", "ValidationError", "WorkerError",
        "WorkerLost", "WorkerStartError",
    ),
    "grants": (
        "Grants",
    ),
    "host": (
        "Host",
    ),
    "limits": (
        "GroupLimits", "Limits", "ProcessLimits",
    ),
    "manifest": (
        "Manifest",
    ),
    "plugin": (
        "Completed", "Outcome", "Plugin",
    ),
    "statistics": (
        "CompileStatistics", "HostStatistics", "Latency", "PluginStatistics", "Usage", "WorkerStatistics",
    ),
    "supervision": (
        "Supervision",
    ),
    "values": (
        "FunctionType", "GlobalType", "MemoryType", "TableType", "ValueType", "externref", "f32", "f64", "funcref", "i32",
        "i64",
    ),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}


def __getattr__(name: str) -> Any:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module 'sandboxhost' has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{module}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE_OF})
