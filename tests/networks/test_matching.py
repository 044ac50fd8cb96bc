"""Baselines of equal size: counts without memory, and widths whose counts are nearest."""

from __future__ import annotations

import pytest

from hadamax.networks import QNetwork, build_encoder, matching_width, parameter_count


@pytest.mark.parametrize("name", ["nature", "hadamax", "impala", "hadamax-c51"])
def test_a_count_is_that_of_the_network(name: str) -> None:
    network = QNetwork(build_encoder(name, width=0.2, activation="rational"), 4)
    expected = sum(parameter.numel() for parameter in network.parameters())
    assert parameter_count(name, num_actions=4, width=0.2, activation="rational") == expected


@pytest.mark.parametrize(
    ("name", "overrides"),
    [("nature", {"branches": 2}), ("nature", {"branches": 2, "layers": "last"}), ("hadamax-no-product", {})],
)
def test_the_width_that_matches_a_larger_network(name: str, overrides: dict) -> None:
    target = parameter_count("hadamax") if name == "hadamax-no-product" else parameter_count(name, **overrides)
    width = matching_width(target, name)
    assert 1 < width < 2
    found = parameter_count(name, width=width)
    assert found == pytest.approx(target, rel=0.01)
    # No width between its neighbours is nearer.
    for nearby in (width * (1 + step / 400) for step in range(-40, 41)):
        assert abs(parameter_count(name, width=nearby) - target) >= abs(found - target)


def test_the_width_of_the_network_itself() -> None:
    assert parameter_count("nature", width=matching_width(parameter_count("nature"), "nature")) == 1_687_206


def test_counts_that_no_width_has() -> None:
    for parameters in (3, 10**12):
        with pytest.raises(ValueError, match=f"parameters {parameters} cannot be matched by width; expected "):
            matching_width(parameters, "nature")
