"""Every encoder with every activation and norm, at one to three branches, builds and learns."""

from itertools import product

import pytest
import torch

from hadamax.networks import ACTIVATIONS, ENCODERS, NORMS, build_encoder

SHAPES = {"mlp": (8,), "minatar": (4, 10, 10), "hadamax-minatar": (4, 10, 10)}
SHAPES |= dict.fromkeys(("hadamax-minatar-no-pool", "hadamax-minatar-average-pool"), (4, 10, 10))
NORM_NAMES = (None, *NORMS)


def observations(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.randint(0, 256, (2, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("name", ENCODERS)
def test_every_variation_builds_and_learns(name: str, activation: str) -> None:
    shape = SHAPES.get(name, (4, 84, 84))
    # Norm and branches rotate, so that all pairs occur in a ninth of the cases.
    row, column = list(ENCODERS).index(name), list(ACTIVATIONS).index(activation)
    norm, branches = NORM_NAMES[(row + column) % 3], 1 + (row + 2 * column) % 3
    encoder = build_encoder(name, shape, activation=activation, branches=branches, norm=norm, width=0.1)
    features = encoder(observations(shape))
    assert features.shape == (2, encoder.features)
    assert features.isfinite().all()
    features.square().sum().backward()
    gradients = [parameter.grad for parameter in encoder.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize(("name", "layers"), list(product(ENCODERS, ("all", "last"))))
def test_mixed_activations(name: str, layers: str) -> None:
    shape = SHAPES.get(name, (4, 84, 84))
    mixed = ("tanh", "identity")
    encoder = build_encoder(name, shape, activation=mixed, branches=2, layers=layers, width=0.1)
    assert encoder(observations(shape)).shape == (2, encoder.features)


def test_every_entry_has_a_description_and_a_source() -> None:
    for spec in ENCODERS.values():
        assert spec.description
        assert spec.source
        assert "\n" not in spec.description + spec.source
    assert len({spec.description for spec in ENCODERS.values()}) == len(ENCODERS)
