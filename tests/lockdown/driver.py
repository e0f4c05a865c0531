"""The process that the acts are made in: forks children that lock themselves down with the real bootstrap, then act on a thread.

Started by its path, its import paths as arguments. Reads one request a line (JSON), answers one line.
"""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import queue
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

sys.path[:] = [*sys.argv[1:], *(path for path in sys.path if not path.endswith("lockdown"))]

from sandboxhost.limits import ProcessLimits  # noqa: E402
from sandboxworker import bootstrap, native  # noqa: E402
from sandboxworker.watchdog import watchdog  # noqa: E402
from tests.lockdown.acts import ACTS, AT_FDCWD, Act, Scene, _to  # noqa: E402

LIFELINE = 3
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
page = mmap.mmap(-1, mmap.PAGESIZE)
address = ctypes.addressof(ctypes.c_char.from_buffer(page))
iovec = (ctypes.c_size_t * 2)(address, 8)


def system_call(number: int, arguments: tuple[Any, ...]) -> str:
    """The outcome: "ok" or the name of the error."""
    me = os.getpid()
    values = [ctypes.c_long(value) if isinstance(value, int) else ctypes.create_string_buffer(value) for value in arguments]
    result = libc.syscall(ctypes.c_long(number), *values)
    if os.getpid() != me:  # a fork that went well
        os._exit(0)
    return "ok" if result != -1 else errno.errorcode[ctypes.get_errno()]


def in_directory(request: dict[str, Any], directory: int) -> Act:
    """openat2 and others with the descriptor of the granted directory."""
    path, flags = request["path"].encode(), request.get("flags", 0)
    how = b"".join(value.to_bytes(8, sys.byteorder) for value in (flags, 0o600 if flags & os.O_CREAT else 0, 0))
    return {
        "openat2": Act("", 437, 437, _to(directory, path, how, 24)),
        "mkdirat": Act("", 258, 34, _to(directory, path, 0o700)),
        "mknodat": Act("", 259, 33, _to(directory, path, 0o10600, 0)),
        "anywhere": Act("", 437, 437, _to(AT_FDCWD, path, how, 24)),
    }[request["act"]]


def perform(request: dict[str, Any], directory: int) -> str:
    """On the thread that acts."""
    if request["act"] == "int 0x80":
        return "ok" if interrupt() > 0 else "no"
    act = in_directory(request, directory) if "path" in request else ACTS[request["act"]]
    scene = Scene(request["host"], address, ctypes.addressof(iovec))
    return system_call(act.number, act.arguments(scene))


class Interrupted:
    """In place of a call engine: what the watchdog's thread calls when a deadline has passed."""

    def __init__(self, action: Any) -> None:
        self.interrupt = action


def child(request: dict[str, Any]) -> NoReturn:
    """Locks itself down as the role does, acts, says what came of it."""
    lock_down = bootstrap.LockDown(bootstrap.isolate(LIFELINE), frozenset(request["without"]))
    grant = request.get("grant")
    directory = os.open(grant[0], os.O_RDONLY | os.O_DIRECTORY) if grant else -1
    lock_down.confine(ProcessLimits(), ((directory, grant[1]),) if grant else ())
    inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
    outbox: queue.SimpleQueue[str] = queue.SimpleQueue()

    def serve() -> None:
        native.enter_thread()
        outbox.put("up")
        inbox.get()()

    kind = request["kind"]
    if kind != "compile":
        watchdog.start()
        threading.Thread(target=serve, daemon=True).start()
        outbox.get()
    lock_down.seal("FILES" if grant else "COMPILE" if kind == "compile" else "WORKER")

    def action() -> None:
        try:
            outbox.put(perform(request, directory))
        except BaseException as exc:  # else nobody would hear of it
            outbox.put(repr(exc))

    if kind == "call":
        inbox.put(action)
    elif kind == "watchdog":
        engine: Any = Interrupted(action)
        watchdog.arm(engine, time.monotonic_ns())
    else:
        action()
    answer = {"outcome": outbox.get(), "level": lock_down.level, "missing": lock_down.missing}
    os.write(LIFELINE, json.dumps(answer).encode())
    os._exit(0)


def run(request: dict[str, Any]) -> dict[str, Any]:
    """One request in a child of its own."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(theirs.fileno(), LIFELINE)
            child(request)
        except BaseException as exc:
            os.write(2, f"{exc!r}\n".encode())
        finally:
            os._exit(70)
    theirs.close()
    said = b"".join(iter(lambda: ours.recv(65536), b""))
    ours.close()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if said:
        answer: dict[str, Any] = json.loads(said)
        return answer
    return {"outcome": signal.Signals(-code).name if code < 0 else f"exit code {code}"}


def make_interrupt() -> Any:
    """A function that makes a call of the 32-bit kind: getpid by int 0x80."""
    made = libc.mmap
    made.restype = ctypes.c_void_p
    code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    code[:8] = b"\xb8\x14\0\0\0\xcd\x80\xc3"
    at = ctypes.addressof(ctypes.c_char.from_buffer(code))
    libc.mprotect(ctypes.c_void_p(at), ctypes.c_size_t(mmap.PAGESIZE), 5)
    function = ctypes.CFUNCTYPE(ctypes.c_int)(at)
    function.code = code  # type: ignore[attr-defined]
    return function


interrupt = make_interrupt()

if __name__ == "__main__":
    assert Path(__file__).is_absolute()
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)
