"""HR Tables 4, 5 and 6 (arXiv 2406.09079): published settings of DQN, PPO and PQN compared with our defaults.

hadamax paper hr-table-4 --out figures
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from hadamax.algorithms import ALGORITHMS
from hadamax.environments import EnvironmentSettings
from hadamax.networks import ENCODERS
from hadamax.papers.output import Output, draw_table
from hadamax.papers.panels import Request
from hadamax.runs.settings import NetworkSettings, RunSettings, TrainSettings


class PaperSetting(NamedTuple):
    """A row of a published table; `ours` reads our value from all settings of a run."""

    name: str
    published: object
    ours: Callable[[TrainSettings[Any]], object]
    remark: str = ""  # why ours differs, values of other sources, or how the paper is interpreted
    reading: bool = False  # the remark is an interpretation of the paper


def _of(name: str) -> Callable[[TrainSettings[Any]], object]:
    return lambda settings: getattr(settings.algorithm, name)


def _environment(name: str) -> Callable[[TrainSettings[Any]], object]:
    return lambda settings: getattr(settings.environment, name)


def _clipped(settings: TrainSettings[Any]) -> object:
    return "[-1, 1]" if settings.environment.reward_clipping else "none"


def _fixed(value: object) -> Callable[[TrainSettings[Any]], object]:
    """Return a value that is fixed in the code instead of a setting."""
    return lambda settings: value


def _steps(settings: TrainSettings[Any]) -> int:
    return settings.run.frames // int(settings.environment.frame_skip or 1)


def _decay_steps(settings: TrainSettings[Any]) -> int:
    return (settings.run.decay_frames or settings.run.frames) // int(settings.environment.frame_skip or 1)


def _epsilon_steps(settings: TrainSettings[Any]) -> int:
    decay: float = settings.algorithm.epsilon_decay
    return round(decay * _decay_steps(settings))


def _latent(settings: TrainSettings[Any]) -> object:
    return ENCODERS["nature"].dense[-1].features


def _size(settings: TrainSettings[Any]) -> str:
    return f"{settings.environment.screen_size} x {settings.environment.screen_size}"


FRAMES = "the table says frames; interpreted as agent steps, as in CleanRL"
DQN = (
    PaperSetting("Learning Rate", 1e-4, _of("learning_rate")),
    PaperSetting("Discount Factor", 0.99, _of("gamma")),
    PaperSetting("Replay Memory Size", 1_000_000, _of("replay_size")),
    PaperSetting("Mini-batch Size", 32, _of("batch_size")),
    PaperSetting("Target Network Update Frequency", 1000, _of("target_every"), "in agent steps", True),
    PaperSetting("Initial Exploration", 1.0, _of("epsilon_start")),
    PaperSetting(
        "Final Exploration", 0.1, _of("epsilon_end"), "CleanRL, which the text says it follows: 0.01 (preset cleanrl)"
    ),
    PaperSetting("Final Exploration Frame", 1_000_000, _epsilon_steps, FRAMES, True),
    PaperSetting("Exploration Decay Frame", 1_000_000, _epsilon_steps, FRAMES, True),
    PaperSetting("Action Repeat (Frame Skip)", 4, _environment("frame_skip")),
    PaperSetting("Reward Clipping", "[-1, 1]", _clipped),
    PaperSetting("Input Dimension", "84 x 84", _size),
    PaperSetting("Latent Dimension", 512, _latent),
    PaperSetting("Input Frames", 4, _environment("frame_stack")),
    PaperSetting("Training Start Frame", 80_000, _of("learning_starts"), FRAMES, True),
    PaperSetting("Loss Function", "Mean Squared Error", _fixed("Mean Squared Error")),
    PaperSetting("Optimizer", "Adam", _fixed("Adam")),
    PaperSetting("Optimizer epsilon", 1e-5, _of("adam_eps"), "CleanRL: 1e-8 (preset cleanrl)"),
    PaperSetting(
        "Double DQN (equation 5)", True, _of("double"), "not in the table; CleanRL's DQN is not double (preset cleanrl)"
    ),
    PaperSetting("Steps between updates", "not stated", _of("train_every"), "CleanRL's value"),
)
PPO = (
    PaperSetting("Learning Rate", 2.5e-4, _of("learning_rate")),
    PaperSetting("Discount Factor", 0.99, _of("gamma")),
    PaperSetting("Number of Steps", 128, _of("num_steps")),
    PaperSetting("Anneal LR", True, _of("lr_decay")),
    PaperSetting("GAE Lambda", 0.95, _of("gae_lambda")),
    PaperSetting("Number of Minibatches", 4, _of("num_minibatches")),
    PaperSetting("Update Epochs", 4, _of("num_epochs")),
    PaperSetting("Normalize Advantage", True, _of("normalise_advantages")),
    PaperSetting("Clipping Coefficient", 0.1, _of("clip")),
    PaperSetting("Clip Value Loss", True, _of("clip_value")),
    PaperSetting("Entropy Coefficient", 0.01, _of("entropy_coefficient")),
    PaperSetting("Value Function Coefficient", 0.5, _of("value_coefficient")),
    PaperSetting("Maximum Gradient Norm", 0.5, _of("max_grad_norm")),
    PaperSetting("Target KL", "None", _fixed("None")),
    PaperSetting("Latent Dimension", 512, _latent),
    PaperSetting("Optimizer", "Adam", _fixed("Adam")),
    PaperSetting("Optimizer epsilon", 1e-5, _of("adam_epsilon")),
    PaperSetting("Number of Environments", "not stated", _of("num_envs"), "CleanRL's value"),
)
PQN = (
    PaperSetting("Total Timesteps", 10_000_000, _steps),
    PaperSetting(
        "Timesteps for Decay", 10_000_000, _decay_steps, "as long as the run, unless --decay-frames says otherwise"
    ),
    PaperSetting("Number of Environments", 128, _of("num_envs")),
    PaperSetting("Steps per Environment", 32, _of("num_steps")),
    PaperSetting("Number of Epochs", 2, _of("num_epochs")),
    PaperSetting("Number of Minibatches", 32, _of("num_minibatches")),
    PaperSetting("Starting Epsilon", 1.0, _of("epsilon_start")),
    PaperSetting("Final Epsilon", 0.001, _of("epsilon_end")),
    PaperSetting("Epsilon Decay Ratio", 0.1, _of("epsilon_decay")),
    PaperSetting("Epsilon for Test Policy", 0.0, _fixed(0.0)),
    PaperSetting("Learning Rate", 2.5e-4, _of("learning_rate")),
    PaperSetting("Learning Rate Linear Decay", True, _of("lr_decay"), "the authors' scripts default to False"),
    PaperSetting("Max Gradient Norm", 10.0, _of("max_grad_norm")),
    PaperSetting("Discount Factor", 0.99, _of("gamma")),
    PaperSetting("Lambda", 0.65, _of("q_lambda")),
    PaperSetting(
        "Episodic Life", True, _environment("life_loss_terminal"), "ends the learning episode, not the game", True
    ),
    PaperSetting("Reward Clipping", "[-1, 1]", _clipped),
    PaperSetting("Frame Skip", 4, _environment("frame_skip")),
    PaperSetting("Max No-Ops on Reset", 30, _environment("noop_max")),
    PaperSetting("Test During Training", True, lambda settings: settings.algorithm.num_test_envs > 0),
    PaperSetting("Number of Testing Envs", 8, _of("num_test_envs")),
)


def settings_table(request: Request, algorithm: str, table: tuple[PaperSetting, ...]) -> Output:
    """Build a row per published setting, and per further setting that the code needs."""
    settings = _defaults(algorithm)
    rows = []
    for setting in table:
        ours = setting.ours(settings)
        same = "" if setting.published == "not stated" else "yes" if ours == setting.published else "no"
        rows.append(
            {
                "setting": setting.name,
                "published": _text(setting.published),
                "ours": _text(ours),
                "same": same,
                "remark": setting.remark,
            }
        )
    different = [row["setting"] for row in rows if row["same"] == "no"]
    stated = [row for row in rows if row["same"]]
    readings = {setting.name for setting in table if setting.reading}
    remarked = [row for row in rows if row["remark"]]
    chosen = [row for row in remarked if row["same"] != "yes" or row["setting"] in readings]
    columns = ("setting", "published", "ours", "same", "remark")
    picture = draw_table(
        f"{request.name}: {request.title}", columns, [[row[c] for c in columns] for row in rows], (32, 20, 20, 6, 60)
    )
    return Output(
        picture,
        rows,
        f"{len(stated)} settings",
        f"{len(stated) - len(different)} of {len(stated)} are our defaults"
        + (f"; not {', '.join(different)}" if different else ""),
        f"defaults of `hadamax train {algorithm}` on Atari, read from the code",
        "none",
        [f"{row['setting']}: {row['ours']}; {row['remark']}" for row in chosen],
        [f"{row['setting']}: {row['ours']}, as published; {row['remark']}" for row in remarked if row not in chosen],
    )


def _defaults(algorithm: str) -> TrainSettings[Any]:
    environment = EnvironmentSettings(env="Pong").resolved()
    return TrainSettings(RunSettings(), environment, NetworkSettings(), ALGORITHMS[algorithm].settings())


def _text(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, float) and value != 0 and abs(value) < 1e-3:
        return f"{value:.2e}".replace("e-0", "e-").replace(".00e", "e").replace("0e", "e")
    return f"{value:,}" if isinstance(value, int) else str(value)


table_4 = partial(settings_table, algorithm="dqn", table=DQN)
table_5 = partial(settings_table, algorithm="ppo", table=PPO)
table_6 = partial(settings_table, algorithm="pqn", table=PQN)
