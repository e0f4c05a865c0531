"""`python -m tests.official [OPTION …]`: the official WebAssembly suite's core group, or words that say it was not found.

With SPECTEST_REQUIRED=1 a missing suite is a failure. Options are passed to `python -m spectest`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from spectest.suite import REVISION, SuiteMissing, find_suite

NOT_RUN = """\
*** The official WebAssembly test suite was NOT found, so it was NOT run; the tests above are this repository's own.
*** To run it: clone its public repository (WebAssembly/testsuite on GitHub), check out its commit
*** {revision}, and name the folder in $WASM_TESTSUITE."""


def main(options: Sequence[str]) -> int:
    """0: passed, or not there and not required. 1: failed, or required and not there."""
    required = os.environ.get("SPECTEST_REQUIRED") == "1"
    try:
        suite = find_suite()
    except SuiteMissing as error:
        print(error, file=sys.stderr)
        return 1
    if suite is None:
        print(NOT_RUN.format(revision=REVISION), file=sys.stderr)
        if required:
            print("*** SPECTEST_REQUIRED=1: this is a failure.", file=sys.stderr)
        return 1 if required else 0
    from spectest.__main__ import main as run

    return run(["--group", "core", *options])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
