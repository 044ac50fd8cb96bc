"""What PQN stores while acting: rewards, ends, bootstrap values, and no rows of the test environments."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.probes import Event, Rule, ScriptedEngine, make_learner, random_events, script

from hadamax.algorithms.pqn import PQN
from hadamax.environments import Step, VectorEnvironment

OVER, LIMIT = Event(reward=5, lives=0, terminated=True), Event(reward=-5, truncated=True)
LIFE = Event(reward=3, lives=2)


def scripted(rule: Rule, num_envs: int, **settings: object) -> PQN:
    """Return a learner of four steps per iteration with the papers' rules for lives and FIRE."""
    engine = ScriptedEngine(rule, num_envs, action_names=("NOOP", "FIRE", "LEFT", "RIGHT"))
    environment = VectorEnvironment(engine, seed=0, life_loss_terminal=True, fire_after_life_loss=True)
    return make_learner(environment, num_steps=4, num_minibatches=1, **settings)


def note_steps(learner: PQN) -> list[tuple[np.ndarray, Step]]:
    """Record the actions and the result of every step."""
    noted, sent = [], []
    send, receive = learner.environment.send, learner.environment.receive

    def sending(actions: np.ndarray) -> None:
        sent.append(actions.copy())
        send(actions)

    def receiving() -> Step:
        noted.append((sent[-1], receive()))
        return noted[-1][1]

    learner.environment.send, learner.environment.receive = sending, receiving
    return noted


def best(learner: PQN, observations: np.ndarray) -> torch.Tensor:
    return learner.q_values(torch.from_numpy(observations)).amax(dim=1)


def test_next_values_belong_to_the_following_state() -> None:
    """Cuts fall on the first row, on the last row, and on two environments at once."""
    uneventful = Event(1)
    learner = scripted(
        script(
            [LIMIT, uneventful, uneventful, LIMIT],
            [uneventful, uneventful, uneventful, LIMIT],
            [OVER, LIMIT, OVER, uneventful],
            [LIFE, uneventful, LIMIT, OVER],
        ),
        4,
    )
    noted = note_steps(learner)
    learner.collect()
    cut = 0
    for t, (_, step) in enumerate(noted):
        expected = best(learner, step.observations)
        for env, final in zip(step.ended, step.final_observations, strict=True):
            if step.truncated[env]:
                assert best(learner, final[None]) != expected[env]
                expected[env] = best(learner, final[None])
                cut += 1
        torch.testing.assert_close(learner.rollout.next_values[t, :, 0], expected)
    assert cut == 5


def test_rollout_stores_what_the_environments_returned() -> None:
    learner = scripted(script([Event(2), LIFE, Event(lives=2), OVER], [LIMIT, Event(1), Event(-3), Event()]), 2)
    observations = [learner.environment.observations.copy()]
    noted = note_steps(learner)
    learner.collect()
    observations += [step.observations for _, step in noted]
    rollout = learner.rollout
    assert np.array_equal(rollout.observations.numpy(), observations[:4])
    assert np.array_equal(rollout.actions.numpy(), [actions for actions, _ in noted])
    assert rollout.rewards.T.tolist() == [[2, 3, 0, 5], [-5, 1, -3, 0]]
    assert rollout.terminated.T.int().tolist() == [[0, 1, 0, 1], [0, 0, 0, 0]]
    assert rollout.truncated.T.int().tolist() == [[0, 0, 0, 0], [1, 0, 0, 0]]
    assert rollout.agent_acted.T.int().tolist() == [[1, 1, 0, 1], [1, 1, 1, 1]]


def test_second_rollout_continues_the_first() -> None:
    learner = scripted(random_events, 3)
    noted = note_steps(learner)
    learner.collect()
    learner.collect()
    assert len(noted) == 8
    assert np.array_equal(learner.rollout.observations[0].numpy(), noted[3][1].observations)


def test_rewards_are_clipped_and_scores_are_raw() -> None:
    learner = scripted(script([Event(0.5), Event(7), Event(-3), OVER]), 1, reward_clipping=True)
    games = learner.iteration().games
    assert learner.rollout.rewards.flatten().tolist() == [0.5, 1.0, -1.0, 1.0]
    assert [(game.raw_return, game.length, game.frame, game.source) for game in games] == [(9.5, 16, 16, "training")]


def test_test_environments_act_greedily_and_are_not_stored() -> None:
    learner = scripted(random_events, 5, num_test_envs=2, epsilon_start=1.0, epsilon_end=1.0)
    noted, observations, greedy, training, games = note_steps(learner), None, 0, 0, []
    for _ in range(30):
        observations = learner.environment.observations
        known = len(noted)
        learner.games = []
        learner.collect()
        games += learner.games
        assert learner.rollout.observations.shape[1] == 3
        for actions, step in noted[known:]:
            q = learner.q_values(torch.from_numpy(observations)).argmax(dim=1).numpy()
            assert np.array_equal(actions[3:], q[3:])
            greedy += 2
            training += (actions[:3] == q[:3]).sum()
            observations = step.observations
    assert training / (30 * 4 * 3) == pytest.approx(0.25, abs=0.1)  # with four random actions
    assert {game.source for game in games if game.env >= 3} == {"test"}
    assert {game.source for game in games if game.env < 3} == {"training"}


def test_truncation_of_a_test_environment_leaves_the_rollout_unchanged() -> None:
    plain, limit = [Event(1)] * 4, [LIMIT] * 4
    learner = scripted(script(plain, plain, limit), 3, num_test_envs=1)
    noted = note_steps(learner)
    learner.collect()
    assert not learner.rollout.truncated.any()
    for t, (_, step) in enumerate(noted):
        torch.testing.assert_close(learner.rollout.next_values[t, :, 0], best(learner, step.observations[:2]))


def test_frames_count_emulator_frames_of_training_environments() -> None:
    learner = scripted(random_events, 5, num_test_envs=2)
    assert learner.frames == 0
    assert learner.frames_per_iteration == 4 * 3 * 4  # steps, environments, frames per step
    learner.iteration()
    learner.iteration()
    assert learner.frames == 96


def test_game_is_logged_at_the_frame_of_its_end() -> None:
    learner = scripted(script([Event(), OVER, Event(), LIMIT, OVER], [Event()] * 5), 2)
    games = [*learner.iteration().games, *learner.iteration().games]
    assert [game.frame for game in games] == [16, 32, 40]
    assert [game.length for game in games] == [8, 8, 4]
