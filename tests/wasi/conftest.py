"""A guest of each name, and a directory with something in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .guest import BOTH, Guest


@pytest.fixture(params=BOTH)
def guest(request: pytest.FixtureRequest) -> Iterator[Guest]:
    """A guest with no grants, once under each name of preview1."""
    with Guest(request.param) as made:
        yield made


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory to grant, beside a secret that must not be reached:

    secret · outside/ · granted/{file, sub/{inner}, empty/, to_file → file, to_sub → sub, dangling → nowhere, loop → loop,
    up → .., out → ../secret, absolute → the secret's full path, out_dir → ../outside}
    """
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "outside").mkdir()
    granted = tmp_path / "granted"
    (granted / "sub").mkdir(parents=True)
    (granted / "empty").mkdir()
    (granted / "file").write_bytes(b"0123456789")
    (granted / "sub" / "inner").write_bytes(b"inner")
    links = {
        "to_file": "file", "to_sub": "sub", "dangling": "nowhere", "loop": "loop", "up": "..", "out": "../secret",
        "absolute": str(tmp_path / "secret"), "out_dir": "../outside",
    }  # fmt: skip
    for name, target in links.items():
        (granted / name).symlink_to(target)
    return granted
