"""Extras are imported only where they are used; a missing one is a one-line error."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

CASES = [
    ("hadamax.integrations.flax", "flax", "hadamax-rl[flax]"),
    ("hadamax.integrations.flax", "jax", "hadamax-rl[flax]"),
    ("hadamax.integrations.flax_diagnostics", "flax", "hadamax-rl[flax]"),
    ("hadamax.integrations.stable_baselines3", "stable_baselines3", "hadamax-rl[sb3]"),
    ("hadamax.integrations.torchrl", "tensordict", "hadamax-rl[torchrl]"),
]


@pytest.mark.parametrize(("module", "package", "mend"), CASES)
def test_missing_extra_names_the_install_command(
    module: str, package: str, mend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(sys.modules):
        if name.startswith("hadamax.integrations.") or name == package or name.startswith(f"{package}."):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModuleNotFoundError) as caught:
        importlib.import_module(module)
    assert str(caught.value).endswith(f"is not installed: pip install '{mend}'")
    assert "\n" not in str(caught.value)


def test_extras_are_not_imported_by_default() -> None:
    code = (
        "import sys, hadamax, hadamax.integrations.flax_weights; "
        "print([name for name in ('jax', 'flax', 'stable_baselines3', 'torchrl') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
