"""Normalised scores against hand-computed and published ones."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest

from hadamax.published import atari_subsets, published_agents, random_human, read_table
from hadamax.studies.scores import baseline_normalised, baseline_range, estimate_median, human_normalised


def test_human_normalised_by_hand() -> None:
    found = human_normalised([1.7, 30.5, 59.3], "Breakout")
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, [0.0, 1.0, 2.0])
    assert human_normalised([[14.6]], "Pong").shape == (1, 1)
    with pytest.raises(ValueError, match="game: 'Pnog' has no published"):
        human_normalised([1.0], "Pnog")


def test_baseline_normalised_by_hand() -> None:
    bounds = baseline_range([[-5.0, 0.0, 12.0], [math.nan, -8.0], []])
    assert bounds == (-8.0, 12.0)
    np.testing.assert_allclose(baseline_normalised([-8.0, 2.0, 12.0, 32.0], bounds), [0.0, 0.5, 1.0, 2.0])


@pytest.mark.parametrize(
    ("curves", "words"),
    [([], "no score"), ([[math.nan]], "no score"), ([[3.0], [3.0]], "all scores are 3")],
)
def test_baseline_without_a_range_is_an_error(curves: list[list[float]], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        baseline_range(curves)


def test_estimate_by_hand() -> None:
    """Atari-1 has one game, NameThisGame: (1 + 300)^w - 1 percent."""
    found = estimate_median({"NameThisGame": 3.0, "Pong": 99.0}, "Atari-1")
    assert found.median == pytest.approx((301**0.9975883300775931 - 1) / 100)
    assert found.relative_error == pytest.approx(0.274)
    assert estimate_median({"NameThisGame": -0.5}, "Atari-1").median == 0.0


@pytest.mark.parametrize("agent", ["dqn", "dueling_ddqn", "qr_dqn_1"])
def test_estimates_are_near_the_published_medians(agent: str) -> None:
    """For agents of the fit: within two mean errors of their Atari-10 estimates."""
    scores = {game: float(human_normalised(score, game)) for game, score in published_agents()[agent].items()}
    found = estimate_median(scores, "Atari-10")
    assert len(scores) == 57
    assert found.median == pytest.approx(float(np.median(list(scores.values()))), rel=2 * found.relative_error)


def test_impossible_estimates_are_errors() -> None:
    with pytest.raises(ValueError, match="subset: 'Atari-4' is unknown; expected one of Atari-5, Atari-10"):
        estimate_median({}, "Atari-4")
    with pytest.raises(ValueError, match="Atari-3: no score of BattleZone, Phoenix"):
        estimate_median({"NameThisGame": 1.0, "Phoenix": math.nan}, "Atari-3")


def test_tables_are_complete_and_agree_on_names() -> None:
    sizes = {name: len(subset.weights) for name, subset in atari_subsets().items()}
    assert sizes == {"Atari-1": 1, "Atari-3": 3, "Atari-5": 5, "Atari-10": 10, "Atari-3-Val": 3, "Atari-5-Val": 5}
    games = {game for subset in atari_subsets().values() for game in subset.weights}
    games |= {game for scores in published_agents().values() for game in scores}
    assert games <= set(random_human())
    assert set(random_human()) - set(published_agents()["rainbow"]) == {"Jamesbond", "Riverraid", "UpNDown"}
    assert len(read_table("published_scores.csv")) == 483
    assert len(read_table("hadamax_published.csv")) == 37


@pytest.mark.parametrize("name", ["atari_subsets", "published_scores", "hadamax_published", "random_human"])
def test_every_table_has_a_source(name: str) -> None:
    import hadamax.data

    folder = Path(str(hadamax.data.__file__)).parent
    assert (folder / f"{name}.csv").is_file()
    assert re.search(r"arXiv|dqn_zoo", (folder / f"{name}.md").read_text())
