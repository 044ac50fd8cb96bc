"""Find the width at which one encoder has as many parameters as another.

The Hadamard representation doubles the weights that lead into a layer; a wider ordinary layer is the fair comparison
(arXiv 2406.09079, section 6 and Table 3).
"""

from collections.abc import Sequence
from typing import Any

import torch

from hadamax.networks.encoders import build_encoder
from hadamax.networks.heads import QNetwork
from hadamax.networks.specs import EncoderSpec

WIDEST, HALVINGS = 64.0, 40


def parameter_count(
    encoder: str | EncoderSpec,
    observation_shape: Sequence[int] = (4, 84, 84),
    *,
    num_actions: int = 6,
    **overrides: Any,
) -> int:
    """Return the trainable parameters of an encoder and one linear layer of action values, without allocating them.

    `overrides` and errors are those of `build_encoder`.
    """
    with torch.device("meta"):
        network = QNetwork(build_encoder(encoder, observation_shape, **overrides), num_actions)
    return sum(parameter.numel() for parameter in network.parameters())


def matching_width(
    parameters: int,
    encoder: str | EncoderSpec,
    observation_shape: Sequence[int] = (4, 84, 84),
    *,
    num_actions: int = 6,
    **overrides: Any,
) -> float:
    """Return the `width` at which the encoder's `parameter_count` is nearest to `parameters`.

    Channels are whole numbers, so the match is seldom exact.

    matching_width(parameter_count("nature", branches=2), "nature")  # the wider ordinary network

    Raises:
        ValueError: `parameters` is outside the range of widths up to 64; or an error of `build_encoder`.
    """

    def count(width: float) -> int:
        return parameter_count(encoder, observation_shape, num_actions=num_actions, width=width, **overrides)

    low, high = 1e-3, WIDEST
    least, most = count(low), count(high)
    if not least <= parameters <= most:
        raise ValueError(f"parameters {parameters} cannot be matched by width; expected {least} to {most}")
    for _ in range(HALVINGS):  # the count grows with the width, in steps
        middle = (low + high) / 2
        low, high = (middle, high) if count(middle) <= parameters else (low, middle)
    return min((low, high), key=lambda width: abs(count(width) - parameters))
