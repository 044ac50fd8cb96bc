"""Parameter trees of the published JAX code convert to weights without JAX; other trees are one-line errors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from hadamax import build_encoder
from hadamax.integrations.flax_tree import leaves
from hadamax.integrations.flax_weights import flax_params, save, torch_state
from hadamax.networks import QNetwork

Tree = dict[str, Any]


def rng(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape) + sum(shape)).normal(size=shape).astype(np.float32)


def layer(kernel: tuple[int, ...]) -> Tree:
    return {"kernel": rng(*kernel), "bias": rng(kernel[-1])}


def norms(*widths: int) -> Tree:
    return {f"LayerNorm_{i}": {"scale": rng(width), "bias": rng(width, 1)[:, 0]} for i, width in enumerate(widths)}


def hadamax_tree() -> Tree:
    """Return shapes and names of the published Hadamax network for six actions and 84x84x4."""
    kernels = [(8, 8, 4, 32), (8, 8, 4, 32), (4, 4, 32, 64), (4, 4, 32, 64), (3, 3, 64, 64), (3, 3, 64, 64)]
    convs = {f"Conv_{i}": layer(kernel) for i, kernel in enumerate(kernels)}
    encoder = {**convs, **norms(32, 32, 64, 64, 64, 64, 512), "Dense_0": layer((7744, 512))}
    unused = {"scale": np.ones(4, np.float32), "bias": np.zeros(4, np.float32)}
    return {"BatchNorm_0": unused, "NatureCNN_0": encoder, "action_dense": layer((512, 6))}


def pqn_tree() -> Tree:
    """Return those of the published PQN network."""
    kernels = [(8, 8, 4, 32), (4, 4, 32, 64), (3, 3, 64, 64)]
    convs = {f"Conv_{i}": layer(kernel) for i, kernel in enumerate(kernels)}
    encoder = {**convs, **norms(32, 64, 64, 512), "Dense_0": layer((3136, 512))}
    unused = {"scale": np.ones(4, np.float32), "bias": np.zeros(4, np.float32)}
    return {"BatchNorm_0": unused, "CNN_0": encoder, "Dense_0": layer((512, 6))}


def impala_tree() -> Tree:
    """Return those of the residual baseline."""
    tree: Tree = {"Dense_0": layer((576, 256)), "Action_dense": layer((256, 6))}
    inputs = 4
    for i, width in enumerate((16, 32, 32, 64, 64)):
        block = {"Conv_0": layer((3, 3, width, width)), "Conv_1": layer((3, 3, width, width))}
        tree[f"ConvSequence_{i}"] = {
            "Conv_0": layer((3, 3, inputs, width)),
            "ResidualBlock_0": block,
            "ResidualBlock_1": block,
        }
        inputs = width
    return tree


PUBLISHED: dict[str, Callable[[], Tree]] = {"hadamax": hadamax_tree, "nature-norm": pqn_tree, "impala": impala_tree}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_trees_fill_the_whole_network(name: str, tmp_path: Path) -> None:
    network = QNetwork(build_encoder(name), 6)
    tree = PUBLISHED[name]()
    save(tmp_path / "published.safetensors", tree)
    state = torch_state(tmp_path / "published.safetensors", network.encoder)
    network.load_state_dict(state)
    back = flax_params(network.state_dict(), network.encoder)
    assert all(np.array_equal(state[key], torch_state(back, network.encoder)[key]) for key in state)


def test_each_array_goes_to_its_layer() -> None:
    tree = hadamax_tree()
    state = torch_state({"params": tree, "batch_stats": {}}, build_encoder("hadamax"))
    encoder = tree["NatureCNN_0"]
    kernel = state["encoder.blocks.1.layer.weight"]
    assert kernel[64 + 5, 7, 2, 3] == encoder["Conv_3"]["kernel"][2, 3, 7, 5]  # second branch: [out, in, y, x]
    assert kernel[5, 7, 2, 3] == encoder["Conv_2"]["kernel"][2, 3, 7, 5]
    assert state["encoder.blocks.1.layer.bias"][64 + 5] == encoder["Conv_3"]["bias"][5]
    assert state["encoder.blocks.1.layer.norm.weight"][1, 5] == encoder["LayerNorm_3"]["scale"][5]
    assert state["encoder.blocks.1.layer.norm.bias"][0, 5] == encoder["LayerNorm_2"]["bias"][5]
    assert state["encoder.dense.0.weight"][3, 4000] == encoder["Dense_0"]["kernel"][4000, 3]
    assert state["head.weight"][2, 100] == tree["action_dense"]["kernel"][100, 2]


def test_files_with_either_naming(tmp_path: Path) -> None:
    network = QNetwork(build_encoder("minatar", (4, 10, 10), 1.0), 3)
    state = network.state_dict()
    save_file(state, tmp_path / "weights.safetensors")  # as a run's checkpoint has it
    params = flax_params(tmp_path / "weights.safetensors", network.encoder)
    assert set(params) == {"encoder", "head"}
    assert params["encoder"]["Conv_0"]["kernel"].shape == (3, 3, 4, 16)
    for name, weights in (("flax.safetensors", params), ("torch.safetensors", state)):
        save(tmp_path / name, weights)
        again = torch_state(tmp_path / name, network.encoder)
        assert again.keys() == state.keys()
        assert all(torch.equal(again[key], state[key]) for key in state)
    bare = network.encoder.state_dict()
    assert torch_state(flax_params(bare, network.encoder), network.encoder).keys() == bare.keys()


@pytest.mark.parametrize("name", ["hadamax-c51", "hadamax-deep", "hadamax-5", "mlp"])
def test_every_weight_has_one_place(name: str) -> None:
    shape = (9,) if name == "mlp" else (4, 84, 84)
    encoder = build_encoder(name, shape)
    found = list(leaves(encoder.spec))
    assert len({leaf.path for leaf in found}) == len(found)
    assert {leaf.key for leaf in found} == encoder.state_dict().keys()
    params = flax_params(encoder.state_dict(), encoder)
    sizes = [leaf.size for group in params.values() for leaf in group.values()]
    assert sum(sizes) == sum(value.numel() for value in encoder.parameters())


def without(tree: Tree, *path: str) -> Tree:
    place = tree
    for name in path[:-1]:
        place = place[name]
    del place[path[-1]]
    return tree


def with_input_norm() -> Tree:
    tree = hadamax_tree()
    tree["BatchNorm_0"]["scale"][1] = 1.25
    return tree


def with_another_head() -> Tree:
    return {**hadamax_tree(), "action_dense": layer((256, 6))}


@pytest.mark.parametrize(
    ("tree", "line"),
    [
        (lambda: without(hadamax_tree(), "NatureCNN_0", "Conv_5", "bias"), "Conv_5/bias missing; expected the encoder"),
        (lambda: without(hadamax_tree(), "action_dense", "bias"), "head/bias missing"),
        (pqn_tree, "Conv_3/kernel and .* more missing"),
        (with_another_head, r"head/kernel is \(256, 6\), must be \(512, 6\)"),
        (with_input_norm, "BatchNorm_0/scale is used"),
        (lambda: {**hadamax_tree(), "extra": {"kernel": rng(2, 2)}}, "extra/kernel not in this encoder"),
        (lambda: {"encoder.blocks.0.layer.weight": rng(64, 4, 8, 8)}, "encoder.blocks.0.layer.bias and .* missing"),
    ],
)
def test_other_weights_are_one_line_errors(tree: Callable[[], Tree], line: str) -> None:
    with pytest.raises(ValueError, match=line) as caught:
        torch_state(tree(), build_encoder("hadamax"))
    assert "\n" not in str(caught.value)


def test_weights_of_another_size_are_errors() -> None:
    with pytest.raises(ValueError, match=r"Dense_0/kernel is \(7744, 512\), must be \(3136, 512\)"):
        torch_state(hadamax_tree(), build_encoder("hadamax", (4, 56, 56)))


def test_other_files_are_errors(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"\x80\x04pickle")
    with pytest.raises(ValueError, match="is not a complete safetensors file"):
        torch_state(path, build_encoder("nature"))
