"""The model card of an exported agent: Markdown under the front matter that model hubs read."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from hadamax.agents.evaluation import best_constant, games_said
from hadamax.published import random_and_human
from hadamax.runs.settings import TrainSettings

PAPERS = """- Hadamard Representations: [arXiv 2406.09079](https://arxiv.org/abs/2406.09079)
- Hadamax Encoding: [arXiv 2505.15345](https://arxiv.org/abs/2505.15345)"""


class Card(NamedTuple):
    """Data of a model card."""

    config: dict[str, Any]  # of the exported agent, without its hashes
    settings: TrainSettings[Any]
    evaluation: dict[str, Any] | None  # of these weights
    parameters: int

    @property
    def name(self) -> str:
        return f"{self.settings.network.encoder}-{self.config['algorithm']} on {self.game}"

    @property
    def game(self) -> str:
        return str(self.config["environment"]["env"])

    def text(self, curve: str) -> str:
        """Return the card; `curve` is the file of the learning curve beside it."""
        run = self.settings.run
        parts = [
            self._front_matter(),
            f"# {self.name}",
            f"A greedy agent of {self.game}, trained with {self.config['algorithm']} on the encoder "
            f"`{self.settings.network.encoder}` ({self.parameters:,} parameters in all) for {self.config['frame']:,} "
            f"emulator frames, seed {run.seed}.",
            "## Scores",
            self._scores(),
            f"![Learning curve]({curve})",
            "## How to use",
            self._usage(),
            "## Protocol",
            f"Fingerprint `{self.config['fingerprint']}`: scores compare where it is the same.",
            _table(("setting", "value"), [(f"`{k}`", f"`{v}`") for k, v in self._protocol().items()]),
            "## How it was trained",
            f"`hadamax train {self.config['algorithm']} --config run.toml` repeats it, bit for bit on the same "
            f"versions, processor and threads: {self._versions()}.",
            PAPERS,
        ]
        return "\n\n".join(parts) + "\n"

    def _front_matter(self) -> str:
        """Return the YAML front matter; texts are written as JSON, a subset of YAML."""
        tags = ["reinforcement-learning", "deep-reinforcement-learning", "hadamax", self.config["algorithm"], self.game]
        lines = ["---", "library_name: hadamax", "pipeline_tag: reinforcement-learning", "tags:"]
        lines += [f"- {json.dumps(tag)}" for tag in tags]
        if self.evaluation:
            agent, game = self.evaluation["agent"], json.dumps(self.game)
            lines += [
                "model-index:",
                f"- name: {json.dumps(self.name)}",
                "  results:",
                "  - task:",
                "      type: reinforcement-learning",
                "      name: reinforcement-learning",
                "    dataset:",
                f"      name: {game}",
                f"      type: {game}",
                "    metrics:",
                "    - type: mean_reward",
                f"      value: {agent['mean']:.2f} +/- {agent['sd']:.2f}",
                "      name: mean_reward",
                "      verified: false",
            ]
        return "\n".join([*lines, "---"])

    def _scores(self) -> str:
        if self.evaluation is None:
            return "Not evaluated: `hadamax evaluate RUN --episodes 30` before `hadamax export` puts its scores here."
        e, rows = self.evaluation, []
        baselines = e.get("baselines", {})
        best = best_constant(baselines)
        for name, result in [("this agent", e["agent"]), *baselines.items()]:
            if not name.startswith("always ") or name == best:
                between = "-" if not result["ci95"] else "{:,.1f} to {:,.1f}".format(*result["ci95"])
                numbers = [f"{result[k]:,.1f}" for k in ("mean", "sd", "median")]
                rows.append((name, numbers[0], between, *numbers[1:], str(len(result["returns"]))))
        for who, score in zip(("random", "human"), random_and_human(self.game) or (), strict=False):
            rows.append((f"{who}, published", f"{score:,.1f}", "-", "-", "-", "-"))
        how = "actions drawn from the policy" if e.get("sample") else f"epsilon {e['epsilon']:g}"
        said = (
            f"{games_said(e)}, {how}, seed {e['seed']}, "
            f"protocol fingerprint `{e['fingerprint']}`; raw returns, Student's 95% interval over games."
        )
        return f"{said}\n\n" + _table(("player", "mean", "95% interval", "sd", "median", "games"), rows)

    def _usage(self) -> str:
        network = self.config["network"]
        shape = ", ".join(map(str, network["observation_shape"]))
        kind = "uint8" if network["input_scale"] == 255.0 else "the environment's numbers"
        family = self.settings.environment.family
        here = "'.[minatar]'" if family == "minatar" else "."
        return f"""```
# In a clone of hadamax (distribution hadamax-rl):
pip install {here}
```

```python
import hadamax

agent = hadamax.load("FOLDER")  # this folder; nothing in it is executed
actions = agent.act(observations)  # [B, {shape}] {kind} -> [B], each one of {", ".join(self.config["action_names"])}
```

A whole game under the protocol it was trained with:

```python
import json
from pathlib import Path

import hadamax
from hadamax.environments import EnvironmentSettings, make_environment

settings = EnvironmentSettings(**json.loads(Path("FOLDER", "config.json").read_text())["environment"])
environment, agent, games = make_environment(settings, 1, seed=0), hadamax.load("FOLDER"), []
observations = environment.reset()
while not games:
    step = environment.step(agent.act(observations))
    observations, games = step.observations, step.games
print(games[0].raw_return)
```

`loader.py` gives the same actions with torch, safetensors and `hadamax.networks` alone."""

    def _protocol(self) -> dict[str, Any]:
        named = self.settings.environment.family == "atari"  # the protocol's name applies to Atari only
        return {k: v for k, v in self.config["environment"].items() if named or k != "protocol"}

    def _versions(self) -> str:
        run = self.settings.run
        said = [f"{name} {value}" for name, value in self.config["versions"].items()]
        return ", ".join([*said, run.precision, f"{run.threads} thread{'s' * (run.threads > 1)}"])


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ("---",) * len(head), *rows])
