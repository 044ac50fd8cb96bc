"""Encoders as TensorDictModules for TorchRL. Extra: `hadamax-rl[torchrl]`.

    from hadamax.integrations.torchrl import HadamaxModule
    actor = QValueActor(HadamaxModule("hadamax", num_actions=6), spec=env.action_spec)

A TensorDictModule can wrap the result of `build_encoder` if batches are [B, C, H, W]. This one also supports TorchRL's
other batch shapes: none (a rollout of one environment) and several dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

try:
    from tensordict.nn import TensorDictModule
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"{error.name} is not installed: pip install 'hadamax-rl[torchrl]'", name=error.name
    ) from None

from torch import Tensor, nn

from hadamax.integrations.scale import ScaleCheck
from hadamax.networks import EncoderSpec, QNetwork, build_encoder

CONVENTION = (
    "ToTensorImage gives images between 0 and 1, which need input_scale=1.0; bytes and floats between 0 and 255 need "
    "input_scale=255.0"
)


class AnyBatch(nn.Module):
    """Adapter of a network of [B, *observation_shape] to any batch shape: [*, *observation_shape] -> [*, outputs]."""

    def __init__(self, network: nn.Module, observation_shape: Sequence[int], input_scale: float) -> None:
        super().__init__()
        self.network, self.observation_shape = network, tuple(observation_shape)
        self._check = ScaleCheck(input_scale, CONVENTION) if len(self.observation_shape) == 3 else None

    def forward(self, observations: Tensor) -> Tensor:
        dims, wanted = len(self.observation_shape), self.observation_shape
        batch, shape = observations.shape[:-dims], tuple(observations.shape[-dims:])
        if shape != wanted:
            mend = "; insert ToTensorImage, or pass observation_shape" if shape == (*wanted[1:], wanted[0]) else ""
            raise ValueError(f"observations must end in {list(wanted)}, got {list(shape)}{mend}")
        if self._check is not None:
            self._check(observations)
        outputs: Tensor = self.network(observations.reshape(-1, *wanted))
        return outputs.reshape(*batch, -1)


class HadamaxModule(TensorDictModule):
    """Module from observations [*, *observation_shape] to features [*, features] or action values [*, num_actions].

    Args:
        encoder: a name in `hadamax.ENCODERS`, or an `EncoderSpec`.
        observation_shape: (channels, height, width), or (features,) for `mlp`.
        input_scale: divisor of observations: 255.0 for bytes, 1.0 after `ToTensorImage`. It is never guessed; the first
            images that are not black are checked against it.
        num_actions: adds a linear layer of action values.
        in_key, out_key: keys to read and write; `out_key` is by default "action_value" with `num_actions`, else
            "features".
        settings: settings of `hadamax.build_encoder`: activation, branches, combine, norm, layers, width, features.

    Raises:
        ValueError, TypeError: a setting is invalid, or observations have another shape or scale.
    """

    def __init__(
        self,
        encoder: str | EncoderSpec = "hadamax",
        observation_shape: Sequence[int] = (4, 84, 84),
        input_scale: float = 255.0,
        *,
        num_actions: int | None = None,
        in_key: str = "pixels",
        out_key: str | None = None,
        **settings: Any,
    ) -> None:
        network = build_encoder(encoder, observation_shape, input_scale, **settings)
        module = network if num_actions is None else QNetwork(network, num_actions)
        out_key = out_key or ("features" if num_actions is None else "action_value")
        super().__init__(AnyBatch(module, observation_shape, input_scale), in_keys=[in_key], out_keys=[out_key])
        self.features = network.features
