"""The encoders inside TorchRL's environments, actors and losses."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch

pytest.importorskip("torchrl", reason="needs the extra: pip install 'hadamax-rl[torchrl]'")

from gymnasium import spaces
from tensordict import TensorDict
from torchrl.envs import GymWrapper
from torchrl.modules import QValueActor

from hadamax import build_encoder
from hadamax.integrations.torchrl import HadamaxModule

pytestmark = pytest.mark.extra("torchrl")


class Pictures(gymnasium.Env[np.ndarray, int]):
    """Noise, channels first."""

    observation_space = spaces.Box(0, 255, (4, 10, 12), np.uint8)
    action_space = spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):  # type: ignore[no-untyped-def]
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):  # type: ignore[no-untyped-def]
        return self.observation_space.sample(), 1.0, False, False, {}


def test_rollouts_with_any_batch_dimensions() -> None:
    env = GymWrapper(Pictures())
    module = HadamaxModule("minatar", (4, 10, 12), num_actions=3, in_key="observation")
    actor = QValueActor(module, spec=env.action_spec)
    played = env.rollout(5, actor)
    assert played["action_value"].shape == (5, 3)
    like = module.module.network
    with torch.no_grad():
        torch.testing.assert_close(played["action_value"], like(played["observation"]))
        batch = TensorDict({"observation": played["observation"][:4].reshape(2, 2, 4, 10, 12)}, [2, 2])
        torch.testing.assert_close(actor(batch)["action_value"].flatten(0, 1), played["action_value"][:4])


def test_features_and_other_keys() -> None:
    module = HadamaxModule("minatar", (4, 10, 10), 1.0, activation="tanh", branches=2, out_key="hidden")
    images = torch.rand(2, 4, 10, 10)
    hidden = module(TensorDict({"pixels": images}, [2]))["hidden"]
    like = build_encoder("minatar", (4, 10, 10), 1.0, activation="tanh", branches=2)
    like.load_state_dict(module.module.network.state_dict())
    torch.testing.assert_close(hidden, like(images))
    assert hidden.shape == (2, module.features)


@pytest.mark.parametrize(
    ("images", "scale", "line"),
    [
        (torch.rand(2, 10, 11, 4), 1.0, r"must end in \[4, 10, 11\], got \[10, 11, 4\]; insert ToTensorImage"),
        (torch.rand(2, 4, 11, 10), 1.0, r"must end in \[4, 10, 11\], got \[4, 11, 10\]$"),
        (torch.rand(2, 4, 10, 11), 255.0, "input_scale is 255: ToTensorImage .* need input_scale=1.0"),
        (torch.full((2, 4, 10, 11), 200, dtype=torch.uint8), 1.0, "values from 200 to 200 .* need .*input_scale=255.0"),
        (torch.full((2, 4, 10, 11), -0.5), 1.0, "values from -0.5 to -0.5"),
    ],
)
def test_wrong_images_are_one_line_errors(images: torch.Tensor, scale: float, line: str) -> None:
    module = HadamaxModule("minatar", (4, 10, 11), scale)
    with pytest.raises(ValueError, match=line) as caught:
        module(TensorDict({"pixels": images}, [2]))
    assert "\n" not in str(caught.value)
