"""A network as JSON data, and back: the description that is stored beside weights.

    description = describe(network, encoder, num_actions=6)
    network = network_from(description)  # the same modules, weights drawn anew

Layers are written out one by one, so a description stays valid if a named encoder changes. Initialisers are left out,
because the weights are stored.
"""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, cast

from torch import nn

from hadamax.networks.distributional import CategoricalNetwork, RainbowNetwork
from hadamax.networks.encoders import Encoder
from hadamax.networks.heads import PolicyValueNetwork, QNetwork, ValueNetwork
from hadamax.networks.names import lookup
from hadamax.networks.norms import Norm
from hadamax.networks.specs import Activate, Conv, Dense, EncoderSpec, Layer, Residual
from hadamax.networks.windows import Pool

NETWORKS: dict[str, type[nn.Module]] = {
    "q": QNetwork,
    "value": ValueNetwork,
    "categorical": CategoricalNetwork,
    "rainbow": RainbowNetwork,
    "policy-value": PolicyValueNetwork,
}
LAYERS: dict[str, type[Layer]] = {"conv": Conv, "residual": Residual, "activate": Activate, "dense": Dense}


def describe(network: nn.Module, encoder: Encoder, num_actions: int) -> dict[str, Any]:
    """Return the description from which `network_from` rebuilds the network; `encoder` is the one it was built with.

    Raises:
        TypeError: a network of another kind.
    """
    kinds = [kind for kind, made in NETWORKS.items() if type(network) is made]
    if not kinds:
        raise TypeError(f"network must be one of {', '.join(NETWORKS)}, not {type(network).__name__}")
    spec, settings = encoder.spec, cast(dict[str, Any], network.settings)  # as each of them keeps it
    return {
        "kind": kinds[0],
        "settings": dict(settings),
        "num_actions": num_actions,
        "observation_shape": list(encoder.observation_shape),
        "input_scale": encoder.input_scale,
        "blocks": [_layer(block) for block in spec.blocks],
        "flatten": spec.flatten,
        "dense": [_layer(layer) for layer in spec.dense],
    }


def network_from(description: Mapping[str, Any]) -> nn.Module:
    """The network of a description.

    Raises:
        TypeError, ValueError: it is not a description, or no network can be built from it.
    """
    d = dict(description)
    kind = lookup("kind", d.pop("kind", None), NETWORKS)
    names = ("settings", "num_actions", "observation_shape", "input_scale", "blocks", "flatten", "dense")
    if set(d) != set(names):
        odd = ", ".join(sorted(set(d) ^ set(names)))
        raise ValueError(f"a network is described by kind, {', '.join(names)}; missing or too many: {odd}")
    blocks, dense = (tuple(_read_layer(layer) for layer in d[name]) for name in ("blocks", "dense"))
    spec = EncoderSpec("", "", blocks, dense, flatten=d["flatten"])  # type: ignore[arg-type]  # it checks them
    encoder = Encoder(spec, d["observation_shape"], d["input_scale"])
    return kind(encoder, d["num_actions"], **d["settings"])


def _layer(layer: Layer) -> dict[str, Any]:
    kind = next(name for name, made in LAYERS.items() if type(layer) is made)
    return {"layer": kind, **asdict(layer)}


def _read_layer(data: Mapping[str, Any]) -> Layer:
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}
    kind = lookup("layer", values.pop("layer", None), LAYERS)
    valid = [field.name for field in fields(kind)]
    for name in values:
        if name not in valid:
            raise ValueError(f"{name} is not a setting of a {kind.__name__} layer; expected {', '.join(valid)}")
    for name, made in (("pool", Pool), ("norm", Norm)):
        if isinstance(values.get(name), dict):
            values[name] = made(**values[name])
    return kind(**values)
