"""Errors are one line that names the setting, the value and what is accepted; no files are left."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.runs.runs import BREAKOUT, CARTPOLE, flags, hadamax, train

# Arguments, and the words of the error: setting, value, accepted values.
REFUSED: list[tuple[str, list[str]]] = [
    ("--env Pnog", ["env", "'Pnog'", "did you mean 'Pong'?", "Breakout"]),
    ("--env=", ["env", "''"]),
    ("--env Pendulum-v1", ["env", "Pendulum-v1", "Box(-2.0, 2.0", "discrete", "expected ", "CartPole-v1"]),
    ("--env MinAtar/Breakuot-v1", ["env", "'MinAtar/Breakuot-v1'", "did you mean 'MinAtar/Breakout-v1'?"]),
    ("--encoder hadamx", ["encoder", "hadamx", 'did you mean "hadamax"?', "nature"]),
    ("--encoder mlp", ["encoder", "'mlp'", "(4, 84, 84)", "expected auto, or one for images, such as hadamax"]),
    ("--env CartPole-v1", ["encoder", "'nature-norm'", "(4,)", "expected auto, or mlp"]),
    ("--activation tahn", ["activation", "tahn", 'did you mean "tanh"?', "sigmoid"]),
    ("--activation tanh relu gelu", ["activation", "branches"]),
    ("--branches 0", ["branches", "0", "1 or more"]),
    ("--features 0", ["features", "0", "1 or more"]),
    ("--features 99999999999999", ["memory", "features"]),
    ("--width 0", ["width", "0", "finite number above 0"]),
    ("--width nan", ["width", "nan", "finite number above 0"]),
    ("--combine minus", ["combine", "minus", "product", "sum"]),
    ("--norm batch", ["norm", "batch", "channels", "map", "none"]),
    ("--layers first", ["layers", "first", "all", "last"]),
    ("--device cuda:99", ["device", "'cuda:99'", "auto, cpu"]),
    ("--device cuda:²", ["device", "cuda:²", "auto, cpu"]),
    ("--device tpu", ["device", "'tpu'", "auto, cpu"]),
    ("--precision float16", ["precision", "float16", "float32", "bfloat16"]),
    ("--threads -1", ["threads", "-1", "0 or more"]),
    ("--threads 100000", ["threads", "100000", "1024"]),
    ("--seed -1", ["seed", "-1", "0 or more"]),
    ("--seed 99999999999999999999", ["seed", "99999999999999999999", "9223372036854775807"]),
    ("--seed 1.5", ["seed", "1.5"]),
    ("--frames 0", ["frames", "0", "1 or more"]),
    ("--frames -5", ["frames", "-5", "1 or more"]),
    ("--frames 127", ["frames", "127", "less than one iteration", "128 or more"]),
    ("--frames many", ["frames", "many"]),
    ("--decay-frames 0", ["decay", "0", "1 or more"]),
    ("--max-minutes 0", ["max_minutes", "0.0", "more than 0"]),
    ("--max-minutes nan", ["max_minutes", "nan", "more than 0"]),
    ("--log-every 0", ["log_every", "0", "1 or more"]),
    ("--diagnostics-every -1", ["diagnostics_every", "-1", "0 or more"]),
    ("--checkpoint-every 0", ["checkpoint_every", "0", "1 or more"]),
    ("--keep-checkpoints 0", ["keep_checkpoints", "0", "1 or more"]),
    ("--keep-checkpoints-at 5000", ["keep_checkpoints_at", "5000", "256"]),
    ("--keep-checkpoints-at 0", ["keep_checkpoints_at", "0"]),
    ("--num-envs 0", ["num_envs", "0", "1 or more"]),
    ("--num-steps 0", ["num_steps", "0", "1 or more"]),
    ("--num-epochs 0", ["num_epochs", "0", "1 or more"]),
    ("--num-minibatches 3", ["num_minibatches", "3", "32", "expected a divisor, such as 2"]),
    ("--num-test-envs -1", ["num_test_envs", "-1", "0 or more"]),
    ("--learning-rate 0", ["learning_rate", "0.0", "above 0"]),
    ("--learning-rate nan", ["learning_rate", "nan", "above 0"]),
    ("--learning-rate inf", ["learning_rate", "inf", "above 0"]),
    ("--learning-rate fast", ["learning-rate", "fast"]),
    ("--max-grad-norm -1", ["max_grad_norm", "-1.0", "above 0"]),
    ("--gamma 1.5", ["gamma", "1.5", "0 to 1"]),
    ("--q-lambda -0.1", ["q_lambda", "-0.1", "0 to 1"]),
    ("--epsilon-start 2", ["epsilon_start", "2.0", "0 to 1"]),
    ("--epsilon-decay 0", ["epsilon_decay", "0.0", "above 0"]),
    ("--lr-decay maybe", ["maybe"]),
    ("--protocol strict", ["protocol", "strict", "papers", "sticky"]),
    ("--sticky-actions 2", ["sticky_actions", "2.0", "expected 0 or more, below 1"]),
    ("--mask-probability 0", ["mask_probability", "0.0", "expected above 0, up to 1"]),
    ("--mask-probability 2", ["mask_probability", "2.0", "expected above 0, up to 1"]),
    ("--buffer-size 10", ["Unrecognized option: --buffer-size; "]),
    ("--buffer-size 10 --setting=3", ["Unrecognized options: --buffer-size, --setting"]),
    ("--sticky-actions nan", ["sticky_actions", "nan", "below 1"]),
    ("--life-loss-terminal maybe", ["life-loss-terminal", "maybe", "True", "False"]),
    ("--frame-skip 0", ["frame_skip", "0", "1 or more"]),
    ("--frame-stack 0", ["frame_stack", "0", "1 or more"]),
    ("--screen-size 1", ["screen_size", "1", "8 or more"]),
    ("--screen-size 12", ["(4, 12, 12)", "too small"]),
    ("--noop-max -1", ["noop_max", "-1", "0 or more"]),
    ("--max-episode-frames 0", ["max_episode_frames", "0", "1 or more"]),
    ("--max-episode-frames 3", ["max_episode_frames", "3", "4"]),
    ("--setting 3", ["--setting", "hadamax train pqn --help"]),
    ("--learning-rat 1", ["--learning-rat", "perhaps you meant --learning-rate"]),
    ("stray", ["stray"]),
    ("--config", ["config", "--config FILE.toml"]),
    ("--config none.toml", ["none.toml", "No such file or directory"]),
    ("--config .", [".", "Is a directory"]),
]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("asked", "words"), REFUSED, ids=[asked for asked, _ in REFUSED])
def test_invalid_settings_are_one_line_errors_and_leave_no_files(here: Path, asked: str, words: list[str]) -> None:
    refusal = hadamax(*flags("runs/x", BREAKOUT, frames=256), *asked.split()).refusal
    for word in words:
        assert word in refusal
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("name", ["HADAMAX_KERNELS", "HADAMAX_GRAPHS"])
def test_invalid_environment_variables_are_reported_first(
    here: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "fast")
    refusal = hadamax(*flags("runs/x", BREAKOUT, frames=256)).refusal
    assert f"{name}: 'fast' is unknown; expected one of auto, " in refusal
    assert list(here.iterdir()) == []


MEANINGLESS = [
    ("--sticky-actions 0.25", "sticky_actions: 0.25 has no meaning for CartPole-v1; leave it out"),
    ("--frame-stack 4", "frame_stack: 4 has no meaning for CartPole-v1; leave it out"),
    ("--protocol sticky", "protocol: 'sticky' has no meaning for CartPole-v1; leave it out"),
]


@pytest.mark.parametrize(("asked", "line"), MEANINGLESS)
def test_settings_without_effect_are_errors(here: Path, asked: str, line: str) -> None:
    flag, value = asked.split()
    assert train("x", {**CARTPOLE, flag.strip("-"): value}).refusal == line
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ["verb", "train", "resume", "evaluate", "hadamax --help"]),
        (("trian",), ["verb", "'trian'", "did you mean 'train'?"]),
        (("train",), ["algorithm", "pqn"]),
        (("train", "pnq"), ["algorithm", "'pnq'", "did you mean 'pqn'?"]),
        (("train", "--env", "Pong"), ["algorithm", "pqn"]),
        (("resume",), ["run", "hadamax resume --help"]),
        (("resume", "a", "b"), ["b", "hadamax resume --help"]),
        (("evaluate",), ["run", "hadamax evaluate --help"]),
        (("evaluate", "x", "--episodes", "0"), ["episodes", "0", "1 or more"]),
        (("evaluate", "x", "--episodes", "few"), ["episodes", "few"]),
        (("evaluate", "x", "--epsilon", "1.5"), ["epsilon", "1.5", "0 to 1"]),
        (("evaluate", "x", "--epsilon", "nan"), ["epsilon", "nan", "0 to 1"]),
        (("evaluate", "x", "--seed", "-1"), ["seed", "-1", "0 to"]),
        (("evaluate", "x", "--seed", "99999999999999999999"), ["seed", "9223372036854775807"]),
        (("evaluate", "x", "--threads", "-1"), ["threads", "-1", "1024"]),
        (("evaluate", "x", "--video", "game.gif"), ["video", "'game.gif'", ".mp4"]),
        (("evaluate", "x", "--video", "a.mp4", "--video-seconds", "0"), ["video_seconds", "0.0", "more than 0"]),
        (("evaluate", "x"), ["run", "x", "config.toml", "hadamax train"]),
    ],
)
def test_other_commands_report_one_line_errors(here: Path, arguments: tuple[str, ...], words: list[str]) -> None:
    refusal = hadamax(*arguments).refusal
    for word in words:
        assert word in refusal
    assert list(here.iterdir()) == []
