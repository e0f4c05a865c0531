"""The hardened mode of the application's own process: no core dump, no look from outside by the same user."""
from __future__ import annotations

import ctypes
import os
import resource

from .errors import WorkerError

__all__ = ["harden"]

_PR_SET_DUMPABLE = 4


def harden() -> None:
    """For the whole process, until it ends or executes another program (prctl(2), PR_SET_DUMPABLE; setrlimit(2), RLIMIT_CORE).

    A worker that has escaped every layer and runs as the same user can then neither trace this process nor read its memory
    through /proc, and what it holds goes into no core file. The price: debuggers and profilers of that user cannot attach, and
    /proc/self belongs to root. Raises WorkerError: the system refuses.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise WorkerError(f"the hardened mode cannot be had: {os.strerror(ctypes.get_errno())}")
