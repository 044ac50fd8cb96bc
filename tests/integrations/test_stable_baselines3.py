"""The features extractor inside Stable-Baselines3's own algorithms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

pytest.importorskip("stable_baselines3", reason="needs the extra: pip install 'hadamax-rl[sb3]'")

from gymnasium import spaces
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.preprocessing import preprocess_obs
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecTransposeImage

from hadamax import build_encoder
from hadamax.integrations.stable_baselines3 import HadamaxExtractor

pytestmark = [pytest.mark.extra("sb3"), pytest.mark.end_to_end]


class Pictures(gymnasium.Env[np.ndarray, int]):
    """Channels-last pictures that show the best action as a bright row; games of six steps."""

    def __init__(self, low: float = 0, high: float = 255, dtype: Any = np.uint8, size: int = 36) -> None:
        self.observation_space = spaces.Box(low, high, (size, size + 1, 1), dtype)
        self.action_space = spaces.Discrete(3)
        self.bright, self.steps = high, 0

    def picture(self) -> np.ndarray:
        self.best = int(self.np_random.integers(3))
        seen = np.zeros(self.observation_space.shape, self.observation_space.dtype)
        seen[10 * self.best + 2] = self.bright
        return seen

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.steps = 0
        return self.picture(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        reward = float(action == self.best)
        self.steps += 1
        return self.picture(), reward, self.steps == 6, False, {}


def policy(encoder: str = "hadamax-minatar", **settings: Any) -> dict[str, Any]:
    kwargs = {"encoder": encoder, **settings}
    return {"features_extractor_class": HadamaxExtractor, "features_extractor_kwargs": kwargs, "net_arch": []}


def stacked() -> VecFrameStack:
    return VecFrameStack(DummyVecEnv([Pictures, Pictures]), n_stack=4)


def algorithms() -> list[Any]:
    small = {"buffer_size": 200, "learning_starts": 16, "batch_size": 8, "train_freq": 4}
    contrib = pytest.param("QRDQN", small, id="QRDQN")
    return [
        pytest.param("DQN", small, id="DQN"),
        contrib,
        pytest.param("PPO", {"n_steps": 16, "batch_size": 8}, id="PPO"),
    ]


def algorithm(name: str) -> Any:
    if name == "QRDQN":
        from sb3_contrib import QRDQN

        return QRDQN
    return {"DQN": DQN, "PPO": PPO}[name]


@pytest.mark.parametrize(("name", "settings"), algorithms())
def test_trains_and_loads_from_disk(name: str, settings: dict[str, Any], tmp_path: Path) -> None:
    model = algorithm(name)("CnnPolicy", stacked(), policy_kwargs=policy(), seed=1, device="cpu", **settings)
    extractors = [module for module in model.policy.modules() if isinstance(module, HadamaxExtractor)]
    before = [p.detach().clone() for p in extractors[0].parameters()]
    model.learn(64)
    after = list(extractors[0].parameters())
    assert all(not torch.equal(x, y) for x, y in zip(before, after, strict=True)), "every layer of it learns"
    model.save(tmp_path / "model")
    again = algorithm(name).load(tmp_path / "model", device="cpu")
    seen = model.env.reset()
    assert seen.shape == (2, 4, 36, 37)
    actions, _ = model.predict(seen, deterministic=True)
    assert np.array_equal(actions, again.predict(seen, deterministic=True)[0])
    mine, theirs = model.policy.state_dict(), again.policy.state_dict()
    assert all(torch.equal(mine[key], theirs[key]) for key in mine)


@pytest.mark.slow
def test_dqn_learns_a_reward_from_the_observation() -> None:
    model = DQN(
        "CnnPolicy",
        DummyVecEnv([Pictures]),
        policy_kwargs=policy("minatar"),
        learning_rate=1e-3,
        buffer_size=1000,
        learning_starts=50,
        train_freq=1,
        gamma=0.0,
        exploration_fraction=0.5,
        seed=1,
        device="cpu",
    )
    model.learn(300)
    assert model.env is not None
    right = 0
    seen = model.env.reset()
    for _ in range(40):
        actions, _ = model.predict(seen, deterministic=True)
        seen, rewards, _, _ = model.env.step(actions)
        right += int(rewards[0])
    assert right >= 36  # 13 by chance


def test_features_equal_the_encoder_on_the_same_bytes() -> None:
    space = spaces.Box(0, 255, (4, 36, 37), np.uint8)
    images = torch.randint(0, 256, (2, 4, 36, 37), dtype=torch.uint8)
    for normalize, scale in ((True, 1.0), (False, 255.0)):
        extractor = HadamaxExtractor(space, "nature", scale, activation="tanh", branches=2, layers="last")
        like = build_encoder("nature", (4, 36, 37), 255.0, activation="tanh", branches=2, layers="last")
        like.load_state_dict(extractor.encoder.state_dict())
        arriving = preprocess_obs(images, space, normalize_images=normalize)
        assert isinstance(arriving, torch.Tensor)
        torch.testing.assert_close(extractor(arriving), like(images))
        assert extractor.features_dim == 512


def test_float_images_with_channels_last() -> None:
    space = spaces.Box(0, 1, (36, 37, 1), np.float32)
    extractor = HadamaxExtractor(space, "minatar", channels_last=True)
    images = torch.rand(2, 36, 37, 1)
    torch.testing.assert_close(extractor(images), extractor.encoder(images.movedim(-1, 1)))


def test_vectors_use_the_mlp() -> None:
    model = DQN("MlpPolicy", "CartPole-v1", policy_kwargs=policy("mlp"), learning_starts=10, seed=1, device="cpu")
    model.learn(30)


@pytest.mark.parametrize(
    ("space", "settings", "line"),
    [
        (spaces.Box(0, 1, (84, 84, 4), np.float32), {}, "has its channels last: .*channels_last=True"),
        (spaces.Dict({"image": spaces.Box(0, 255, (4, 84, 84), np.uint8)}), {}, "must be a Box of one image or vector"),
        (spaces.Box(0, 255, (4, 84, 84), np.uint8), {"encoder": "hadamx"}, "did you mean"),
        (spaces.Box(0, 255, (1, 12, 12), np.uint8), {"encoder": "nature"}, "too small"),
        (spaces.Box(0, 1, (4, 84, 84), np.float32), {"channels_last": True}, "its channels first; omit channels_last"),
        (spaces.Box(-1, 1, (4, 84, 84), np.float32), {}, "values from -1 to 1 and input_scale is 1: .*uint8 images"),
        (spaces.Box(0, 255, (4, 84, 84), np.float32), {}, "need input_scale=255.0"),
        (spaces.Box(0, 1, (4, 84, 84), np.float32), {"input_scale": 255.0}, "need input_scale=1.0"),
        (spaces.Box(-1, 1, (3,), np.float32), {}, r"observation_shape must be \(channels, height, width\)"),
    ],
)
def test_wrong_spaces_and_settings_are_errors(space: Any, settings: dict[str, Any], line: str) -> None:
    with pytest.raises((ValueError, TypeError), match=line) as caught:
        HadamaxExtractor(space, **settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("scale", "low", "high"),
    [(1.0, 0.0, 255.0), (255.0, 0.0, 1.0), (1.0, -1.0, 1.0), (1.0, 0.0, float("nan")), (1.0, 0.0, float("inf"))],
)
def test_wrong_image_scale_is_an_error_at_the_first_image(scale: float, low: float, high: float) -> None:
    extractor = HadamaxExtractor(spaces.Box(0, 255, (4, 36, 36), np.uint8), "minatar", scale)
    images = torch.zeros(1, 4, 36, 36)
    extractor(images)  # black images show no scale
    images[0, 0, 0], images[0, 0, 1] = low, high
    with pytest.raises(ValueError, match="input_scale"):
        extractor(images)


def test_environments_pass_the_check_of_the_library() -> None:
    check_env(Pictures())
    assert isinstance(PPO("CnnPolicy", stacked(), policy_kwargs=policy(), device="cpu").env, VecTransposeImage)
