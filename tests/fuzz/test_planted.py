"""The planted bugs still apply, as their patches say. Whether they are found: ``python -m tests.fuzz.planted``."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from .build import ROOT
from .planted import BUGS, changed, hunks, plant

PATCHES = sorted(BUGS.glob("*.patch"))


def test_there_are_twelve_bugs_or_more() -> None:
    assert len(PATCHES) >= 12


@pytest.mark.parametrize("bug", PATCHES, ids=lambda path: path.stem)
def test_a_bug_still_applies(bug: Path, tmp_path: Path) -> None:
    """If this fails the code that the bug is planted in has changed: make the patch anew."""
    for file in {hunk.file for hunk in hunks(bug.read_text())}:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / file, tmp_path / file)
    files = plant(bug, tmp_path)
    assert files
    for path in files:
        before, after = (ROOT / path.relative_to(tmp_path)).read_text(), path.read_text()
        assert before != after
        assert abs(len(before.splitlines()) - len(after.splitlines())) <= 3


def test_a_hunk_needs_its_lines_once() -> None:
    (hunk,) = hunks("--- a/x.c\n+++ b/x.c\n@@ -1,2 +1,2 @@\n one;\n-two;\n+three;\n")
    assert hunk.file == "x.c"
    assert changed(hunk, "zero;\n    one;\n    two;\nfour;\n") == "zero;\none;\nthree;\nfour;\n"
    assert changed(hunk, "one;\ntwo;\none;\ntwo;\n") is None
    assert changed(hunk, "one;\n") is None
