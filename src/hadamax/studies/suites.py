"""Games by the name of their suite, and whether a game exists."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from hadamax.environments.atari import atari_games, atari_name
from hadamax.errors import unknown
from hadamax.published import atari_subsets, random_human

MINATAR = ("Asterix", "Breakout", "Freeway", "Seaquest", "SpaceInvaders")
# HR section 5 runs 51 of the 57 games, "without hard-exploration environments", and does not name the six: our reading.
HARD_EXPLORATION = ("Gravitar", "MontezumaRevenge", "Pitfall", "PrivateEye", "Solaris", "Venture")
# HR's 8 games are "common, non-exploration driven" and not listed; Breakout, Seaquest and VideoPinball are in its text.
HR_8 = ("BeamRider", "Breakout", "Enduro", "Pong", "Qbert", "Seaquest", "SpaceInvaders", "VideoPinball")


class Suite(NamedTuple):
    """Games, as `--env` takes them, and where the list is from."""

    games: tuple[str, ...]
    source: str


@cache
def suites() -> dict[str, Suite]:
    """Every suite by name."""
    all_games = tuple(random_human())
    subset = "Aitchison et al. 2022, arXiv 2210.02019"
    return {
        "Atari-57": Suite(all_games, "the 57 games with published scores"),
        "HR-51": Suite(
            tuple(g for g in all_games if g not in HARD_EXPLORATION), "HR section 5; the six left out: ours"
        ),
        "HR-8": Suite(HR_8, "HR section 5 has 8 games and names three; the other five: ours"),
        **{name: Suite(tuple(entry.weights), subset) for name, entry in atari_subsets().items()},
        "MinAtar": Suite(tuple(f"MinAtar/{g}-v1" for g in MINATAR), "Young and Tian 2019, arXiv 1903.03176"),
    }


def suite_games(name: str) -> tuple[str, ...]:
    """The games of a suite.

    Raises:
        UserError: no such suite.
    """
    if name not in suites():
        raise unknown("suite", name, suites())
    return suites()[name].games


def known_game(game: str) -> str:
    """The game by its plain name: `Pong` for `PongNoFrameskip-v4`.

    Raises:
        UserError: it does not exist.
    """
    import gymnasium

    atari = atari_name(game)
    minatar = [f"MinAtar/{name}-v{version}" for version in (0, 1) for name in MINATAR]
    if atari is None and game not in minatar and game not in gymnasium.registry:
        raise unknown("game", game, [*atari_games(), *minatar])
    return atari or game


def folder_name(game: str) -> str:
    """The game as one folder's name: `MinAtar-Breakout-v1`."""
    return game.replace("/", "-")
