"""The action log against a plain list that keeps everything."""

import numpy as np
import pytest

from hadamax.environments.engine import ActionLog


@pytest.mark.parametrize("chance", [0.0, 0.002, 0.02, 0.5])
def test_keeps_actions_since_the_oldest_seed(chance: float) -> None:
    random = np.random.default_rng(0)
    log, all_rows, seeded = ActionLog(3, 18), [], np.zeros(3, int)
    for row in range(5000):
        mask = random.random(3) < chance
        log.begin(mask)
        seeded[mask] = row
        log.append(actions := random.integers(0, 18, 3))
        all_rows.append(actions)
        if row % 97 == 0:
            kept, starts = log.kept()
            assert np.array_equal(kept, all_rows[seeded.min() :])
            assert np.array_equal(starts, seeded - seeded.min())
            assert np.array_equal(log.ages(), len(all_rows) - seeded)


def test_stays_small_with_recent_seeds() -> None:
    log = ActionLog(2, 18)
    for row in range(20_000):
        log.begin(np.array([row % 100 == 0, row % 170 == 0]))
        log.append(np.array([1, 2]))
    assert len(log._actions) == 1024


def test_returned_actions_do_not_change() -> None:
    log = ActionLog(1, 18)
    log.append(np.array([3]))
    kept, starts = log.kept()
    log.begin(np.array([True]))
    log.append(np.array([4]))
    assert kept.tolist() == [[3]]
    assert starts.tolist() == [0]


def test_actions_above_255_are_kept() -> None:
    log = ActionLog(1, 1000)
    log.append(np.array([999]))
    assert log.kept()[0].tolist() == [[999]]
