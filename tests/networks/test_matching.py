"""Baselines of equal size: counts without allocating, and the width with the nearest count."""

from __future__ import annotations

import pytest

from hadamax.networks import QNetwork, build_encoder, matching_width, parameter_count


@pytest.mark.parametrize("name", ["nature", "hadamax", "impala", "hadamax-c51"])
def test_count_equals_the_built_network(name: str) -> None:
    network = QNetwork(build_encoder(name, width=0.2, activation="rational"), 4)
    expected = sum(parameter.numel() for parameter in network.parameters())
    assert parameter_count(name, num_actions=4, width=0.2, activation="rational") == expected


@pytest.mark.parametrize(
    ("name", "overrides"),
    [("nature", {"branches": 2}), ("nature", {"branches": 2, "layers": "last"}), ("hadamax-no-product", {})],
)
def test_width_that_matches_a_larger_network(name: str, overrides: dict) -> None:
    target = parameter_count("hadamax") if name == "hadamax-no-product" else parameter_count(name, **overrides)
    width = matching_width(target, name)
    assert 1 < width < 2
    found = parameter_count(name, width=width)
    assert found == pytest.approx(target, rel=0.01)
    # No neighbouring width is nearer.
    for nearby in (width * (1 + step / 400) for step in range(-40, 41)):
        assert abs(parameter_count(name, width=nearby) - target) >= abs(found - target)


def test_network_matches_its_own_width() -> None:
    assert parameter_count("nature", width=matching_width(parameter_count("nature"), "nature")) == 1_687_206


def test_unreachable_counts_are_errors() -> None:
    for parameters in (3, 10**12):
        with pytest.raises(ValueError, match=f"parameters {parameters} cannot be matched by width; expected "):
            matching_width(parameters, "nature")
