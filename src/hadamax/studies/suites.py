"""Named suites of games, and validation of game names."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from hadamax.environments.atari import atari_games, atari_name
from hadamax.errors import unknown
from hadamax.published import atari_subsets, random_human

MINATAR = ("Asterix", "Breakout", "Freeway", "Seaquest", "SpaceInvaders")
# HR section 5 runs 51 of the 57 games, "without hard-exploration environments", without naming the six omitted ones.
# This choice is not from a paper.
HARD_EXPLORATION = ("Gravitar", "MontezumaRevenge", "Pitfall", "PrivateEye", "Solaris", "Venture")
# HR does not list its 8 "common, non-exploration driven" games; its text names Breakout, Seaquest and VideoPinball.
HR_8 = ("BeamRider", "Breakout", "Enduro", "Pong", "Qbert", "Seaquest", "SpaceInvaders", "VideoPinball")


class Suite(NamedTuple):
    """Names of games, as for `--env`, and the source of the list."""

    games: tuple[str, ...]
    source: str


@cache
def suites() -> dict[str, Suite]:
    """Return every suite by name."""
    all_games = tuple(random_human())
    subset = "Aitchison et al. 2022, arXiv 2210.02019"
    return {
        "Atari-57": Suite(all_games, "the 57 games with published scores"),
        "HR-51": Suite(
            tuple(g for g in all_games if g not in HARD_EXPLORATION),
            "HR section 5; the choice of the six omitted games is not from a paper",
        ),
        "HR-8": Suite(HR_8, "HR section 5; it names three of the 8 games, the other five are not from a paper"),
        **{name: Suite(tuple(entry.weights), subset) for name, entry in atari_subsets().items()},
        "MinAtar": Suite(tuple(f"MinAtar/{g}-v1" for g in MINATAR), "Young and Tian 2019, arXiv 1903.03176"),
    }


def suite_games(name: str) -> tuple[str, ...]:
    """Return the games of a suite.

    Raises:
        UserError: the suite is unknown.
    """
    if name not in suites():
        raise unknown("suite", name, suites())
    return suites()[name].games


def known_game(game: str) -> str:
    """Return a game's plain name: `Pong` for `PongNoFrameskip-v4`. A sequence of games has commas between them.

    Raises:
        UserError: the game does not exist.
    """
    import gymnasium

    if "," in game:
        return ",".join(known_game(one.strip()) for one in game.split(","))
    atari = atari_name(game)
    minatar = [f"MinAtar/{name}-v{version}" for version in (0, 1) for name in MINATAR]
    if atari is None and game not in minatar and game not in gymnasium.registry:
        raise unknown("game", game, [*atari_games(), *minatar])
    return atari or game


def folder_name(game: str) -> str:
    """Return the game's name as a folder name: `MinAtar-Breakout-v1`."""
    return game.replace("/", "-")
