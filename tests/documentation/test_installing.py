"""Installation names the distribution `hadamax-rl`: `hadamax` on PyPI belongs to another project."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.documentation.blocks import PAGES, ROOT

OTHER_PROJECT = re.compile(r"pip3? install [^\n`]*?(?<![\w./-])hadamax(?!-rl)\b")
FILES = [*PAGES, *sorted((ROOT / "examples").glob("*.py")), *sorted((ROOT / "src").rglob("*.py"))]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_nothing_installs_the_other_project(path: Path) -> None:
    assert OTHER_PROJECT.findall(path.read_text()) == []


def test_pattern_matches_the_other_project_only() -> None:
    assert OTHER_PROJECT.search("pip install 'hadamax[ray]'")
    assert OTHER_PROJECT.search("pip install --upgrade hadamax")
    assert not OTHER_PROJECT.search("pip install 'hadamax-rl[ray]'")
    assert not OTHER_PROJECT.search("pip install '/path/to/hadamax[ray]'")
