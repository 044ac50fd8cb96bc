"""Conversion of weights between PyTorch (`state_dict`) and Flax (tree of Conv_0, LayerNorm_0, ...). Needs no JAX.

    from hadamax.integrations.flax_weights import flax_params, save, torch_state
    params = flax_params("runs/pong/checkpoints/frame_000040000000/weights.safetensors", encoder)  # for Flax
    network.load_state_dict(torch_state("published.safetensors", network.encoder))  # for PyTorch
    save("agent.safetensors", params)

Both functions accept either form: a `state_dict` of an encoder or a `QNetwork`, a Flax tree of this library, or one of
the published PQN code (arXiv 2407.04811, arXiv 2505.15345). Files are safetensors; in names, the parts of a tree's path
are joined by commas, as in that code.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load
from safetensors.torch import save as to_bytes
from torch import Tensor

from hadamax.files import write_atomically
from hadamax.integrations.flax_tree import Leaf, leaves, merge
from hadamax.networks import Encoder

Array = np.ndarray[Any, Any]
Tree = dict[tuple[str, ...], Array]
Flat = dict[str, Array]
Shapes = Mapping[str, tuple[int, ...]]
Weights = Mapping[str, Any]

# Names of the encoder (None: at the top level) and of the head in a tree.
LAYOUTS: tuple[tuple[str | None, str], ...] = (
    ("encoder", "head"),  # this library
    ("CNN_0", "Dense_0"),  # arXiv 2407.04811
    ("NatureCNN_0", "action_dense"),  # arXiv 2505.15345
    (None, "Action_dense"),  # its residual baseline
)
# The published networks create an input norm that they do not use, so it keeps its initial values.
INPUT_NORM = {"scale": 1.0, "bias": 0.0}


def torch_state(weights: str | Path | Weights, encoder: Any) -> dict[str, Tensor]:
    """Return the float32 `state_dict` of `encoder`, or of a `QNetwork` on it if the weights have a head.

    Args:
        weights: a safetensors file, a `state_dict` or a Flax tree.
        encoder: a PyTorch or Flax encoder.

    Raises:
        ValueError: the file is not safetensors, or weights are missing, superfluous or of other shapes.
    """
    weights = _read(Path(weights)) if isinstance(weights, str | Path) else weights
    network = template(encoder)
    if not any(isinstance(value, Mapping) for value in weights.values()):
        return _checked_state(weights, network)
    tree, head = _split(weights)
    state = _merged(tree, network)
    if not head:
        return state
    _check_head({name: x.shape for name, x in head.items()}, network, kernel="kernel", transposed=True)
    state = {f"encoder.{key}": value for key, value in state.items()}
    return {**state, "head.weight": _tensor(head["kernel"].T), "head.bias": _tensor(head["bias"])}


def flax_params(weights: str | Path | Weights, encoder: Any) -> dict[str, Any]:
    """Return the Flax parameters of `encoder`, or of a `QNetwork` on it if the weights have a head, as float32.

    For `apply({"params": ...})`. Arguments and errors are those of `torch_state`.
    """
    state = {key: _array(value) for key, value in torch_state(weights, encoder).items()}
    with_head = "head.weight" in state
    prefix, root = ("encoder.", ("encoder",)) if with_head else ("", ())
    tree = {(*root, *leaf.path): leaf.part(state[prefix + leaf.key]) for leaf in leaves(encoder.spec)}
    if with_head:
        tree["head", "kernel"], tree["head", "bias"] = state["head.weight"].T, state["head.bias"]
    return _nested(tree)


def save(path: str | Path, weights: Weights) -> None:
    """Write a Flax tree or a `state_dict` as safetensors, atomically. Raises OSError."""
    flat = {",".join(names): _tensor(value) for names, value in _flat(weights).items()}
    write_atomically(Path(path), to_bytes(flat))


def template(encoder: Any) -> Encoder:
    """Return the PyTorch form of either kind of encoder, on the meta device. Raises ValueError or TypeError."""
    shape = tuple(encoder.observation_shape)
    if not isinstance(encoder, Encoder) and len(shape) == 3:
        shape = (shape[2], *shape[:2])
    with torch.device("meta"):
        return Encoder(encoder.spec, shape, encoder.input_scale)


# -- reading ---------------------------------------------------------------------------------------------------------


def _read(path: Path) -> Weights:
    try:
        tensors = load(path.read_bytes())
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"{path} is not a complete safetensors file: {error}") from None
    if any("," in name for name in tensors):
        return _nested({tuple(name.split(",")): value for name, value in tensors.items()})
    return tensors


def _split(weights: Weights) -> tuple[Tree, Flat]:
    """Return the encoder's tree, and the head's kernel and bias (empty without a head)."""
    top = dict(weights.get("params", weights))
    for name, value in _flat(top.pop("BatchNorm_0", {})).items():
        if not np.all(value == INPUT_NORM.get(name[0])):
            raise ValueError(f"BatchNorm_0/{name[0]} is used: a network that normalises its input has no like here")
    for place, head in LAYOUTS:
        if head in top and (place is None or place in top):
            found = {"/".join(path): value for path, value in _flat(top.pop(head)).items()}
            tree = _flat(top.pop(place)) if place is not None else {}
            return {**tree, **_flat(top)}, found  # other entries are reported as superfluous
    return _flat(top), {}


def _flat(tree: Weights, path: tuple[str, ...] = ()) -> Tree:
    flat: Tree = {}
    for name, value in tree.items():
        below = (*path, name)
        flat.update(_flat(value, below) if isinstance(value, Mapping) else {below: _array(value)})
    return flat


def _nested(tree: Mapping[tuple[str, ...], Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for path, value in tree.items():
        place = nested
        for name in path[:-1]:
            place = place.setdefault(name, {})
        place[path[-1]] = value
    return nested


def _array(value: Any) -> Array:
    """Convert any framework's array to float32."""
    return np.asarray(value.detach().cpu().float() if isinstance(value, Tensor) else value, np.float32)


