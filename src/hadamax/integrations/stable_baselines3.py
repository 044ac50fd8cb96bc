"""Every encoder as a features extractor of Stable-Baselines3 (DQN, PPO, QR-DQN, ...). Extra: `hadamax[sb3]`.

    from hadamax.integrations.stable_baselines3 import HadamaxExtractor
    model = DQN("CnnPolicy", env, policy_kwargs=dict(features_extractor_class=HadamaxExtractor, net_arch=[]))

`net_arch=[]` puts the head on the features at once, as in the papers: with an extractor of another's,
Stable-Baselines3 would add two layers of 64. Further settings go into `features_extractor_kwargs`.
"""

from __future__ import annotations

from typing import Any

try:
    from stable_baselines3.common.preprocessing import is_image_space_channels_first
    from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f"{error.name} is not installed: pip install 'hadamax[sb3]'", name=error.name) from None

from gymnasium import spaces
from torch import Tensor

from hadamax.networks import EncoderSpec, build_encoder


class HadamaxExtractor(BaseFeaturesExtractor):
    """Observations as a policy of Stable-Baselines3 hands them on, float [B, *shape] -> features [B, features_dim].

    The library itself turns uint8 images to channels first (stacked frames become channels, the oldest first) and,
    unless `normalize_images=False`, divides them by 255: what arrives here is [B, C, H, W] between 0 and 1.

    Args:
        observation_space: a Box of an image or, for the encoder `mlp`, of a vector; the policy gives it.
        encoder: a name in `hadamax.ENCODERS`, or an `EncoderSpec`.
        input_scale: what is left to divide by: 1.0, or 255.0 with `normalize_images=False`. Told, not guessed; the
            first image that is not black is held against it.
        channels_last: images arrive as [B, H, W, C], which they do where the library takes them for no images (float).
        settings: those of `hadamax.build_encoder`: activation, branches, combine, norm, layers, width, features.

    Raises:
        ValueError, TypeError: an observation space or a setting that makes no encoder.
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
        network = build_encoder(encoder, shape, input_scale, **settings)
        super().__init__(observation_space, network.features)
        self.encoder = network
        self.channels_last = channels_last
        self._unchecked = len(shape) == 3

    def forward(self, observations: Tensor) -> Tensor:
        if self._unchecked:
            self._check(observations)
        images = observations.movedim(-1, 1) if self.channels_last else observations
        features: Tensor = self.encoder(images)
        return features

    def _check(self, images: Tensor) -> None:
        """Hold the first images that are not black against `input_scale`."""
        low, high = float(images.min()), float(images.max())
        scale = self.encoder.input_scale
        if low == high == 0:
            return
        if not (low >= 0 and high <= scale) or (scale > 1 and high <= 1):
            raise ValueError(
                f"images arrive with values from {low:.4g} to {high:.4g} and input_scale is {scale:g}: with "
                "normalize_images=True (Stable-Baselines3's default) uint8 images arrive as 0..1 and want "
                "input_scale=1.0; with normalize_images=False they arrive as 0..255 and want input_scale=255.0; "
                "float images must lie in 0..input_scale"
            )
        self._unchecked = False


def _checked_shape(space: spaces.Space[Any], channels_last: bool) -> tuple[int, ...]:
    """What one observation of `space` is to the encoder: [C, H, W] or [features]."""
    if not isinstance(space, spaces.Box):
        raise TypeError(f"observation_space must be a Box of one image or vector, not {space}")
    shape: tuple[int, ...] = space.shape
    if len(shape) != 3:
        return shape
    if channels_last:
        return (shape[2], *shape[:2])
    if not is_image_space_channels_first(space):
        raise ValueError(
            f"observation_space {shape} has its channels last: Stable-Baselines3 turns uint8 images between 0 and 255 "
            "by itself; for any other give features_extractor_kwargs=dict(channels_last=True)"
        )
    return shape
