"""The README's claims that a machine can check: its example runs, the files of its tour exist, its links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("source", EXAMPLES, ids=range(len(EXAMPLES)))
def test_the_examples_print_what_they_say(source: str) -> None:
    """What stands as a comment behind a print is the line that it prints."""
    wanted = re.findall(r"print\(.*\)  # (.+)$", source, re.MULTILINE)
    assert wanted
    done = subprocess.run([sys.executable, "-c", source], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout.splitlines(), done.returncode) == (wanted, 0), done.stderr


def test_the_tour_names_files_that_exist() -> None:
    tour = README.partition("## Tour")[2]
    names = [name for name in re.findall(r"`([\w./]+)`", tour) if "/" in name]
    assert len(names) > 8
    missing = [name for name in names if not (ROOT / name).exists()]
    assert not missing


def test_links_lead_to_files() -> None:
    pages = [ROOT / "README.md", ROOT / "plugins_example" / "README.md"]
    links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))]
    assert len(links) > 8
    missing = [f"{page.name}: {link}" for page, link in links if not (page.parent / link).exists()]
    assert not missing


def test_make_has_the_targets_that_the_readme_names() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"make (demo|test|real|sanitize|bench|plugins|clean)\b", README))
    assert {"demo", "test"} <= named <= targets
