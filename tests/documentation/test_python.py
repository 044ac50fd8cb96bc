"""Every Python example of the README and the documentation runs, shortened where a comment says so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import EXTRAS
from tests.documentation.blocks import Block, blocks

pytestmark = pytest.mark.end_to_end


def extras(text: str) -> list[str]:
    """Return the extras whose packages or integration the text imports."""
    names = {name: (*packages, f"hadamax.integrations.{packages[0]}") for name, packages in EXTRAS.items()}
    return [
        name
        for name, modules in names.items()
        if any(re.search(rf"^(import|from) {re.escape(module)}\b", text, re.MULTILINE) for module in modules)
    ]


def example(block: Block) -> Any:
    return pytest.param(block, id=block.name, marks=[pytest.mark.extra(name) for name in extras(block.text)])


@pytest.mark.parametrize("block", [example(block) for block in blocks("python")])
def test_example_runs(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if block.skipped:
        pytest.skip(block.skipped)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "snippet"}
    exec(block.setup, names)
    exec(compile(block.text, block.name, "exec"), names)


def test_most_examples_are_tested() -> None:
    found = blocks("python")
    assert len(found) > 15
    assert sum(bool(block.skipped) for block in found) <= 2
