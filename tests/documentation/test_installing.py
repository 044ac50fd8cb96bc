"""Installation is shown from a clone: the name on PyPI belongs to another project."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.documentation.blocks import PAGES, ROOT

BY_NAME = re.compile(r"pip3? install [^\n`]*?(?<![\w./-])hadamax\b")
FILES = [*PAGES, *sorted((ROOT / "examples").glob("*.py"))]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_page_installs_the_other_project(path: Path) -> None:
    found = BY_NAME.findall(path.read_text())
    if path == ROOT / "docs" / "install.md":  # which says whose it is
        assert len(found) == 2
    else:
        assert found == []


@pytest.mark.parametrize("path", sorted((ROOT / "src").rglob("*.py")), ids=lambda path: path.name)
def test_no_message_does(path: Path) -> None:
    """An extra of this one, which is installed where its message is read, pip finds here."""
    assert re.findall(BY_NAME.pattern + r"(?!\[)", path.read_text()) == []


def test_a_name_is_told_from_a_path() -> None:
    assert BY_NAME.search("pip install 'hadamax[ray]'")
    assert BY_NAME.search("pip install --upgrade hadamax")
    assert not BY_NAME.search("pip install '/path/to/hadamax[ray]'")
