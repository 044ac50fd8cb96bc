"""Settings of the game and its protocol, and a fingerprint: scores are comparable if their fingerprints are equal."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from hadamax.environments.atari import AtariEngine, atari_games, atari_name
from hadamax.environments.engine import Engine
from hadamax.environments.gymnasium import make_gymnasium, make_minatar
from hadamax.environments.sequence import SequenceEngine
from hadamax.environments.vector import EnvironmentGroups, VectorEnvironment
from hadamax.errors import UserError, unknown

# `papers`: HR Tables 4-6 and the published wrappers. `sticky`: Machado et al. 2018 (arXiv 1709.06009).
PROTOCOLS: dict[str, dict[str, Any]] = {
    "papers": {
        "sticky_actions": 0.0,
        "life_loss_terminal": True,
        "full_action_set": False,
        "noop_max": 30,
        "fire_on_reset": True,
        "fire_after_life_loss": True,
    },
    "sticky": {
        "sticky_actions": 0.25,
        "life_loss_terminal": False,
        "full_action_set": True,
        "noop_max": 0,
        "fire_on_reset": False,
        "fire_after_life_loss": False,
    },
}
ATARI: dict[str, Any] = {
    "reward_clipping": True,
    "frame_skip": 4,
    "frame_stack": 4,
    "screen_size": 84,
    "repeat_first_frame": True,
    "max_episode_frames": 108_000,
}
# Other environments support only these settings.
MINATAR: dict[str, Any] = {"sticky_actions": 0.1, "reward_clipping": False, "max_episode_frames": 108_000}


@dataclass(frozen=True)
class EnvironmentSettings:
    """The game and its protocol. A setting left out takes its default from `protocol`, shown in brackets."""

    env: str = "Pong"
    """Game: Pong, ALE/Pong-v5, PongNoFrameskip-v4, MinAtar/Breakout-v1, or a Gymnasium id with discrete actions.
    Several games joined by commas are played in sequence, each for an equal part of --frames. The id selects only the
    game; the protocol comes from these settings."""
    protocol: Literal["papers", "sticky"] = "papers"
    """Defaults of the settings below: papers (HR Tables 4-6) or sticky (Machado et al. 2018)."""
    sticky_actions: float | None = None
    """Probability that the emulator repeats the last action, per frame. [papers 0, sticky 0.25, MinAtar 0.1]"""
    life_loss_terminal: bool | None = None
    """A lost life ends the learning episode (not the game). HR Table 6. [papers True, sticky False]"""
    full_action_set: bool | None = None
    """All 18 actions instead of those the game uses. [papers False, sticky True]"""
    noop_max: int | None = None
    """Maximum number of no-op frames at the start of a game, including FIRE. HR Table 6. [papers 30, sticky 0]"""
    fire_on_reset: bool | None = None
    """Press FIRE at the start of a game that has this action. [papers True, sticky False]"""
    fire_after_life_loss: bool | None = None
    """Press FIRE after a lost life in a game that has this action; nothing is learned from that step.
    [papers True, sticky False; False without life_loss_terminal]"""
    reward_clipping: bool | None = None
    """Learn from rewards clipped to [-1, 1]; scores are always raw. HR Tables 4-6. [Atari True, others False]"""
    frame_skip: int | None = None
    """Frames an action is held; the last two are merged by their maximum. HR Tables 4-6. [Atari 4]"""
    frame_stack: int | None = None
    """Observations stacked as channels. HR Table 4. [Atari 4]"""
    screen_size: int | None = None
    """Side of the square grey observation, in pixels. HR Table 4. [Atari 84]"""
    repeat_first_frame: bool | None = None
    """Fill the stack at a game's start with the first frame, as envpool does, instead of zeros. [Atari True]"""
    max_episode_frames: int | None = None
    """Emulator frames after which a game is truncated. [Atari and MinAtar 108000; Gymnasium: the environment's own]"""

    @property
    def family(self) -> Literal["atari", "minatar", "gymnasium"]:
        first = self.games[0]
        if first.startswith("MinAtar/"):
            return "minatar"
        return "atari" if atari_name(first) else "gymnasium"

    @property
    def games(self) -> tuple[str, ...]:
        """The games of a sequence, or the only one: `Pong` for `PongNoFrameskip-v4`; other ids unchanged."""
        names = (env.strip() for env in self.env.split(","))
        return tuple(atari_name(env) or env for env in names)

    @property
    def game(self) -> str:
        """The game's name in score tables; the names of a sequence joined by commas."""
        return ",".join(self.games)

    def starting_with(self, game: str) -> EnvironmentSettings:
        """Return the settings of a sequence that begins with another of its games; observations and actions stay.

        Raises:
            UserError: the sequence does not have that game.
        """
        game = atari_name(game) or game
        if game not in self.games:
            raise unknown("game", game, self.games)
        return replace(self, env=",".join((game, *(other for other in self.games if other != game))))

    def resolved(self) -> EnvironmentSettings:
        """Return the settings with every default filled in and the game's plain name.

        Raises:
            UserError: a setting does not apply to this environment, or a value is out of range.
        """
        self._check_games()
        defaults = self._defaults()
        values = asdict(self)
        for name, value in values.items():
            if value is not None and name not in (*defaults, "env", "protocol"):
                raise UserError(f"{name}: {value} has no meaning for {self.env}; leave it out")
        filled = {name: defaults.get(name) if value is None else value for name, value in values.items()}
        if filled["sticky_actions"] is not None:
            filled["sticky_actions"] = float(filled["sticky_actions"])  # 0 and 0.0 are one protocol
        if self.fire_after_life_loss is None and filled["life_loss_terminal"] is False:
            filled["fire_after_life_loss"] = False
        settings = replace(self, **{**filled, "env": self.game})  # type: ignore[arg-type]
        settings._check()
        return settings

    def _check_games(self) -> None:
        if len(set(self.games)) < len(self.games):
            raise UserError(f"env: {self.env} names a game twice; expected each once, and --cycles to repeat all")
        kinds = {replace(self, env=game).family: game for game in self.games}
        if len(kinds) > 1:
            said = " and ".join(f"{game} of {kind}" for kind, game in kinds.items())
            raise UserError(f"env: {self.env} mixes {said}; expected games of one kind")

    def _defaults(self) -> dict[str, Any]:
        if self.family != "atari" and self.protocol != "papers":
            raise UserError(f"protocol: {self.protocol!r} has no meaning for {self.env}; leave it out")
        if self.family == "minatar":
            return dict(MINATAR)
        if self.family == "gymnasium":
            return {"reward_clipping": False, "max_episode_frames": None}
        if self.protocol not in PROTOCOLS:
            raise UserError(f"protocol: {self.protocol!r} is unknown; expected one of {', '.join(PROTOCOLS)}")
        return {**ATARI, **PROTOCOLS[self.protocol]}

    def _check(self) -> None:
        bounds = {
            "frame_skip": (1, 1000),
            "frame_stack": (1, 1000),
            "screen_size": (8, 10_000),
            "noop_max": (0, 100_000),
            "max_episode_frames": (1, 2**31 - 1),
        }
        for name, (least, most) in bounds.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise UserError(f"{name}: {value} is too small; expected {least} or more")
            if value is not None and value > most:
                raise UserError(f"{name}: {value} is too large; expected {most} or less")
        if self.fire_after_life_loss and not self.life_loss_terminal:
            raise UserError(
                "fire_after_life_loss: True needs life_loss_terminal: the step that presses FIRE is not learned from, "
                "so nothing before it may build on its value; expected False, or life_loss_terminal True"
            )
        if self.sticky_actions is not None and not 0 <= self.sticky_actions < 1:
            raise UserError(
                f"sticky_actions: {self.sticky_actions} is not a probability below 1; expected 0 or more, below 1"
            )

    def fingerprint(self) -> str:
        """Return a hash (12 hex digits) of every setting that affects scores, except the game itself."""
        protocol = {k: v for k, v in asdict(self.resolved()).items() if k not in ("env", "protocol")}
        protocol["family"] = self.family
        return hashlib.sha256(json.dumps(protocol, sort_keys=True).encode()).hexdigest()[:12]


