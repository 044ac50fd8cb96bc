"""What docs/integrations.md shows runs as it is written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "integrations.md"
SNIPPETS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
EXTRAS = {"stable_baselines3": "sb3", "jax": "flax", "torchrl": "torchrl"}


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_a_snippet_runs(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package, extra in EXTRAS.items():
        if re.search(rf"^(import|from) {package}\b", SNIPPETS[number], re.MULTILINE):
            pytest.importorskip(package, reason=f"needs the extra: pip install 'hadamax[{extra}]'")
    monkeypatch.chdir(tmp_path)
    exec(compile(SNIPPETS[number], str(PAGE), "exec"), {"__name__": "snippet"})


def test_there_are_snippets() -> None:
    assert len(SNIPPETS) == 6
