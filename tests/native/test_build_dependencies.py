"""The build command sees a change of a header alone: from what the compiler wrote down, not from names of ours."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from setuptools import Distribution, Extension

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source, a header that it includes, and the object of a build that ended after both."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(ROOT / "native"), *sys.path])
    monkeypatch.setenv("CC", "somecc")
    monkeypatch.delenv("SBX_BUILD", raising=False)
    objects = tmp_path / "build" / "native-somecc" / "native"
    objects.mkdir(parents=True)
    for name in ("one.c", "one.h"):
        (tmp_path / name).write_text("")
        os.utime(tmp_path / name, (1000, 1000))
    for name, text in (("one.o", ""), ("one.key", "the command"), ("one.d", "one.o: one.c \\\n one.h\n")):
        (objects / name).write_text(text)
        os.utime(objects / name, (2000, 2000))
    return objects


def test_an_object_is_made_again_when_a_header_is_newer(tree: Path) -> None:
    from build_ext import up_to_date

    assert up_to_date(tree / "one.o", "the command")
    assert not up_to_date(tree / "one.o", "another command")
    os.utime("one.h", (3000, 3000))
    assert not up_to_date(tree / "one.o", "the command")
    Path("one.h").unlink()
    assert not up_to_date(tree / "one.o", "the command")


def test_setuptools_is_told_of_the_headers(tree: Path) -> None:
    from build_ext import BuildExt

    assert (tree / "one.d").exists()
    extension = Extension("one", ["one.c"])
    command = BuildExt(Distribution({"name": "one", "ext_modules": [extension]}))
    command.ensure_finalized()
    assert extension.depends == ["one.c", "one.h"]