def make_groups(
    settings: EnvironmentSettings,
    num_envs: int,
    groups: int,
    *,
    seed: int,
    threads: int = 0,
    visits: int = 1,
    visit_steps: int | None = None,
) -> EnvironmentGroups:
    """Make the environments of `make_environment` in groups that can be stepped in turn."""
    parts = np.array_split(np.arange(num_envs), groups)
    options: dict[str, Any] = {"seed": seed, "threads": threads, "visits": visits, "visit_steps": visit_steps}
    return EnvironmentGroups([make_environment(settings, len(p), first=int(p[0]), **options) for p in parts])


def make_environment(
    settings: EnvironmentSettings,
    num_envs: int,
    *,
    seed: int,
    threads: int = 0,
    first: int = 0,
    visits: int = 1,
    visit_steps: int | None = None,
) -> VectorEnvironment:
    """Make the environments of `settings`, ready for `reset()`.

    Args:
        first: number of the first environment.
        visits, visit_steps: of a sequence of games: how many games are played, each for how many steps; without
            `visit_steps` only the first game.

    Raises:
        UserError: an unknown game, or a setting it cannot have.
    """
    s = settings.resolved()

    def make(game: str, num_envs: int) -> Engine:
        return make_engine(replace(s, env=game), num_envs, threads=threads)

    engine: Engine
    if len(s.games) == 1:
        engine = make(s.env, num_envs)
    else:
        engine = SequenceEngine(s.games, make, num_envs, visits=visits, visit_steps=visit_steps)
    return VectorEnvironment(
        engine,
        seed=seed,
        life_loss_terminal=bool(s.life_loss_terminal),
        fire_after_life_loss=bool(s.fire_after_life_loss),
        repeat_first_frame=bool(s.repeat_first_frame),
        first=first,
    )


def make_engine(s: EnvironmentSettings, num_envs: int, *, threads: int = 0) -> Engine:
    """Make the engine of resolved settings of one game."""
    if s.family == "minatar":
        assert s.sticky_actions is not None
        assert s.max_episode_frames is not None
        limit = s.max_episode_frames
        return make_minatar(s.env, num_envs, sticky_actions=s.sticky_actions, max_episode_frames=limit)
    if s.family == "gymnasium":
        return make_gymnasium(s.env, num_envs, max_episode_frames=s.max_episode_frames, games=atari_games())
    return make_atari(s, num_envs, threads=threads)


def make_atari(settings: EnvironmentSettings, num_envs: int, **engine_options: Any) -> AtariEngine:
    """Make the Atari engine of resolved settings; `engine_options` extend or override them."""
    names = ("sticky_actions", "full_action_set", "noop_max", "fire_on_reset", "frame_skip", "frame_stack")
    options = {name: getattr(settings, name) for name in (*names, "screen_size", "max_episode_frames")}
    return AtariEngine(settings.game, num_envs, **{**options, **engine_options})
