"""Every valid combination of Hadamard settings builds and takes a step; the others are one-line errors."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch

from hadamax.networks import HadamardConv2d, HadamardLinear, Pool, ValueHead, build_encoder
from hadamax.networks.windows import Pooling

ACTIVATIONS = ("tanh", "sigmoid", "relu", "gelu", "silu", "selu", "crelu", "rational")
SPACE = list(product((1, 2, 3), ("product", "sum"), (None, "channels", "map"), ("all", "last"), (None, 24)))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_valid_combination_builds_and_steps(activation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HADAMAX_KERNELS", "reference")  # or a kernel would be compiled for most of them
    torch.manual_seed(0)
    observations = torch.randint(0, 256, (3, 2, 6, 6), dtype=torch.uint8)
    for branches, combine, norm, layers, features in SPACE:
        varied = {"branches": branches, "combine": combine, "norm": norm, "layers": layers, "features": features}
        encoder = build_encoder("minatar", (2, 6, 6), activation=activation, width=0.25, **varied)
        assert encoder.features == (features or 32) * (2 if activation == "crelu" else 1)
        head = ValueHead(encoder.features, 3)
        parameters = [*encoder.parameters(), *head.parameters()]
        before = parameters[0].detach().clone()
        optimizer = torch.optim.RAdam(parameters, lr=1e-2)
        (head(encoder(observations)) - 1).square().mean().backward()
        optimizer.step()
        assert all(p.isfinite().all() for p in parameters), varied
        assert not torch.equal(parameters[0], before), varied  # gradients reach the first layer
        assert head(encoder(observations)).isfinite().all(), varied
    assert len(SPACE) == 72


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"branches": 0}, "branches must be 1 or more, not 0"),
        ({"branches": 1.5}, "branches must be a whole number, 1 or more, not 1.5"),
        ({"combine": "mean"}, 'combine "mean" is unknown; expected one of product, sum'),
        ({"activation": "relo"}, 'activation "relo" is unknown; did you mean "relu"?'),
        (
            {"activation": ("crelu", "tanh")},
            "mixes crelu, twice as wide, with others; use crelu in every branch or in none",
        ),
        ({"activation": ("tanh", "relu"), "branches": 3}, "names 2 branches and the layer has 3"),
        ({"norm": "batch"}, 'norm "batch" is unknown; expected one of channels, map'),
        ({"kernel_size": 4, "padding": "symmetric"}, 'padding "symmetric" is unknown; expected one of same, valid'),
        ({"kernel_size": 4, "padding": 4}, "padding must be less than the kernel (4), not 4"),
        ({"kernel_size": 4, "padding": 1.5}, "padding must be a whole number, 0 or more, not 1.5"),
        ({"kernel_size": 0}, "kernel must be 1 or more, not 0"),
    ],
)
def test_invalid_layers_are_one_line_errors(settings: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError)) as refusal:
        HadamardConv2d(2, 3, **{"kernel_size": 3, "branches": 2, **settings})
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)
    if not {"kernel_size", "padding"} & set(settings):
        with pytest.raises((ValueError, TypeError)) as refusal:
            HadamardLinear(2, 3, **{"branches": 2, **settings})
        assert message in str(refusal.value)


def test_even_pool_with_invalid_padding_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"pool padding must be at most half its window \(1\), not 2"):
        Pooling(Pool(2, 2, 2))
