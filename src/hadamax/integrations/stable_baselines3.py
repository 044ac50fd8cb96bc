"""Encoders as features extractors for Stable-Baselines3 (DQN, PPO, QR-DQN, ...). Extra: `hadamax-rl[sb3]`.

    from hadamax.integrations.stable_baselines3 import HadamaxExtractor
    model = DQN("CnnPolicy", env, policy_kwargs=dict(features_extractor_class=HadamaxExtractor, net_arch=[]))

`net_arch=[]` applies the head directly to the features, as in the papers; by default Stable-Baselines3 adds two layers
of 64 units to a custom extractor. Further settings go into `features_extractor_kwargs`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

try:
    from stable_baselines3.common.preprocessing import is_image_space_channels_first
    from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"{error.name} is not installed: pip install 'hadamax-rl[sb3]'", name=error.name
    ) from None

from gymnasium import spaces
from torch import Tensor

from hadamax.integrations.scale import ScaleCheck, check_scale
from hadamax.networks import EncoderSpec, build_encoder
from hadamax.networks.encoders import looks_channels_last

CONVENTION = (
    "with normalize_images=True (Stable-Baselines3's default) uint8 images arrive as 0..1 and need input_scale=1.0; "
    "with normalize_images=False they arrive as 0..255 and need input_scale=255.0; float images must lie in "
    "0..input_scale"
)


class HadamaxExtractor(BaseFeaturesExtractor):
    """Features extractor of a Stable-Baselines3 policy: float [B, *shape] -> features [B, features_dim].

    Stable-Baselines3 itself converts uint8 images to channels first (stacked frames become channels, the oldest first)
    and, unless `normalize_images=False`, divides them by 255. The input here is then [B, C, H, W] between 0 and 1.

    Args:
        observation_space: a Box of an image or, for the encoder `mlp`, of a vector; passed by the policy.
        encoder: a name in `hadamax.ENCODERS`, or an `EncoderSpec`.
        input_scale: remaining divisor: 1.0, or 255.0 with `normalize_images=False`. It is never guessed; the first
            image that is not black is checked against it.
        channels_last: True if images arrive as [B, H, W, C], as float images do.
        settings: settings of `hadamax.build_encoder`: activation, branches, combine, norm, layers, width, features.

    Raises:
        ValueError, TypeError: the observation space or a setting is invalid for the encoder.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        encoder: str | EncoderSpec = "hadamax",
        input_scale: float = 1.0,
        channels_last: bool = False,
        **settings: Any,
    ) -> None:
        shape = _checked_shape(observation_space, channels_last)
        low, high = float(observation_space.low.min()), float(observation_space.high.max())
        as_it_is = len(shape) == 3 and observation_space.dtype != np.uint8  # Stable-Baselines3 scales uint8 only
        if as_it_is and math.isfinite(low) and math.isfinite(high):
            check_scale(low, high, input_scale, CONVENTION)
        network = build_encoder(encoder, shape, input_scale, **settings)
        super().__init__(observation_space, network.features)
        self.encoder = network
        self.channels_last = channels_last
        self._check = ScaleCheck(input_scale, CONVENTION) if len(shape) == 3 else None

    def forward(self, observations: Tensor) -> Tensor:
        if self._check is not None:
            self._check(observations)
        images = observations.movedim(-1, 1) if self.channels_last else observations
        features: Tensor = self.encoder(images)
        return features


def _checked_shape(space: spaces.Space[Any], channels_last: bool) -> tuple[int, ...]:
    """Return the encoder's shape of one observation of `space`: [C, H, W] or [features]."""
    if not isinstance(space, spaces.Box):
        raise TypeError(f"observation_space must be a Box of one image or vector, got {space}")
    shape: tuple[int, ...] = space.shape
    if len(shape) != 3:
        return shape
    if channels_last:
        if looks_channels_last((*shape[1:], shape[0])):
            raise ValueError(f"observation_space {shape} has its channels first; omit channels_last")
        return (shape[2], *shape[:2])
    if not is_image_space_channels_first(space):
        raise ValueError(
            f"observation_space {shape} has its channels last: Stable-Baselines3 converts only uint8 images between 0 "
            "and 255; for others pass features_extractor_kwargs=dict(channels_last=True)"
        )
    return shape
