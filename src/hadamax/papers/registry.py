"""Every figure and table of the two papers by name, and the open questions of the papers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from hadamax.papers.densities import Grid, draw_grids
from hadamax.papers.hadamax_figures import run_time
from hadamax.papers.hr_figure_4 import figure_4
from hadamax.papers.hr_figure_5 import figure_5
from hadamax.papers.hr_regression import figure_2, figure_12
from hadamax.papers.hr_settings import table_4, table_5, table_6
from hadamax.papers.hr_table_1 import table_1
from hadamax.papers.hr_table_2 import PUBLISHED, figure_7, table_2
from hadamax.papers.hr_table_3 import table_3
from hadamax.papers.output import Output
from hadamax.papers.panels import Panel, Request, draw_games, draw_panels
from hadamax.papers.runs import Need, merged

HR, HADAMAX = "arXiv 2406.09079", "arXiv 2505.15345"


@dataclass(frozen=True)
class Exhibit:
    """A figure, a table or an open question.

    It is either computed in a short time (`effort`), or needs runs, or is not available for a reason (`waits`).
    """

    title: str
    draw: Callable[[Request], Output] | None = None
    effort: str = ""
    repeated: bool = False  # needs no runs, and supports any number of seeds
    needs: tuple[Need, ...] = ()
    done: str = ""  # folder of this repository with results, and their setup
    waits: str = ""


def _panels(title: str, published: str, *panels: Panel, done: str = "", choices: tuple[str, ...] = ()) -> Exhibit:
    draw = partial(draw_panels, panels=panels, published=published, choices=choices)
    return Exhibit(title, draw, needs=merged([panel.need for panel in panels]), done=done)


def _games(title: str, need: Need, part: int = 1, parts: int = 1, done: str = "") -> Exhibit:
    draw = partial(draw_games, need=need, part=(part, parts), published="curves of each game, not as numbers")
    return Exhibit(title, draw, needs=(need,), done=done)


def _grids(title: str, published: str, *grids: Grid) -> Exhibit:
    need = Need("hr-densities", tuple(dict.fromkeys(grid.variant for grid in grids)))
    return Exhibit(title, partial(draw_grids, grids=grids, need=need, published=published), needs=(need,))


def _study(title: str, study: str, baseline: str, published: str = "none: an open question") -> Exhibit:
    """Define a figure of the scores of all variants of a study."""
    return _panels(title, published, Panel("score", "human median", Need(study), baseline))


def _dqn(*variants: str) -> Need:
    return Need("hr-dqn", variants)


def _ppo(*variants: str) -> Need:
    return Need("hr-ppo", variants)


PPO = _ppo("relu", "sigmoid", "tanh", "tanh-hr")
PQN = Need("hr-figure-9", ("relu", "crelu", "relu-redo", "tanh", "tanh-hr"))
HEADLINE = Need("hadamax-atari57")
ATARI10 = Need("hadamax-atari10", ("pqn", "hadamax"))
ABLATIONS = Need("hadamax-ablations", ("hadamax", "no-gelu", "no-product", "no-pool", "average-pool"))
CONTINUAL = Need("continual-minatar")
MINATAR = "results/hr-minatar (PQN, MinAtar, 5 seeds)"
MINATAR_DQN = "results/hr-minatar-dqn (DQN, MinAtar, 3 seeds)"
BOTH = f"{MINATAR}; {MINATAR_DQN}"
LAYERS = ("first convolution", "second convolution", "third convolution", "dense layer")
M = 1_000_000

EXHIBITS: dict[str, Exhibit] = {
    "hr-table-1": Exhibit("Predicted probability of a dead unit, with and without HR", table_1, "seconds"),
    "hr-table-2": Exhibit(
        "Dead units with and without HR (DQN, 8 games)",
        table_2,
        needs=(_dqn(*PUBLISHED, "tanh-norm", "tanh-sum"),),
        done=BOTH,
    ),
    "hr-table-3": Exhibit("Parameters of networks", table_3, "closed form"),
    "hr-table-4": Exhibit("Settings of DQN", table_4, "closed form"),
    "hr-table-5": Exhibit("Settings of PPO", table_5, "closed form"),
    "hr-table-6": Exhibit("Settings of PQN", table_6, "closed form"),
    "hr-figure-1": _panels(
        "Median human-normalised score by activation (PQN)",
        "Tanh (HR) more than 100% above Tanh, ReLU (HR) below ReLU; read off the figure",
        Panel("score", "human median", Need("hr-figure-9", ("relu", "relu-hr", "tanh", "tanh-hr"))),
        choices=("the variants shown are our interpretation of the caption",),
        done=MINATAR,
    ),
    "hr-figure-2": Exhibit(
        "Regression with shallow networks",
        figure_2,
        "about 4 minutes on one core",
        repeated=True,
        done="results/hr-regression (20 seeds)",
    ),
    "hr-figure-3": _grids(
        "Densities of units, Tanh (DQN, Breakout)",
        "sixteen units with spikes at 1 or -1, more after 10M iterations than after 1M",
        Grid("Tanh", "tanh", "output", 4 * M),
        Grid("Tanh", "tanh", "output", 40 * M),
    ),
    "hr-figure-4": Exhibit(
        "Contributions of live and dead units to the Q-values (DQN, tanh, Seaquest)",
        figure_4,
        needs=(Need("hr-dqn", ("tanh",), ("Seaquest",)),),
        done=MINATAR_DQN,
    ),
    "hr-figure-5": Exhibit("Diagram of the Hadamard representation, and its gradient", figure_5, "closed form"),
    "hr-figure-6": _grids(
        "Densities of units, Tanh (HR) (DQN, Breakout)",
        "sixteen units over the whole range, few dead",
        Grid("Tanh (HR)", "tanh-hr", "output", 4 * M),
        Grid("Tanh (HR)", "tanh-hr", "output", 40 * M),
    ),
    "hr-figure-7": Exhibit(
        "Dead units, effective rank and score (DQN, 8 games)",
        figure_7,
        needs=(_dqn("relu", "sigmoid", "tanh", "tanh-hr", "tanh-norm", "rational"),),
        done=BOTH,
    ),
    "hr-figure-8": _panels(
        "Ablations (DQN), score and rank (PPO), 8 games",
        "(a) Tanh (HR) above Tanh, Rational like ReLU; (b) SELU and the sum below, 2HR better than Tanh; "
        "(c, d) Tanh (HR) has the highest rank and a good score",
        Panel("(a) score", "baseline", _dqn("relu", "sigmoid", "tanh", "tanh-hr", "rational")),
        Panel(
            "(b) ablations",
            "baseline",
            _dqn("relu", "tanh-hr", "tanh-norm", "tanh-1024-slow", "tanh-sum", "tanh-2hr", "selu"),
        ),
        Panel("(c) score", "baseline", PPO),
        Panel("(d) effective rank", "rank", PPO),
        choices=("the assignment of variants to panels, if the caption does not state it",),
        done="results/hr-minatar (panels a and b; PQN, MinAtar, 5 seeds)",
    ),
    "hr-figure-9": _panels(
        "Median human-normalised score (PQN, 51 games)",
        "Tanh (HR) best, more than 100% above Tanh; read off the figure",
        Panel("score", "human median", PQN),
        choices=("the six omitted games of 57; ReDo every 256,000 frames",),
    ),
    "hr-figure-10": _grids(
        "Densities inside a product, of the product, and without HR (DQN, Breakout)",
        "where one branch saturates the other compensates",
        Grid("Tanh (HR), branch 1", "tanh-hr", "branch 1", 20 * M),
        Grid("Tanh (HR), branch 2", "tanh-hr", "branch 2", 20 * M),
        Grid("Tanh (HR), product", "tanh-hr", "output", 20 * M),
        Grid("Tanh, no HR", "tanh", "output", 20 * M),
    ),
    "hr-figure-11": _grids(
        "Densities of tanh and sigmoid, with and without HR (DQN, Breakout)",
        "Tanh (HR) avoids strong saturation, Sigmoid (HR) less so",
        *(
            Grid(label, variant, "output", 40 * M)
            for variant, label in (
                ("tanh", "Tanh"),
                ("tanh-hr", "Tanh (HR)"),
                ("sigmoid", "Sigmoid"),
                ("sigmoid-hr", "Sigmoid (HR)"),
            )
        ),
    ),
    "hr-figure-12": Exhibit(
        "Regression with shallow and deep networks",
        figure_12,
        "about 20 minutes on one core",
        repeated=True,
        done="results/hr-regression (20 seeds)",
    ),
    "hr-figure-13": _panels(
        "A wider representation: score, dead units, rank, learning rates (DQN, 8 games)",
        "Tanh (HR) scores above Tanh of 1024 units at every learning rate",
        Panel("(a) score", "baseline", _dqn("relu", "tanh", "tanh-1024", "tanh-hr")),
        Panel("(b) dead units", "dead", _dqn("tanh", "tanh-1024", "tanh-hr")),
        Panel("(c) effective rank", "rank", _dqn("tanh", "tanh-1024", "tanh-hr")),
        Panel("(d) learning rates", "baseline", _dqn("relu", "tanh-1024", "tanh-1024-slow", "tanh-hr")),
        choices=("learning rates of (d): 1e-4 and 5e-5; the paper states only the second",),
    ),
    "hr-figure-14": _panels(
        "Dead units with and without HR, by activation (DQN, 8 games)",
        "(a) no change, (b) fewer with HR, (c) more with HR",
        Panel("(a) Sigmoid", "dead", _dqn("sigmoid", "sigmoid-hr")),
        Panel("(b) Tanh", "dead", _dqn("tanh", "tanh-hr")),
        Panel("(c) ReLU", "dead", _dqn("relu", "relu-hr")),
        done=BOTH,
    ),
    "hr-figure-15": _panels(
        "ReLU with and without HR: score, dead units, rank (DQN, 8 games)",
        "with HR a lower score and rank, and more dead units",
        Panel("(a) score", "baseline", _dqn("relu", "relu-hr")),
        Panel("(b) dead units", "dead", _dqn("relu", "relu-hr")),
        Panel("(c) effective rank", "rank", _dqn("relu", "relu-hr")),
        done=BOTH,
    ),
    "hr-figure-16": _panels(
        "Mean human-normalised score (DQN, 8 games)",
        "dominated by VideoPinball",
        Panel("score", "human mean", _dqn("relu", "sigmoid", "tanh", "tanh-hr", "rational")),
    ),
    "hr-figure-17": _games(
        "Scores game by game (DQN)", _dqn("relu", "sigmoid", "tanh", "tanh-hr", "rational"), done=MINATAR_DQN
    ),
    "hr-figure-18": _games("Scores game by game (PPO)", PPO),
    **{
        f"hr-figure-{18 + part}": _games(f"Scores game by game (PQN), part {part} of 7", PQN, part, 7)
        for part in range(1, 8)
    },
    "hadamax-headline": _panels(
        "Median human-normalised score over 57 games (PQN, 200M frames)",
        "at 200M frames PQN 1.83, ResNet-15 2.05, Hadamax 3.19; at 40M 0.90, 1.12, 1.50 (read off figures)",
        Panel("score", "human median", HEADLINE, "pqn"),
    ),
    "hadamax-atari10": _panels(
        "Median human-normalised score over Atari-10 (PQN, 40M frames)",
        "Hadamax 50 to 70% over PQN (expected in the summary of the paper)",
        Panel("score", "human median", Need("hadamax-atari10"), "pqn"),
    ),
    "hadamax-ablations": _panels(
        "Ablations: no GELU, no product, no max-pool (PQN, Atari-10)",
        "importance: max-pooling, then product, then GELU",
        Panel("score", "human median", ABLATIONS, "hadamax"),
        choices=("the paper's scale is taken as 40M frames on Atari-10",),
    ),
    "hadamax-layers": _panels(
        "Effective rank and dead units layer by layer (PQN, Atari-10)",
        "a higher rank than PQN in the second and third block; under 8% dead units at 200M frames",
        *(Panel(f"{layer}: rank", f"rank {i}", ATARI10, "pqn") for i, layer in enumerate(LAYERS, start=1)),
        *(Panel(f"{layer}: dead units", f"dead {i}", ATARI10, "pqn") for i, layer in enumerate(LAYERS, start=1)),
        choices=("the paper's scale is taken as 40M frames on Atari-10",),
    ),
    "hadamax-depth": _panels(
        "Depth: three, five and seven blocks (PQN, Atari-10)",
        "five and seven blocks did not help",
        Panel("score", "human median", Need("hadamax-ablations", ("hadamax", "depth-5", "depth-7")), "hadamax"),
        choices=("the paper's scale is taken as 40M frames on Atari-10",),
    ),
    "hadamax-width": _study("Width: half, one, two (PQN, Atari-5)", "hadamax-width", "width=1.0"),
    "hadamax-c51": _panels(
        "Hadamax in C51 (Atari-10)",
        "about 70% over C51",
        Panel("score", "human median", Need("hadamax-c51"), "c51"),
        choices=("the paper's scale is taken as 40M frames",),
    ),
    "hadamax-run-time": Exhibit("Run time against score (PQN, 57 games)", run_time, needs=(HEADLINE,)),
    # Open questions of the papers.
    "question-scaling": _study("Does Hadamax scale in width and depth?", "hadamax-width", "width=1.0"),
    "question-learning-rate": _study(
        "At which learning rates and norms does Hadamax keep its advantage?",
        "hadamax-learning-rate",
        "pqn,learning_rate=0.00025,norm=channels",
    ),
    "question-tuning": _study(
        "What if every activation of HR is tuned, not only ReLU?", "hr-learning-rate", "relu,learning_rate=0.00025"
    ),
    "question-positions": _study("Does max-pooling lose positions (Amidar, Hero)?", "hadamax-positions", "pqn"),
    "question-activations": _study(
        "Other and mixed activations in a product", "hr-mixed-activations", "activation=tanh+tanh"
    ),
    "question-rainbow": _study("HR and Hadamax in Rainbow", "hr-rainbow", "relu"),
    "question-impala": _study("HR in an Impala encoder", "hr-impala", "relu"),
    "question-redo": _study("ReDo on tanh", "hr-redo-tanh", "relu"),
    "question-exploration": Exhibit(
        "Hadamax-PQN on hard-exploration games",
        waits="no study yet; exploration needs ensemble heads (hadamax train pqn --ensemble 10)",
    ),
    "question-continual": _panels(
        "HR when games follow each other (PQN, five MinAtar games, two cycles)",
        "none: an open question",
        Panel("score", "visits", CONTINUAL),
        Panel("dead units", "dead", CONTINUAL),
        Panel("effective rank", "rank", CONTINUAL),
    ),
    "question-other-agents": Exhibit(
        "HR and Hadamax in SPR, BBF, DreamerV3 and transformer agents",
        waits="not in this library; those agents can import its layers and encoders (docs/integrations.md)",
    ),
}
