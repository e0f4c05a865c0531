"""Entry of the process roles: `python -m sandboxworker worker|spare|compile [--join=FILE …] [PATH …]`, descriptor 3 the lifeline.

The host starts this file by its path with `-I -S` and the import paths as arguments, which saves reading site-packages:
start-up is part of the time that a lost worker's plugins wait. FILE: cgroup.procs of a control group that the process joins first
of all; the host looks whether it did.
"""

from __future__ import annotations

import os
import sys

JOIN = "--join="


def main(arguments: list[str]) -> int:
    """Runs a role until it ends; the exit code is 0, 2 for wrong usage, 70 for an internal error."""
    role, paths = (arguments or [""])[0], [path for path in arguments[1:] if not path.startswith(JOIN)]
    if role not in ("worker", "spare", "compile"):
        sys.stderr.write("usage: python -m sandboxworker worker|spare|compile [--join=FILE ...] [PATH ...]\n"
                         "Started by sandboxhost, not by hand.\n")
        return 2
    for file in arguments[1:]:
        if file.startswith(JOIN):
            _join(file.removeprefix(JOIN))
    if not __package__:  # started by path: its folder is no package folder
        sys.path[:] = [path for path in sys.path if not path.endswith("sandboxworker")]
    sys.path[:0] = paths
    if role == "compile":
        from sandboxworker import compile_role

        return compile_role.run()
    from sandboxworker import loop

    return loop.run(spare=role == "spare")


def _join(file: str) -> None:
    try:
        fd = os.open(file, os.O_WRONLY)
        try:
            os.write(fd, b"0")
        finally:
            os.close(fd)
    except OSError:
        pass  # no reason not to start


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
