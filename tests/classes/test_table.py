"""The table of bug classes: each has a test, which is there, is named after it, and is not skipped."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import pytest

from .table import CLASSES, functions, slug


@pytest.mark.parametrize("name", [name for area in CLASSES.values() for name in area])
def test_every_class_has_a_test_named_after_it(name: str) -> None:
    mine = [(module, function) for class_, module, function in functions() if class_ == name]
    assert any(slug(name) in function for _, function in mine), f"none of {mine} is named after {name!r}"
    for module, function in mine:
        imported = importlib.import_module(module)
        found = getattr(imported, function, None)
        assert inspect.isfunction(found), f"{module}: no test {function} any more"
        assert function.startswith("test_") and module.rpartition(".")[2].startswith("test_"), "what pytest would not collect"
        assert Path(inspect.getfile(found)).name == f"{module.rpartition('.')[2]}.py", "another file's"
        marks = [*getattr(imported, "pytestmark", []), *getattr(found, "pytestmark", [])]
        assert not [mark.name for mark in marks if mark.name in ("skip", "skipif", "xfail", "real")]


def test_every_test_of_this_folder_belongs_to_a_class() -> None:
    listed = {(module, function) for _, module, function in functions()}
    assert len(listed) == len(functions()), "one is listed twice"
    for path in Path(__file__).parent.glob("test_*.py"):
        if path.stem == "test_table":
            continue
        module = importlib.import_module(f"tests.classes.{path.stem}")
        own = {name for name, value in vars(module).items() if name.startswith("test_") and inspect.isfunction(value)}
        assert {(module.__name__, name) for name in own} <= listed
