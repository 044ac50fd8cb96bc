"""Real games against the same games driven frame by frame: every row and point matches."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest
from tests.environments.oracle import Oracle

from hadamax.environments import EnvironmentSettings, Game, make_environment

pytestmark = pytest.mark.end_to_end

ROUNDING = 0.51
STEPS = 450


class Beside:
    """Play an environment and its oracle together and compare them after each step."""

    def __init__(self, settings: EnvironmentSettings, *, reseed_steps: int) -> None:
        s = self.settings = settings.resolved()
        self.environment = make_environment(s, 1, seed=3, threads=1)
        self.environment.engine.reseed_steps = reseed_steps
        self.oracle = Oracle(
            s.game,
            sticky=s.sticky_actions,
            full=s.full_action_set,
            fire_on_reset=s.fire_on_reset,
            limit=s.max_episode_frames,
        )
        self.seeds: list[int] = []
        reset = self.environment.engine.reset

        def noted(mask: np.ndarray, seeds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            self.seeds.extend(seeds.tolist())
            return reset(mask, seeds)

        self.environment.engine.reset = noted
        observations = self.environment.reset()
        self.begin(self.oracle.seed(self.seeds[-1]))
        self.compare(observations)
        self.must_fire, self.score, self.length = False, 0, 0
        self.seen = {"terminated": 0, "truncated": 0, "lost life": 0, "reward": 0, "reseeded": 0}

    def begin(self, picture: np.ndarray) -> None:
        filler = picture if self.settings.repeat_first_frame else np.zeros_like(picture)
        self.stack = deque([filler] * (self.settings.frame_stack - 1) + [picture], self.settings.frame_stack)

    def compare(self, observations: np.ndarray) -> None:
        assert np.abs(observations[0] - np.array(self.stack)).max() < ROUNDING

    def step(self, action: int) -> None:
        seeded = len(self.seeds)
        step = self.environment.step(np.array([action]))
        row = self.oracle.step(self.oracle.names.index("FIRE") if self.must_fire else action)
        assert step.agent_acted[0] == (not self.must_fire)
        assert step.rewards[0] == row.reward
        assert step.truncated[0] == row.truncated
        assert step.terminated[0] == (row.terminated or (row.lost_life and self.settings.life_loss_terminal))
        self.must_fire = row.lost_life and self.settings.fire_after_life_loss
        self.score, self.length = self.score + row.reward, self.length + 1
        if row.last is None:
            assert step.games == []
            assert len(step.final_observations) == 0
            self.stack.append(self.oracle.picture())
        else:
            assert step.games == [Game(0, self.score, self.length)]
            self.score = self.length = 0
            self.stack.append(row.last)
            self.compare(step.final_observations)
            new_seed = len(self.seeds) > seeded
            self.begin(self.oracle.seed(self.seeds[-1]) if new_seed else self.oracle.begin())
            self.seen["reseeded"] += new_seed
        self.compare(step.observations)
        self.seen["terminated"] += row.terminated
        self.seen["truncated"] += row.truncated
        self.seen["lost life"] += row.lost_life
        self.seen["reward"] = max(self.seen["reward"], row.reward)


@pytest.mark.parametrize(
    ("settings", "reseed_steps", "seen"),
    [
        ({"env": "Breakout"}, 10**9, {"terminated": 1, "lost life": 4}),
        ({"env": "Breakout", "protocol": "sticky", "full_action_set": False}, 150, {"lost life": 1}),
        (
            {"env": "Breakout", "sticky_actions": 0.25, "max_episode_frames": 403},
            150,
            {"truncated": 3, "reseeded": 1},
        ),
        ({"env": "Pong", "max_episode_frames": 400}, 150, {"truncated": 3, "reseeded": 1}),
        ({"env": "Seaquest", "repeat_first_frame": False}, 10**9, {"lost life": 2, "reward": 20}),
        ({"env": "Seaquest", "protocol": "sticky"}, 100, {"reward": 20}),
    ],
    ids=lambda value: value["env"] if isinstance(value, dict) and "env" in value else "",
)
def test_each_row_equals_the_oracle(settings: dict, reseed_steps: int, seen: dict[str, int]) -> None:
    beside = Beside(EnvironmentSettings(noop_max=0, **settings), reseed_steps=reseed_steps)
    actions = np.random.default_rng(4).integers(0, beside.environment.num_actions, STEPS)
    for action in actions:
        beside.step(int(action))
    assert {name: beside.seen[name] for name, least in seen.items() if beside.seen[name] < least} == {}, beside.seen


@pytest.mark.parametrize(
    ("env", "noop_max", "noops"),
    [
        ("Breakout", 0, {0}),
        ("Breakout", 1, {0}),
        ("Breakout", 4, {0, 1, 2, 3}),
        ("Breakout", 30, set(range(30))),
        ("Asterix", 0, {0}),  # without FIRE
        ("Asterix", 1, {0, 1}),
        ("Asterix", 30, set(range(31))),
    ],
)
def test_noops_precede_the_first_observation(env: str, noop_max: int, noops: set[int]) -> None:
    """Up to `noop_max` frames pass before the first observation, including FIRE."""
    environment = make_environment(EnvironmentSettings(env, noop_max=noop_max, max_episode_frames=4), 2, seed=1)
    oracle = Oracle(env, sticky=0.0, full=False, fire_on_reset=True, limit=10**9)
    starts = np.array([oracle.begin(number) for number in range(35)])
    environment.reset()
    found = set()
    for _ in range(20 if noop_max < 30 else 100):
        for observation in environment.step(np.zeros(2, int)).observations:
            different = np.abs(starts - observation[-1]).max(axis=(1, 2))
            assert different.min() < ROUNDING
            found.add(int(different.argmin()))
    assert found == noops
