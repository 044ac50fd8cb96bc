"""Every encoder as a TensorDictModule, for TorchRL. Extra: `hadamax[torchrl]`.

    from hadamax.integrations.torchrl import HadamaxModule
    actor = QValueActor(HadamaxModule("hadamax", num_actions=6), spec=env.action_spec)

`build_encoder` gives a plain module, and a TensorDictModule takes it as it is where batches are [B, C, H, W]. This one
takes what TorchRL has besides: no batch at all (a rollout of one environment), and batches of several dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

try:
    from tensordict.nn import TensorDictModule
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"{error.name} is not installed: pip install 'hadamax[torchrl]'", name=error.name
    ) from None

from torch import Tensor, nn

from hadamax.integrations.scale import ScaleCheck
from hadamax.networks import EncoderSpec, QNetwork, build_encoder

CONVENTION = (
    "ToTensorImage gives images between 0 and 1, which want input_scale=1.0; bytes and floats between 0 and 255 want "
    "input_scale=255.0"
)


class AnyBatch(nn.Module):
    """A network of [B, *observation_shape] on [*, *observation_shape] -> [*, outputs]."""

    def __init__(self, network: nn.Module, observation_shape: Sequence[int], input_scale: float) -> None:
        super().__init__()
        self.network, self.observation_shape = network, tuple(observation_shape)
        self._check = ScaleCheck(input_scale, CONVENTION) if len(self.observation_shape) == 3 else None

    def forward(self, observations: Tensor) -> Tensor:
        dims, wanted = len(self.observation_shape), self.observation_shape
        batch, shape = observations.shape[:-dims], tuple(observations.shape[-dims:])
        if shape != wanted:
            mend = "; put ToTensorImage before it, or give the shape" if shape == (*wanted[1:], wanted[0]) else ""
            raise ValueError(f"observations must end in {list(wanted)}, not {list(shape)}{mend}")
        if self._check is not None:
            self._check(observations)
        outputs: Tensor = self.network(observations.reshape(-1, *wanted))
        return outputs.reshape(*batch, -1)


class HadamaxModule(TensorDictModule):
    """Reads observations [*, *observation_shape] and writes features [*, features], or action values [*, num_actions].

    Args:
        encoder: a name in `hadamax.ENCODERS`, or an `EncoderSpec`.
        observation_shape: (channels, height, width), or (features,) for `mlp`.
        input_scale: what observations are divided by: 255.0 for bytes, 1.0 behind `ToTensorImage`. Told, not guessed;
            the first images that are not black are held against it.
        num_actions: puts one linear layer of action values on the features.
        in_key, out_key: where it reads and writes; unless given it writes "action_value" with `num_actions` and
            "features" without.
        settings: those of `hadamax.build_encoder`: activation, branches, combine, norm, layers, width, features.

    Raises:
        ValueError, TypeError: settings that make no encoder; observations of another shape or scale.
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
