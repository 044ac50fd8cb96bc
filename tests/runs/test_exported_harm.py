"""A damaged or hostile exported folder is a one-line error, and no code in it runs."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

import hadamax as library
from hadamax.agents import exported as exported_agent
from hadamax.errors import UserError


def reseal(folder: Path, **changes: Any) -> None:
    """Change `config.json` and update its hash, as an attacker would; the weights stay."""
    config = json.loads((folder / exported_agent.CONFIG).read_text())
    del config["sha256"]
    weights = (folder / exported_agent.WEIGHTS).read_bytes()
    (folder / exported_agent.CONFIG).write_bytes(exported_agent.seal({**config, **changes}, weights))


class Bomb:
    """Unpickling this creates a folder."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("exploded",)


def test_loading_executes_nothing_in_the_folder(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("loader.py", "__init__.py", "hadamax.py", "conftest.py", "sitecustomize.py"):
        (exported / name).write_text("import os; os.mkdir('exploded')")
    assert library.load(exported).frame == 256
    (exported / exported_agent.WEIGHTS).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(UserError, match=r"is damaged, or not the weights that config\.json was exported with"):
        library.load(exported)
    reseal(exported)
    with pytest.raises(UserError, match="is not a safetensors file"):
        library.load(exported)
    assert not Path("exploded").exists()


def damage(folder: Path, how: str) -> None:
    weights, config = folder / exported_agent.WEIGHTS, folder / exported_agent.CONFIG
    data = weights.read_bytes()
    if how == "no weights":
        weights.unlink()
    elif how == "no config":
        config.unlink()
    elif how == "half of the weights":
        weights.write_bytes(data[: len(data) // 2])
    elif how == "half of the config":
        config.write_text(config.read_text()[:100])
    elif how == "a flipped bit":
        weights.write_bytes(data[:-5] + bytes([data[-5] ^ 1]) + data[-4:])
    elif how == "another frame":
        config.write_text(config.read_text().replace('"frame": 256', '"frame": 257'))
    elif how == "another library's config":
        config.write_text('{"model_type": "bert"}')
    elif how == "a list":
        config.write_text("[1]")
    elif how == "a newer format":
        reseal(folder, format=exported_agent.FORMAT + 1)
    elif how == "no network":
        reseal(folder, network=None)
    elif how == "a network without settings":
        reseal(folder, network={"kind": "q"})
    elif how == "another precision":
        reseal(folder, precision="float8")
    else:
        tensors = load_tensors(data)
        if how == "a missing key":
            del tensors["head.bias"]
        elif how == "a key too many":
            tensors["tail.bias"] = torch.zeros(1)
        elif how == "another shape":
            tensors["head.bias"] = torch.zeros(7)
        else:
            assert how == "another dtype"
            tensors["head.bias"] = tensors["head.bias"].half()
        weights.write_bytes(save_tensors(tensors))
        reseal(folder)


@pytest.mark.parametrize(
    ("how", "line"),
    [
        ("no weights", "model.safetensors: cannot be read: No such file"),
        ("no config", "config.json: cannot be read: No such file"),
        ("half of the weights", "model.safetensors: is damaged"),
        ("half of the config", "config.json: is damaged"),
        ("a flipped bit", "model.safetensors: is damaged"),
        ("another frame", "config.json: is damaged or was changed"),
        ("another library's config", "config.json: is damaged, or not an exported agent's"),
        ("a list", "config.json: is damaged, or not an exported agent's"),
        ("a newer format", "config.json: format 2 was written by a newer hadamax"),
        ("no network", "config.json: does not describe an agent"),
        ("a network without settings", "config.json: does not describe an agent: .*missing or too many"),
        ("another precision", "config.json: does not describe an agent: KeyError: 'float8'"),
        ("a missing key", "model.safetensors: lacks head.bias: another architecture's weights"),
        ("a key too many", "model.safetensors: has one too many: tail.bias"),
        (
            "another shape",
            r"head.bias is float32 \[7\], and config.json describes float32 \[2\]: another architecture",
        ),
        ("another dtype", r"head.bias is float16 \[2\], and config.json describes float32 \[2\]"),
    ],
)
def test_changed_folder_is_an_error(exported: Path, how: str, line: str) -> None:
    damage(exported, how)
    with pytest.raises(UserError, match=line) as caught:
        library.load(exported)
    assert "\n" not in str(caught.value)


def test_huge_architecture_is_an_error_before_allocation(exported: Path) -> None:
    network = json.loads((exported / exported_agent.CONFIG).read_text())["network"]
    network["dense"][-1]["features"] = 2**40
    reseal(exported, network=network)
    with pytest.raises(UserError, match="another architecture's weights"):
        library.load(exported)
