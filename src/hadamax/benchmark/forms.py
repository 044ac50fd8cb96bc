"""Contenders in PyTorch: our encoder, a plain implementation, a learner, the roofline, the environments alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hadamax.algorithms.pqn import PQN, PQNSettings
from hadamax.benchmark.contender import Spec
from hadamax.benchmark.doctor import serving
from hadamax.benchmark.plain import PLAIN
from hadamax.benchmark.products import Products
from hadamax.clock import Clock
from hadamax.environments import EnvironmentSettings, make_environment
from hadamax.kernels import keep_memory
from hadamax.networks import Encoder, build_encoder
from hadamax.runs.machine import PRECISIONS
from hadamax.runs.settings import NetworkSettings, RunSettings, TrainSettings
from hadamax.runs.setup import make_algorithm, resolve, training_environment

Jobs = dict[str, Callable[[], object]]
Form = tuple[Jobs, dict[str, Any]]

GAME = "Breakout"
OBSERVATION = (4, 84, 84)
ACTIONS = 4


def ours(spec: Spec) -> Form:
    """The library's encoder, as used in training."""
    torch.set_num_threads(spec.threads)
    keep_memory()
    encoder: Encoder = build_encoder(spec.encoder, OBSERVATION).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return _network_jobs(encoder, spec, torch.contiguous_format), {
        "blocks": serving(encoder, PRECISIONS[spec.precision])
    }


def plain(spec: Spec) -> Form:
    """The same network in idiomatic PyTorch, with PyTorch's default memory settings."""
    torch.set_num_threads(spec.threads)
    layouts = [spec.layout] if spec.layout else ["channels_last", "contiguous"]
    forms = {layout: _plain_jobs(spec, layout) for layout in layouts}
    best = min(forms, key=lambda layout: _least_seconds(forms[layout]["both"])) if len(forms) > 1 else layouts[0]
    return forms[best], {"layout": best}


def _plain_jobs(spec: Spec, layout: str) -> Jobs:
    form = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    encoder = PLAIN[spec.encoder]().to(memory_format=form)  # type: ignore[call-overload]
    network = nn.Sequential(encoder, nn.Linear(512, ACTIONS))
    optimizer = torch.optim.RAdam(network.parameters(), lr=2.5e-4)
    observations = _observations(spec.batch).contiguous(memory_format=form)
    actions, targets = torch.randint(ACTIONS, (spec.batch, 1)), torch.randn(spec.batch)

    def step(rows: slice = slice(None)) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=spec.precision == "bfloat16"):
            q = network(observations[rows])
        loss = 0.5 * (q.float().gather(1, actions[rows]).squeeze(1) - targets[rows]).square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        optimizer.step()

    return {**_network_jobs(encoder, spec, form), "update": step, "warm": lambda: step(slice(1))}


def _network_jobs(encoder: nn.Module, spec: Spec, layout: torch.memory_format) -> Jobs:
    """Return jobs `forward` (no grad) and `both` (forward + backward to every parameter) of a batch of bytes."""
    observations = _observations(spec.batch).contiguous(memory_format=layout)
    gradient = torch.randn(spec.batch, 512)
    parameters = list(encoder.parameters())

    def forward() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=spec.precision == "bfloat16"):
            features: Tensor = encoder(observations)
        return features

    def both() -> None:
        features = forward()
        torch.autograd.grad(features, parameters, gradient.to(features.dtype))

    return {"forward": torch.no_grad()(forward), "both": both}


def _observations(rows: int) -> Tensor:
    return torch.randint(256, (rows, *OBSERVATION), dtype=torch.uint8)


def _least_seconds(job: Callable[[], object], times: int = 2) -> float:
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        job()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def learner(spec: Spec) -> Form:
    """PQN on real games: a whole iteration."""
    return {"iteration": _pqn(spec, spec.pqn).iteration}, {}


def update(spec: Spec) -> Form:
    """One update of PQN with `batch` rows."""
    alone = {"num_envs": spec.batch, "num_steps": 1, "num_epochs": 1, "num_minibatches": 1, "num_test_envs": 0}
    algorithm = _pqn(spec, alone)
    targets = torch.randn(1, spec.batch, 1)
    one = (_observations(1), torch.zeros(1, dtype=torch.int64), torch.zeros(1, 1), torch.ones(1, 1))
    return {
        "update": lambda: algorithm.update(targets),
        "warm": lambda: algorithm.learn(*one, algorithm.optimizer.count_step()),
    }, {}


def _pqn(spec: Spec, settings: dict[str, Any]) -> PQN:
    norm: Any = settings.get("norm")
    chosen = {name: value for name, value in settings.items() if name != "norm"}
    given: TrainSettings[PQNSettings] = TrainSettings(
        run=RunSettings(device="cpu", precision=spec.precision, threads=spec.threads),  # type: ignore[arg-type]
        environment=EnvironmentSettings(env=GAME),
        network=NetworkSettings(encoder=spec.encoder, norm=norm),
        algorithm=PQNSettings(**chosen),
    )
    resolved = resolve("pqn", given)
    algorithm = make_algorithm("pqn", resolved, training_environment("pqn", resolved), Clock())
    assert isinstance(algorithm, PQN)
    algorithm.reset()
    algorithm.rollout.agent_acted[:] = True
    return algorithm


def products(spec: Spec) -> Form:
    """Only the convolutions and matrix multiplications of an encoder (roofline)."""
    torch.set_num_threads(spec.threads)
    keep_memory()
    found = Products(spec.encoder, PRECISIONS[spec.precision], {"batch": spec.batch, "acting": spec.acting})
    return found.jobs(), {"forms": found.chosen}


def environments(spec: Spec) -> Form:
    """The environments alone, stepped with random actions."""
    games = make_environment(EnvironmentSettings(env=GAME), spec.acting, seed=1, threads=spec.threads)
    games.reset()
    random = np.random.default_rng(0)

    return {"step": lambda: games.step(random.integers(games.num_actions, size=spec.acting))}, {}


FORMS: dict[str, Callable[[Spec], Form]] = {
    "ours": ours,
    "plain": plain,
    "learner": learner,
    "update": update,
    "products": products,
    "environments": environments,
}