def _tensor(value: Array) -> Tensor:
    return torch.from_numpy(np.array(value, np.float32, order="C"))


# -- checking and merging --------------------------------------------------------------------------------------------


def _merged(tree: Tree, network: Encoder) -> dict[str, Tensor]:
    """Return the encoder's `state_dict` from its tree."""
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    wanted = list(leaves(network.spec))
    hollow = {key: np.broadcast_to(np.float32(0), shape) for key, shape in shapes.items()}
    _check(
        {"/".join(path): value.shape for path, value in tree.items()},
        {"/".join(leaf.path): leaf.part(hollow[leaf.key]).shape for leaf in wanted},
    )
    parts: dict[str, list[tuple[Leaf, Array]]] = {}
    for leaf in wanted:
        parts.setdefault(leaf.key, []).append((leaf, tree[leaf.path]))
    return {key: _tensor(merge(parts[key], shape)) for key, shape in shapes.items()}


def _checked_state(weights: Weights, network: Encoder) -> dict[str, Tensor]:
    """Validate the weights of a PyTorch encoder or `QNetwork`, and return them as float32."""
    prefix = "encoder." if any(key.startswith("encoder.") for key in weights) else ""
    shapes = {key: tuple(value.shape) for key, value in weights.items()}
    _check(
        {key: shape for key, shape in shapes.items() if not (prefix and key.startswith("head."))},
        {prefix + key: tuple(value.shape) for key, value in network.state_dict().items()},
    )
    if prefix:
        head = {key.removeprefix("head."): shape for key, shape in shapes.items() if key.startswith("head.")}
        _check_head(head, network, kernel="weight", transposed=False)
    return {key: _tensor(_array(value)) for key, value in weights.items()}


def _check_head(shapes: Shapes, network: Encoder, *, kernel: str, transposed: bool) -> None:
    """Check the head: one linear layer, whose number of actions is that of its bias."""
    actions = shapes.get("bias", (1,))
    wanted = (network.features, *actions) if transposed else (*actions, network.features)
    _check(
        {f"head/{name}": shape for name, shape in shapes.items()},
        {f"head/{kernel}": wanted, "head/bias": actions},
    )


def _check(shapes: Shapes, wanted: Shapes) -> None:
    def listed(names: list[str]) -> str:
        return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"

    missing, unknown = [n for n in wanted if n not in shapes], [n for n in shapes if n not in wanted]
    advice = "; expected the encoder and settings that the weights were created with"
    if missing:
        raise ValueError(f"weights: {listed(missing)} missing{advice}")
    if unknown:
        raise ValueError(f"weights: {listed(unknown)} not in this encoder{advice}")
    for name, shape in wanted.items():
        if shapes[name] != shape:
            raise ValueError(f"weights: {name} is {shapes[name]}, must be {shape}{advice}")
