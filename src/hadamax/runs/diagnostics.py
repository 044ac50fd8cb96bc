"""Periodic measurements of a run's network, on fixed observations and on the latest ones.

Measuring does not affect learning: random numbers come from separate generators, seeded by the run's seed and the
frame, so checkpoints contain none of it. The fixed observations come from random play with a separate seed; a resumed
run plays them again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hadamax.algorithms import Algorithm
from hadamax.diagnostics import churn, gradient_norm, measure, observe, update_ratio, weight_norm
from hadamax.diagnostics.health import BATCH, Health, shares
from hadamax.diagnostics.observations import evaluating
from hadamax.diagnostics.selection import select
from hadamax.diagnostics.updates import parameters_by_layer
from hadamax.environments import EnvironmentSettings
from hadamax.environments.engine import Array
from hadamax.environments.play import play_observations, random_policy

OBSERVATIONS = 2048  # of each kind
SEED_OFFSET = 3_000_000  # of the fixed observations' games, distinct from training and evaluation
WHOLE = "(network)"
OF_WEIGHTS = ("weight_norm", "gradient_norm", "update_ratio")
COLUMNS = (
    "frame",
    "observations",
    *Health._fields,
    *("output_live", "output_dead", *OF_WEIGHTS, "churn"),
)
Row = dict[str, Any]


def fixed_observations(settings: EnvironmentSettings, num_actions: int, seed: int, threads: int) -> Array:
    """Return the observations that all measurements of a run share, from random play, of a sequence in every game."""
    seed = (seed + SEED_OFFSET) % 2**63
    policy = random_policy(num_actions, seed)
    games = settings.games
    parts = [
        play_observations(
            policy, settings.starting_with(game), -(-OBSERVATIONS // len(games)), seed=seed, threads=threads
        )
        for game in games
    ]
    return np.concatenate(parts)[:OBSERVATIONS]


class Diagnostics:
    """Measurements in the first iteration that ends at or after each multiple of `every` frames; none if it is 0.

    A multiple in the remainder after the last whole iteration is measured in that iteration. `seconds` and
    `measurements` count this process only.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        every: int,
        seed: int,
        fixed: Callable[[], Array],
        say: Callable[[str], None],
        frames: int = 0,
    ) -> None:
        self.algorithm, self.every, self.seed, self.say, self.frames = algorithm, every, seed, say, frames
        self._make_fixed = fixed
        self._fixed: Tensor | None = None
        self._before: tuple[list[Tensor], Tensor] | None = None
        self.seconds, self.measurements = 0.0, 0

    def before_iteration(self) -> None:
        """Keep weights and scores if the coming iteration will be measured."""
        frames = self.algorithm.frames
        self._frames, self._before = frames, None
        if self._due(frames, frames + self.algorithm.frames_per_iteration):
            start = time.perf_counter()
            weights = [p.detach().clone() for p in self.algorithm.network.parameters()]
            self._before = weights, self._scores()
            self.seconds += time.perf_counter() - start

    def after_iteration(self) -> list[Row]:
        """Return rows of `diagnostics.csv` if a measurement is due, else none."""
        frame = self.algorithm.frames
        if not self._due(self._frames, frame):
            return []
        start = time.perf_counter()
        rows = []
        try:
            rows = [*self._activity("fixed", self.fixed()), *self._activity("fresh", self._fresh(frame))]
            rows += self._weights()
        except ValueError as error:  # not finite; the run itself continues
            self.say(f"diagnostics: frame {frame:,} is not measured: {error}")
            return []
        finally:
            self._before = None
            self.seconds += time.perf_counter() - start
        self.measurements += 1
        return [{name: _rounded({"frame": frame, **row}.get(name)) for name in COLUMNS} for row in rows]

    def fixed(self) -> Tensor:
        """[OBSERVATIONS, *shape], played on first use."""
        if self._fixed is None:
            self._fixed = torch.from_numpy(self._make_fixed())
        return self._fixed

    def _due(self, before: int, after: int) -> bool:
        if after + self.algorithm.frames_per_iteration > self.frames:  # none follows
            after = max(after, self.frames)
        return self.every > 0 and after // self.every > before // self.every

    def _fresh(self, frame: int) -> Tensor:
        observations = self.algorithm.recent_observations()
        number = min(OBSERVATIONS, len(observations))
        chosen = np.random.default_rng([self.seed, frame]).permutation(len(observations))[:number]
        return observations[torch.from_numpy(chosen).to(observations.device)]

    @torch.no_grad()
    def _scores(self) -> Tensor:
        """Scores of the fixed observations, in evaluation mode."""
        network, fixed = self.algorithm.network, self.fixed()
        with evaluating(network):
            batches = range(0, len(fixed), BATCH)
            return torch.cat([self.algorithm.q_values(fixed[start : start + BATCH]) for start in batches])

    def _activity(self, kind: str, observations: Tensor) -> list[Row]:
        network = self.algorithm.network
        samples = observe(network, observations, forward=self.algorithm.q_values, samples=OBSERVATIONS)
        rows: list[Row] = [{"observations": kind, **health._asdict()} for health in measure(samples, self.seed)]
        parts = shares(network, samples, observations, forward=self.algorithm.q_values, seed=self.seed)
        if parts is not None:
            rows[-1]["output_live"], rows[-1]["output_dead"] = parts
        return rows

    def _weights(self) -> list[Row]:
        """Return one row per layer for its weights, and one for the whole network."""
        network = self.algorithm.network
        names = list(dict(network.named_parameters()))
        layers = {**parameters_by_layer(network, select(network)), WHOLE: names}
        after = dict(network.named_parameters())
        before = dict(zip(names, self._before[0], strict=True)) if self._before else {}
        rows = []
        for layer, members in layers.items():
            parameters = [after[name] for name in members]
            row: Row = {"layer": layer, "part": "weights", "weight_norm": weight_norm(parameters)}
            row["gradient_norm"] = gradient_norm(parameters)
            if before:
                row["update_ratio"] = update_ratio([before[name] for name in members], parameters)
            rows.append(row)
        if self._before:
            rows[-1]["observations"] = "fixed"
            rows[-1]["churn"] = churn(self._before[1], self._scores())
        return rows


def scalars(rows: list[Row]) -> dict[str, float]:
    """Return the numbers of rows by their TensorBoard names."""
    found = {}
    for row in rows:
        place = row["layer"] if row["part"] in ("output", "weights") else f"{row['layer']} {row['part']}"
        for name in COLUMNS[6:]:
            if row[name] != "":
                observations = "" if name in OF_WEIGHTS else row["observations"]
                found[f"diagnostics/{name}/{'/'.join(filter(None, (observations, place)))}"] = row[name]
    return found


def _rounded(value: Any) -> Any:
    """Round to seven digits; an empty cell for undefined values."""
    if value is None:
        return ""
    return float(f"{value:.7g}") if isinstance(value, float) else value
