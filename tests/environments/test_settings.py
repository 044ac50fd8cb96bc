"""Game names, protocols, one-line errors, protocol fingerprint."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from hadamax.environments import EnvironmentSettings, make_environment
from hadamax.environments.atari import atari_games
from hadamax.environments.settings import PROTOCOLS
from hadamax.errors import UserError

# The 57 games of the score tables.
GAMES = [
    "Alien", "Amidar", "Assault", "Asterix", "Asteroids", "Atlantis", "BankHeist", "BattleZone",
    "BeamRider", "Berzerk", "Bowling", "Boxing", "Breakout", "Centipede", "ChopperCommand",
    "CrazyClimber", "Defender", "DemonAttack", "DoubleDunk", "Enduro", "FishingDerby", "Freeway",
    "Frostbite", "Gopher", "Gravitar", "Hero", "IceHockey", "Jamesbond", "Kangaroo", "Krull",
    "KungFuMaster", "MontezumaRevenge", "MsPacman", "NameThisGame", "Phoenix", "Pitfall", "Pong",
    "PrivateEye", "Qbert", "Riverraid", "RoadRunner", "Robotank", "Seaquest", "Skiing", "Solaris",
    "SpaceInvaders", "StarGunner", "Surround", "Tennis", "TimePilot", "Tutankham", "UpNDown",
    "Venture", "VideoPinball", "WizardOfWor", "YarsRevenge", "Zaxxon",
]  # fmt: skip


def settings(env: str = "Pong", **values: object) -> EnvironmentSettings:
    return EnvironmentSettings(env=env, **values)


@pytest.mark.parametrize("game", GAMES)
def test_every_published_game_is_known(game: str) -> None:
    rom = atari_games()[game]
    for name in (
        game,
        f"ALE/{game}-v5",
        f"{game}NoFrameskip-v4",
        f"{game}Deterministic-v0",
        f"{game}-v4",
        rom,
    ):
        assert settings(name).family == "atari"
        assert settings(name).game == game
        assert settings(name).resolved().env == game


def test_atari_57_has_57_games() -> None:
    assert len(set(GAMES)) == 57


@pytest.mark.parametrize("name", ["pong", "PONG", "ms_pacman", "mspacman", "ALE/MsPacman-v5"])
def test_names_ignore_case_and_underscores(name: str) -> None:
    assert settings(name).game in ("Pong", "MsPacman")


@pytest.mark.parametrize(
    ("env", "family"),
    [
        ("CartPole-v1", "gymnasium"),
        ("Blackjack-v1", "gymnasium"),  # Gymnasium's Blackjack, although Atari has a game of this name
        ("MinAtar/Breakout-v1", "minatar"),
        ("Pong-ram-v5", "gymnasium"),  # unsupported: RAM observations
        ("ALE/Pong-ram-v5", "gymnasium"),
        ("", "gymnasium"),
    ],
)
def test_other_environments_are_not_atari(env: str, family: str) -> None:
    assert settings(env).family == family
    assert settings(env).game == env


@pytest.mark.parametrize(
    ("env", "suggestion"),
    [
        ("Pogn", "'Pong'"),
        ("breakot", "'Breakout'"),
        ("CartPol-v1", "'CartPole-v1'"),
        ("ALE/Nothing-v5", ""),
        ("ALE/Pong-ram-v5", ""),
        ("Pong-v7", "'Pong'"),
    ],
)
def test_unknown_names_get_a_suggestion(env: str, suggestion: str) -> None:
    with pytest.raises(UserError, match=rf"^env: '{env}' is unknown; .*{suggestion}.*expected .*$") as caught:
        make_environment(settings(env), 1, seed=0)
    assert "\n" not in str(caught.value)


def test_protocol_of_the_paper() -> None:
    assert settings().resolved() == EnvironmentSettings(
        env="Pong",
        protocol="papers",
        sticky_actions=0.0,
        life_loss_terminal=True,
        full_action_set=False,
        noop_max=30,
        fire_on_reset=True,
        fire_after_life_loss=True,
        reward_clipping=True,
        frame_skip=4,
        frame_stack=4,
        screen_size=84,
        repeat_first_frame=True,
        max_episode_frames=108_000,
    )


def test_sticky_protocol() -> None:
    resolved = settings(protocol="sticky").resolved()
    assert (resolved.sticky_actions, resolved.noop_max) == (0.25, 0)
    assert (resolved.full_action_set, resolved.life_loss_terminal) == (True, False)
    assert (resolved.fire_on_reset, resolved.fire_after_life_loss) == (False, False)
    assert replace(resolved, protocol="papers", **PROTOCOLS["papers"]) == settings().resolved()


def test_explicit_settings_override_the_protocol() -> None:
    resolved = settings(protocol="sticky", sticky_actions=0.0, full_action_set=False, noop_max=7).resolved()
    assert (resolved.sticky_actions, resolved.full_action_set, resolved.noop_max) == (0.0, False, 7)


def test_forced_fire_requires_life_loss_terminal() -> None:
    """Otherwise the step before would bootstrap from a value that is never trained."""
    assert settings(life_loss_terminal=False).resolved().fire_after_life_loss is False
    assert settings(protocol="sticky", life_loss_terminal=True, fire_after_life_loss=True).resolved()
    for protocol in ("papers", "sticky"):
        wrong = settings(protocol=protocol, life_loss_terminal=False, fire_after_life_loss=True)
        with pytest.raises(UserError, match=r"^fire_after_life_loss: True needs life_loss_terminal.*expected False"):
            wrong.resolved()


@pytest.mark.parametrize("env", ["Pong", "CartPole-v1", "MinAtar/Breakout-v1"])
def test_resolving_twice_changes_nothing(env: str) -> None:
    once = settings(env).resolved()
    assert once.resolved() == once


def test_defaults_outside_atari() -> None:
    minatar = settings("MinAtar/Breakout-v1").resolved()
    assert (minatar.sticky_actions, minatar.reward_clipping, minatar.max_episode_frames) == (
        0.1,
        False,
        108_000,
    )
    gymnasium = settings("CartPole-v1").resolved()
    assert (gymnasium.reward_clipping, gymnasium.max_episode_frames) == (False, None)
    assert {minatar.frame_skip, gymnasium.sticky_actions, gymnasium.life_loss_terminal} == {None}


ATARI_ONLY = {
    "life_loss_terminal": False,
    "full_action_set": True,
    "noop_max": 0,
    "fire_on_reset": False,
    "fire_after_life_loss": False,
    "frame_skip": 4,
    "frame_stack": 4,
    "screen_size": 84,
    "repeat_first_frame": False,
}


@pytest.mark.parametrize(("name", "value"), [*ATARI_ONLY.items(), ("protocol", "sticky")])
@pytest.mark.parametrize("env", ["CartPole-v1", "MinAtar/Breakout-v1"])
def test_settings_without_effect_are_errors(env: str, name: str, value: object) -> None:
    with pytest.raises(UserError, match=rf"^{name}: '?{value}'? has no meaning for {env}; leave it out$"):
        settings(env, **{name: value}).resolved()


def test_sticky_actions_are_an_error_for_gymnasium() -> None:
    with pytest.raises(UserError, match=r"^sticky_actions: 0.25 has no meaning for CartPole-v1"):
        settings("CartPole-v1", sticky_actions=0.25).resolved()


@pytest.mark.parametrize(
    ("name", "value", "least"),
    [
        ("frame_skip", 0, 1),
        ("frame_stack", 0, 1),
        ("screen_size", 7, 8),
        ("noop_max", -1, 0),
        ("max_episode_frames", 0, 1),
    ],
)
def test_numbers_below_their_minimum_are_errors(name: str, value: int, least: int) -> None:
    with pytest.raises(UserError, match=f"^{name}: {value} is too small; expected {least} or more$"):
        settings(**{name: value}).resolved()
    assert getattr(settings(**{name: least}).resolved(), name) == least


@pytest.mark.parametrize(("name", "most"), [("noop_max", 100_000), ("max_episode_frames", 2**31 - 1)])
def test_numbers_too_large_for_the_emulator_are_errors(name: str, most: int) -> None:
    with pytest.raises(UserError, match=f"^{name}: {10**20} is too large; expected {most} or less$"):
        settings(**{name: 10**20}).resolved()


@pytest.mark.parametrize("value", [-0.1, 1.0, 1.5, float("nan")])
def test_sticky_actions_must_be_below_1(value: float) -> None:
    with pytest.raises(
        UserError, match=f"^sticky_actions: {value} is not a probability below 1; expected 0 or more, below 1$"
    ):
        settings(sticky_actions=value).resolved()


def test_unknown_protocol_is_an_error() -> None:
    with pytest.raises(UserError, match=r"^protocol: 'mine' is unknown; expected one of papers, sticky$"):
        settings(protocol="mine").resolved()


# -- the fingerprint ---------------------------------------------


def test_fingerprints_are_stable() -> None:
    """Reports group runs by fingerprint: a change here separates new runs from old ones."""
    assert settings().fingerprint() == "35415af6f259"
    assert settings(protocol="sticky").fingerprint() == "0806bc86a685"


@pytest.mark.parametrize(
    "same",
    [
        settings("Breakout"),
        settings("PongNoFrameskip-v4"),
        settings(sticky_actions=0.0, noop_max=30),
        settings(sticky_actions=0),
        settings(protocol="sticky", **PROTOCOLS["papers"]),
        settings().resolved(),
    ],
)
def test_irrelevant_settings_keep_the_fingerprint(same: EnvironmentSettings) -> None:
    assert same.fingerprint() == settings().fingerprint()


OTHER = {
    **ATARI_ONLY,
    "sticky_actions": 0.25,
    "reward_clipping": False,
    "frame_skip": 2,
    "frame_stack": 2,
    "screen_size": 42,
    "max_episode_frames": 18_000,
}


def test_every_setting_changes_the_fingerprint() -> None:
    assert {*OTHER, "env", "protocol"} == {f.name for f in fields(EnvironmentSettings)}
    prints = {settings(**{name: value}).fingerprint() for name, value in OTHER.items()}
    assert len(prints | {settings().fingerprint()}) == len(OTHER) + 1


def test_families_do_not_share_a_fingerprint() -> None:
    names = ("Pong", "CartPole-v1", "MinAtar/Breakout-v1")
    assert len({settings(name).fingerprint() for name in names}) == 3
