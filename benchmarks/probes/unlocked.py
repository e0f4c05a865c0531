"""A worker's entry without any layer of the lock-down, to be measured against; started by path in place of the worker's own."""

from __future__ import annotations

import sys
from functools import partial


def main(arguments: list[str]) -> int:
    """As sandboxworker's."""
    sys.path[:0] = arguments[1:]
    from sandboxhost.options import LAYERS
    from sandboxworker import __main__ as entry
    from sandboxworker import bootstrap

    bootstrap.LockDown = partial(bootstrap.LockDown, without=frozenset(LAYERS))  # type: ignore[assignment,misc]
    return entry.main(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
