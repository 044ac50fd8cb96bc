"""The commands of the README and the documentation run at small scale.

A page's commands run one after the other in a folder of their own, as a reader would type them. Training and evaluation
are cut short, on a narrower network, by settings put behind their own; a sweep shows what it would do. What is no
command of `hadamax` has tests of its own: its files and make targets must be there.
"""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
from tests.documentation.blocks import ROOT, Block, blocks

from hadamax.cli import main

FEW = "--frames 64 --num-envs 2 --width 0.25 --device cpu --threads 1 --diagnostics-every 0 --checkpoint-every 32"
ROLLOUT = f"{FEW} --num-steps 4 --num-epochs 1 --num-minibatches 2 --num-test-envs 1"
REPLAY = f"{FEW} --replay-size 100 --learning-starts 8 --batch-size 4 --iteration-steps 4"
SHORT = {
    "pqn": ROLLOUT,
    "ppo": ROLLOUT.replace("--num-test-envs 1", ""),
    **dict.fromkeys(("dqn", "c51", "rainbow"), REPLAY),
    "evaluate": "--episodes 2 --max-episode-frames 80",
    "sweep": "--dry-run --measure 0",
    "bench": "--help",
    "report": "--help",  # runs this short have no finished game to report
}
ELSEWHERE = ("pip", "make", "git", "python", "python3", "sh", "pytest", "HADAMAX_KERNELS=reference")


def commands(block: Block) -> list[list[str]]:
    lines = block.text.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


PAGES: dict[Path, list[Block]] = {}
for block in blocks("sh"):
    PAGES.setdefault(block.page, []).append(block)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_of_a_page_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("seen.npy", np.random.default_rng(0).integers(0, 256, (32, 4, 84, 84), dtype=np.uint8))
    for block in PAGES[page]:
        if block.skipped:
            continue
        exec(block.setup, {})
        for words in commands(block):
            if words[0] == "hadamax":
                assert outcome(shortened(words[1:])) == 0, shlex.join(words)
            else:
                assert_is_there(words)


def shortened(words: list[str]) -> list[str]:
    words = [str(ROOT / word) if word.startswith("examples/") else word for word in words]
    if words[0] == "diagnose" and words[1].startswith("runs/"):
        words += ["--observations", "seen.npy"]
    return words + SHORT.get(words[1] if words[0] == "train" else words[0], "").split()


def outcome(words: list[str]) -> int:
    try:
        return main(words)
    except SystemExit as exit_:  # --help
        return int(exit_.code or 0)


def assert_is_there(words: list[str]) -> None:
    assert words[0] in ELSEWHERE, f"{shlex.join(words)}: not a command that the documentation is known to use"
    if words[0] == "make":
        rules = (ROOT / "Makefile").read_text()
        assert all(f"\n{target}:" in rules for target in words[1:] if "=" not in target)
    for word in words[1:]:
        if word.endswith((".py", ".sh")):
            assert (ROOT / word).is_file(), word
    if words[1:2] == ["-m"] and words[2].startswith("hadamax."):
        assert (ROOT / "src" / Path(*words[2].split("."))).with_suffix(".py").is_file()


def test_most_commands_are_tested() -> None:
    assert {"README.md", "index.md", "pqn.md", "diagnostics.md", "sweep.md"} <= {page.name for page in PAGES}
    skipped = [block.name for page in PAGES.values() for block in page if block.skipped]
    assert len(skipped) <= 4, skipped
