"""`hadamax evaluate RUN`: play whole games with a trained agent and with baselines, under one protocol."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from rich.console import Console
from rich.table import Table

from hadamax.agents.agent import Agent
from hadamax.agents.evaluation import best_constant, capped, games_said, summary
from hadamax.agents.run_agent import load_run, untrained
from hadamax.cli.console import parse, say
from hadamax.environments.play import Policy, constant_policy, play, random_policy
from hadamax.errors import UserError
from hadamax.files import write_atomically
from hadamax.published import random_and_human
from hadamax.runs.curve import draw_curve
from hadamax.runs.folder import RunFolder
from hadamax.runs.settings import MOST_THREADS


@dataclass(frozen=True)
class Arguments:
    """Play whole games with a run's agent and write evaluation.json."""

    run: Annotated[str, tyro.conf.Positional]
    """Folder of the run."""
    episodes: int = 30
    """Whole games to play."""
    checkpoint: str = "latest"
    """latest, best, or a frame."""
    epsilon: float = 0.0
    """Probability of a random action; 0 is greedy."""
    sample: bool = False
    """Sample actions from the policy instead of taking the likeliest; PPO only."""
    seed: int = 1_000_000
    """Seed of the games; differs from training seeds by default."""
    max_episode_frames: int | None = None
    """Cut games at this many emulator frames. [default: the run's protocol]"""
    game: str | None = None
    """Game of a run that was trained on a sequence of games. [default: its last]"""
    baselines: bool = False
    """Play as many games at random, with each constant action, and with the untrained network."""
    video: str | None = None
    """Write an mp4 of one greedy game, with the agent's Q-values (PPO: log-probabilities) beside it."""
    video_seconds: float | None = None
    """Cut the video after this many seconds. [default: the whole game]"""
    device: str = "auto"
    """cpu, cuda, cuda:N, or auto."""
    threads: int = 0
    """Processor threads. [default 0: as many as the run's]"""

    def __post_init__(self) -> None:
        if self.episodes < 1:
            raise UserError(f"episodes: {self.episodes} is too small; expected 1 or more")
        if not 0 <= self.epsilon <= 1:
            raise UserError(f"epsilon: {self.epsilon} is out of range; expected 0 to 1")
        if self.video is not None and Path(self.video).suffix != ".mp4":  # checked before the games are played
            raise UserError(f"video: {self.video!r} does not end in .mp4")
        if self.video_seconds is not None and not self.video_seconds > 0:
            raise UserError(f"video_seconds: {self.video_seconds} is too short; expected more than 0")
        for name, most in (("seed", 2**63 - 1), ("threads", MOST_THREADS)):
            if not 0 <= getattr(self, name) <= most:
                raise UserError(f"{name}: {getattr(self, name)} is out of range; expected 0 to {most}")


def run(arguments: list[str]) -> int:
    given: Arguments = parse(Arguments, arguments, "hadamax evaluate")
    if given.video and not find_spec("av"):
        raise UserError(f"video: {given.video!r} needs an extra: pip install 'hadamax-rl[video]'")
    path = Path(given.run)
    folder, algorithm, settings = RunFolder.open(path)
    environment = capped(settings.environment, given.max_episode_frames).resolved()
    if given.game and len(environment.games) == 1:
        raise UserError(f"game: {given.game!r} has no meaning for a run of one game; leave it out")
    environment = environment.starting_with(given.game or environment.games[-1])
    if given.video:
        from hadamax.agents.video import check_filming

        check_filming(environment, Path(given.video))
    spaces = folder.spaces()
    agent = load_run(path, given.checkpoint, device=given.device, say=say)
    if given.sample and not agent.has_policy:
        raise UserError(f"sample: {algorithm} has no policy to draw from; expected greedy, or an epsilon above 0")
    torch.set_num_threads(given.threads or settings.run.threads)

    players: dict[str, Policy] = {"agent": _greedy(agent, given)}
    if given.baselines:
        players["untrained"] = _greedy(untrained(folder, algorithm, settings, device=given.device), given)
        players["random"] = random_policy(len(spaces.action_names), given.seed)
        for action, name in enumerate(spaces.action_names):
            players[f"always {name}"] = constant_policy(action)
    frames_per_step = environment.frame_skip or 1
    results = {}
    with Console(stderr=True).status("") as status:
        for name, policy in players.items():
            status.update(f"{name}: {given.episodes} game{'' if given.episodes == 1 else 's'}")
            games = play(policy, environment, given.episodes, seed=given.seed, threads=given.threads)
            results[name] = summary(games, environment.games[0], frames_per_step, environment.max_episode_frames)

    report: dict[str, Any] = {
        "source": "final evaluation",
        "frame": agent.frame,
        **({"game": environment.games[0]} if len(environment.games) > 1 else {}),
        "episodes": given.episodes,
        "seed": given.seed,
        "epsilon": given.epsilon,
        "sample": given.sample,
        "max_episode_frames": environment.max_episode_frames,
        "fingerprint": environment.fingerprint(),
        "agent": results.pop("agent"),
        "baselines": results,
    }
    try:
        write_atomically(folder.evaluation, (json.dumps(report, indent=1) + "\n").encode())
        draw_curve(path, folder.curve)
    except OSError as error:
        raise UserError(f"run: {path} cannot be written: {error.strerror}") from None
    _print(report, environment.games[0])
    print(f"numbers: {folder.evaluation}")
    print(f"learning curve: {folder.curve}")
    if given.video:
        _video(agent, environment, given)
    return 0


