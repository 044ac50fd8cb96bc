"""Set up a run from its settings: start a new one or resume one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from hadamax.algorithms import ALGORITHMS, Algorithm
from hadamax.clock import Clock
from hadamax.environments import Environments, make_environment, make_groups
from hadamax.errors import UserError
from hadamax.kernels import cpu, keep_memory
from hadamax.networks import ENCODERS, Encoder, build_encoder, matching_width
from hadamax.replay.memory import gigabytes
from hadamax.runs import machine
from hadamax.runs.diagnostics import Diagnostics, fixed_observations
from hadamax.runs.folder import RunFolder, Spaces
from hadamax.runs.loop import Loop
from hadamax.runs.machine import is_shortage
from hadamax.runs.settings import NetworkSettings, TrainSettings
from hadamax.runs.tracking import require_wandb

AUTO_ENCODERS = {"atari": "hadamax", "minatar": "minatar"}


def resolve(algorithm: str, settings: TrainSettings[Any]) -> TrainSettings[Any]:
    """Resolve every automatic setting, so that `config.toml` records what ran."""
    environment = settings.environment.resolved()
    images = environment.family in AUTO_ENCODERS
    encoder = settings.network.encoder
    if encoder == "auto":
        encoder = AUTO_ENCODERS[environment.family] if images else "mlp"
    run = settings.run
    device = machine.choose_device(run.device)
    if run.cycles > 1 and len(environment.games) == 1:
        raise UserError(f"cycles: {run.cycles} has no meaning for one game; expected several in env, joined by commas")
    game = environment.env.replace("/", "-")
    run = replace(
        run,
        decay_frames=settings.decay_frames,
        out=run.out or str(Path("runs") / f"{game}-{encoder}-{algorithm}-{run.seed}".lower()),
        device=str(device),
        precision=machine.choose_precision(run.precision, device),  # type: ignore[arg-type]
        threads=machine.choose_threads(run.threads),
    )
    return replace(settings, run=run, environment=environment, network=replace(settings.network, encoder=encoder))


def make_encoder(settings: NetworkSettings, spaces: Spaces) -> Encoder:
    """Build the encoder of `settings` for the environment's observations.

    Raises:
        UserError: no such encoder, or a combination that cannot be built.
    """
    given: dict[str, Any] = {
        "branches": settings.branches,
        "combine": settings.combine,
        "features": settings.features,
    }
    given = {name: value for name, value in given.items() if value is not None}
    if settings.activation:
        given["activation"] = settings.activation if len(settings.activation) > 1 else settings.activation[0]
    if settings.norm:
        given["norm"] = None if settings.norm == "none" else settings.norm
    given["layers"] = settings.layers
    shape, width = spaces.observation_shape, settings.width
    if settings.encoder in ENCODERS and bool(ENCODERS[settings.encoder].blocks) != (len(shape) == 3):
        valid = "one for images, such as hadamax" if len(shape) == 3 else "mlp"
        raise UserError(
            f"encoder: {settings.encoder!r} does not accept observations {shape}; expected auto, or {valid}"
        )
    try:
        if settings.match_parameters is not None:
            actions = len(spaces.action_names)
            width = matching_width(settings.match_parameters, settings.encoder, shape, num_actions=actions, **given)
        return build_encoder(settings.encoder, shape, spaces.input_scale, width=width, **given)
    except (ValueError, TypeError) as error:
        raise UserError(str(error)) from None


def make_algorithm(algorithm: str, settings: TrainSettings[Any], environment: Environments, clock: Clock) -> Algorithm:
    """Build the learner of resolved settings, with weights drawn from the seed."""
    run = settings.run
    device = machine.choose_device(run.device)
    if device.index is not None:
        torch.cuda.set_device(device)  # kernels are tried on the current one
    torch.set_num_threads(run.threads)
    keep_memory()
    torch.manual_seed(run.seed)
    built: Algorithm = ALGORITHMS[algorithm].build(
        settings.algorithm,
        environment,
        make_encoder(settings.network, Spaces.of(environment)),
        decay_frames=run.decay_frames,
        restart_frames=settings.restart_frames,
        reward_clipping=bool(settings.environment.reward_clipping),
        device=device,
        precision=machine.PRECISIONS[run.precision],
        seed=run.seed,
        clock=clock,
    )
    return built


def training_environment(algorithm: str, settings: TrainSettings[Any]) -> Environments:
    """Create the environments of a run of resolved settings."""
    number, run = ALGORITHMS[algorithm].build.environments(settings.algorithm), settings.run
    groups = getattr(settings.algorithm, "env_groups", 1)
    if groups == 0:
        groups = min(2, number) if run.device.startswith("cuda") else 1
    options: dict[str, Any] = {"seed": run.seed, "threads": run.threads}
    if settings.visits > 1:
        frames_per_step = settings.algorithm.num_envs * (settings.environment.resolved().frame_skip or 1)
        options |= {"visits": settings.visits, "visit_steps": settings.visit_frames // frames_per_step}
        if not options["visit_steps"]:
            least = settings.visits * frames_per_step
            raise UserError(f"frames: {run.frames} is too few for {settings.visits} games; expected {least} or more")
    if groups > 1:
        return make_groups(settings.environment, number, groups, **options)
    return make_environment(settings.environment, number, **options)


def make_diagnostics(settings: TrainSettings[Any], algorithm: Algorithm, say: Callable[[str], None]) -> Diagnostics:
    """Create the periodic measurements of a run."""
    run, actions = settings.run, algorithm.environment.num_actions
    fixed = partial(fixed_observations, settings.environment, actions, run.seed, run.threads)
    return Diagnostics(algorithm, run.diagnostics_every, run.seed, fixed, say, run.frames)


def _build(algorithm: str, settings: TrainSettings[Any]) -> Algorithm:
    cpu.wanted()  # checks HADAMAX_KERNELS before anything is written
    if settings.run.wandb:
        require_wandb()
    try:
        built = make_algorithm(algorithm, settings, training_environment(algorithm, settings), Clock())
    except (MemoryError, RuntimeError) as error:
        if not is_shortage(error):
            raise
        sizes = "num_envs, num_steps, width, features, frame_stack, screen_size"
        raise UserError(f"Out of memory. Reduce one of: {sizes}") from None
    if settings.run.frames < built.frames_per_iteration:
        least = built.frames_per_iteration
        raise UserError(f"frames: {settings.run.frames} is less than one iteration; expected {least} or more")
    return built


def start(algorithm: str, settings: TrainSettings[Any], say: Callable[[str], None]) -> Loop:
    """Start a new run; its folder is created and locked.

    Raises:
        UserError: the settings are invalid; nothing is written then.
    """
    asked = settings.run.precision
    settings = resolve(algorithm, settings)
    RunFolder.refuse(Path(settings.run.out))  # first, since building may take a minute
    built = _build(algorithm, settings)
    _say_what_is_slower(asked, settings, say)
    folder = RunFolder.create(Path(settings.run.out), algorithm, settings, built.environment)
    return _restored(folder, settings, built, say)


def resume(path: Path, say: Callable[[str], None]) -> Loop:
    """Resume a run from its newest intact checkpoint.

    Raises:
        UserError: not a run, in use, or without a checkpoint that can be read.
    """
    folder, algorithm, settings = RunFolder.open(path)
    folder.lock()
    try:
        built = _build(algorithm, settings)
    except BaseException:
        folder.unlock()
        raise
    _say_what_is_slower(settings.run.precision, settings, say)
    return _restored(folder, settings, built, say)


def _say_what_is_slower(asked: str, settings: TrainSettings[Any], say: Callable[[str], None]) -> None:
    line = machine.slower_precision(asked, torch.device(settings.run.device))
    if line:
        say(line)


def _restored(folder: RunFolder, settings: TrainSettings[Any], built: Algorithm, say: Callable[[str], None]) -> Loop:
    try:
        loop = Loop(folder, settings.run, built, make_diagnostics(settings, built, say), say)
        loop.restore()
    except BaseException:
        folder.unlock()
        raise
    replay = getattr(built, "replay", None)
    if replay is not None:
        say(f"replay: {replay.size:,} transitions, {gigabytes(replay.nbytes)} on {replay.device} when full")
    return loop
