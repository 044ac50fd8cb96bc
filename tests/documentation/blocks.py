"""The fenced blocks of the documentation; a comment before a block states how it is tested.

    <!-- tested with: 10_000_000 -> 24; buffer_size=100_000 -> buffer_size=50 -->     shortened: text -> text; ...
    <!-- not tested: why -->

What a page takes for granted (a network of the reader's, a run that was trained) is in SETUP.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
FENCE = re.compile(
    r"(?P<says>(?:^<!-- [^\n]+ -->\n)*)^```(?P<language>\w*)\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL
)
SAYS = re.compile(r"<!-- (tested with|not tested): (.+?) -->")

NETWORK = """
import torch
from collections import OrderedDict
layer1 = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.Tanh())
network = torch.nn.Sequential(OrderedDict(layer1=layer1, out=torch.nn.Linear(32, 2)))
observations = batch = torch.randn(64, 8)
optimizer = torch.optim.Adam(network.parameters())
"""
RUN = """
import numpy as np
from hadamax.cli import main
network = "--encoder nature-norm --width 0.25 --threads 1"
small = "--frames 64 --num-envs 2 --num-steps 4 --num-minibatches 2 --num-test-envs 0 --checkpoint-every 32"
assert main(f"train pqn --env Pong {network} {small} --out runs/pong".split()) == 0
"""
EXPORT = """
assert main("export runs/pong --out pong-agent".split()) == 0
observations = np.zeros((2, 4, 84, 84), np.uint8)
"""
FILES = r"""
from pathlib import Path
np.save("observations.npy", np.random.default_rng(0).normal(size=(64, 8)).astype(np.float32))
network = "torch.nn.Sequential(torch.nn.Linear(8, 9), torch.nn.Tanh(), torch.nn.Linear(9, 2))"
Path("mine.py").write_text(f"import torch\ndef make_network():\n    return {network}\n")
"""
# By page, language and a word of the block.
SETUP: dict[tuple[str, str, str], str] = {
    ("index.md", "python", "measure("): NETWORK,
    ("diagnostics.md", "python", "observe("): NETWORK,
    ("redo.md", "python", "redo("): NETWORK,
    ("README.md", "python", "Probe("): NETWORK,
    ("README.md", "python", "hadamax.load("): RUN + "observations = np.zeros((2, 4, 84, 84), np.uint8)",
    ("export.md", "python", "hadamax.load("): RUN + EXPORT,
    ("export.md", "sh", "export"): RUN,
    ("diagnostics.md", "sh", "--module"): RUN + FILES,
    **dict.fromkeys(
        [("sweep.md", "sh", "status"), ("README.md", "sh", "status")],
        RUN.replace("runs/pong", "runs/hr-minatar/tanh/Pong/seed-1"),
    ),
}


class Block(NamedTuple):
    page: Path
    line: int
    language: str
    text: str
    setup: str
    skipped: str

    @property
    def name(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(language: str) -> list[Block]:
    """Return the blocks of one language on all pages, shortened as their comments state."""
    found = []
    for page in PAGES:
        content = page.read_text()
        for match in FENCE.finditer(content):
            if match["language"] != language:
                continue
            says = dict(SAYS.findall(match["says"]))
            text = match["text"]
            for change in filter(None, says.get("tested with", "").split("; ")):
                old, new = change.split(" -> ")
                assert old in text, f"{page.name}: {old!r} is not in the block that is to be tested with {new!r}"
                text = text.replace(old, new)
            line = content[: match.start("text")].count("\n") + 1
            setups = [
                code for (name, *of), code in SETUP.items() if name == page.name and of[0] == language and of[1] in text
            ]
            found.append(Block(page, line, language, text, "".join(setups), says.get("not tested", "")))
    return found