def _greedy(agent: Agent, given: Arguments) -> Policy:
    generator = torch.Generator().manual_seed(given.seed)
    return lambda observations: agent.act(observations, given.epsilon, generator, sample=given.sample)


def _video(agent: Agent, environment: Any, given: Arguments) -> None:
    from hadamax.agents.video import record_game

    say("recording a game")
    recording = record_game(
        lambda observations: agent.q_values(observations).numpy(),
        environment,
        Path(given.video or ""),
        seed=given.seed,
        epsilon=given.epsilon,
        max_seconds=given.video_seconds,
        title=f"{agent.frame:,} frames of training",
        score_name=agent.score_name,
    )
    print(f"video: {given.video} ({recording.seconds:.0f} s, score {recording.raw_return:,.0f})")


def _print(report: dict[str, Any], game: str) -> None:
    print(
        f"{game}: {games_said(report)}, epsilon {report['epsilon']:g}, "
        f"agent of frame {report['frame']:,}, protocol {report['fingerprint']}"
    )
    table = Table(box=None, pad_edge=False)
    for column in ("player", "mean", "95% interval", "sd", "median", "human-normalised", "distinct games"):
        table.add_column(column, justify="left" if column == "player" else "right")
    best = best_constant(report["baselines"])
    for name, result in [("agent", report["agent"]), *report["baselines"].items()]:
        if name.startswith("always ") and name != best:
            continue
        label = f"best constant action ({name.removeprefix('always ')})" if name == best else name
        table.add_row(label, *_cells(result))
    published = random_and_human(game)
    if published:
        for label, score in zip(("random, published", "human, published"), published, strict=True):
            table.add_row(label, f"{score:,.1f}")
    Console(width=120).print(table)
    for name in ("untrained", "random", best):
        if name in report["baselines"]:
            print(_verdict(report["agent"], report["baselines"][name], str(name)))


def _cells(result: dict[str, Any]) -> list[str]:
    interval = result["ci95"]
    between = f"{interval[0]:,.1f} to {interval[1]:,.1f}" if interval else "needs two games"
    normalised = result.get("human_normalised_mean")
    spread = f"{normalised:.2f} (sd {result['human_normalised_sd']:.2f})" if normalised is not None else "-"
    numbers = [f"{result['mean']:,.1f}", between, f"{result['sd']:,.1f}", f"{result['median']:,.1f}"]
    return [*numbers, spread, str(result["distinct_games"])]


def _verdict(agent: dict[str, Any], other: dict[str, Any], name: str) -> str:
    """State whether the agent beats a baseline by more than the sum of both 95% half-widths."""
    if not agent["ci95"] or not other["ci95"]:
        return f"agent against {name}: inconclusive with one game"
    gap = agent["mean"] - other["mean"]
    both = sum((r["ci95"][1] - r["ci95"][0]) / 2 for r in (agent, other))
    word = "beats it" if gap > both else "does not beat it"
    return f"agent against {name}: {gap:+,.1f}, both 95% half-widths together {both:,.1f}: {word}"
