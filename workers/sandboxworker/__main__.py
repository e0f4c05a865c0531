"""Entry of the process roles: `python -m sandboxworker worker|spare|compile [PATH …]`, descriptor 3 the lifeline.

The host starts this file by its path with `-I -S` and the import paths as arguments, which saves reading site-packages:
start-up is part of the time that a lost worker's plugins wait.
"""

from __future__ import annotations

import sys


def main(arguments: list[str]) -> int:
    """Runs a role until it ends; the exit code is 0, 2 for wrong usage, 70 for an internal error."""
    role, paths = (arguments or [""])[0], arguments[1:]
    if role not in ("worker", "spare", "compile"):
        sys.stderr.write("usage: python -m sandboxworker worker|spare|compile [PATH ...]\nStarted by sandboxhost, not by hand.\n")
        return 2
    if not __package__:  # started by path: its folder is no package folder
        sys.path[:] = [path for path in sys.path if not path.endswith("sandboxworker")]
    sys.path[:0] = paths
    if role == "compile":
        from sandboxworker import compile_role

        return compile_role.run()
    from sandboxworker import loop

    return loop.run(spare=role == "spare")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
