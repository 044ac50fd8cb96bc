"""The claims of both papers, as data: those that a study here tests, and those that none tests yet.

A claim's test is written `measure: variant < other`; `>` means more, `=` the same, and `other` can be a number.
"""

from __future__ import annotations

from typing import NamedTuple

from hadamax.papers.verdicts import Claim, claim

HR = (
    claim("a product of tanh has fewer dead units than tanh", "dead: tanh-hr < tanh", "Table 2", "30% and 39%"),
    claim("a product of tanh has a higher effective rank than tanh", "rank: tanh-hr > tanh", "Figure 7"),
    claim(
        "a product of sigmoids has as many dead units as sigmoid",
        "dead: sigmoid-hr = sigmoid",
        "Table 2",
        "45% and 44%",
    ),
    claim("a product of ReLUs has more dead units than ReLU", "dead: relu-hr > relu", "Table 2", "73% and 62%"),
    claim("a product of ReLUs has a lower effective rank than ReLU", "rank: relu-hr < relu", "Figure 15"),
    claim("layer norm leaves fewer dead units than a product of tanh", "dead: tanh-norm < tanh-hr", "Figure 7"),
    claim("layer norm has a lower rank than a product of tanh", "rank: tanh-norm < tanh-hr", "Figure 7"),
    claim(
        "a product of tanh scores higher than tanh", "score: tanh-hr > tanh", "Figures 1, 7", "over 100% higher (PQN)"
    ),
    claim("a product of tanh scores higher than ReLU", "score: tanh-hr > relu", "Figures 1, 7"),
    claim("a sum of tanh scores lower than their product", "score: tanh-sum < tanh-hr", "Figure 8"),
    claim("a product of ReLUs scores lower than ReLU", "score: relu-hr < relu", "Figures 1, 15"),
)
HR_ATARI = tuple(c._replace(measure="human score") if c.measure == "score" else c for c in HR)
DEAD = (
    claim("under 8% dead units in every layer", "dead anywhere: hadamax < 0.08", "text", "under 8% at 200M frames"),
    claim("under 8% dormant units in every layer", "dormant anywhere: hadamax < 0.08", "text", "criterion not stated"),
)
HEADLINE = "median 3.19 and 1.83 at 200M frames, 1.50 and 0.90 at 40M"
ATARI3 = (
    claim(
        "Hadamax scores higher than PQN's encoder at equal frames", "human score: hadamax > pqn", "headline", HEADLINE
    ),
    claim("Hadamax has a higher effective rank in block 2", "rank 2: hadamax > pqn", "ranks by layer"),
    claim("Hadamax has a higher effective rank in block 3", "rank 3: hadamax > pqn", "ranks by layer"),
    *DEAD,
)
MINATAR = (
    claim("Hadamax scores higher than PQN's encoder at equal frames", "score: hadamax > pqn", "headline", HEADLINE),
    claim("GELU scores higher than ReLU", "score: hadamax > no-gelu", "ablations"),
    claim("the product matters more than GELU", "score: no-gelu > no-product", "ablations"),
    claim("max-pooling matters more than the product", "score: no-product > no-pool", "ablations"),
    claim("max-pooling scores higher than average-pooling", "score: hadamax > average-pool", "ablations"),
    claim("Hadamax has a higher effective rank in its block", "rank 1: hadamax > pqn", "ranks by layer"),
    *DEAD,
)

CONTINUAL = (
    claim("ReLU scores lower when a game comes back", "gain: relu < 0", "section 7", "open question"),
    claim(
        "a product of tanh gains more than ReLU when a game comes back",
        "gain: tanh-hr > relu",
        "section 7",
        "open question",
    ),
    claim(
        "a product of tanh scores higher than ReLU in the second cycle",
        "last visit: tanh-hr > relu",
        "section 7",
        "open question",
    ),
    claim(
        "a product of tanh scores higher than tanh in the second cycle",
        "last visit: tanh-hr > tanh",
        "section 7",
        "open question",
    ),
)


class Test(NamedTuple):
    """Claims that one study tests; its study file and runs are in `results/`."""

    study: str
    paper: str
    baseline: str  # variant whose range normalises scores (HR eq. 8)
    claims: tuple[Claim, ...]


PAPERS = {
    "HR": "Hadamard Representations (arXiv 2406.09079): DQN and PPO on 8 Atari games, PQN on 51, 40M frames, 5 seeds",
    "Hadamax": "Hadamax (arXiv 2505.15345): PQN on 57 Atari games, 200M frames; ablations on Atari-10, 40M frames",
}
TESTS = (
    Test("hr-minatar", "HR", "relu", HR),
    Test("hr-minatar-dqn", "HR", "relu", HR),
    Test("hr-atari3", "HR", "relu", HR_ATARI),
    Test("continual-minatar", "HR", "relu", CONTINUAL),
    Test("hadamax-atari3", "Hadamax", "pqn", ATARI3),
    Test("hadamax-minatar", "Hadamax", "pqn", MINATAR),
)


class Untested(NamedTuple):
    """A claim that no study here tests, and what a test takes."""

    paper: str
    text: str
    source: str
    takes: str


DQN_8 = "`hadamax sweep hr-dqn`: 8 games, 40M frames"
UNTESTED = (
    Untested(
        "HR",
        "PPO learns faster with a product of tanh",
        "Figure 8 (c, d)",
        "`hadamax sweep hr-ppo`: 8 games, 40M frames",
    ),
    Untested("HR", "a product of tanh outscores tanh of twice the width", "Figure 13", DQN_8),
    Untested("HR", "three branches, SELU and Rational score below a product of two", "Figure 8 (a, b)", DQN_8),
    Untested(
        "HR",
        "a product of tanh outscores CReLU and ReDo",
        "Figure 9",
        "`hadamax sweep hr-figure-9`: 51 games, 40M frames",
    ),
    Untested(
        "Hadamax",
        "Hadamax passes Rainbow's 200M-frame median (2.30) at 90M frames",
        "headline",
        "`hadamax sweep hadamax-atari57`: 57 games, 200M frames",
    ),
    Untested(
        "Hadamax", "Hadamax raises C51's score by about 70%", "C51", "`hadamax sweep hadamax-c51`: 10 games, 40M frames"
    ),
    Untested(
        "Hadamax",
        "five and seven blocks do not help",
        "depth",
        "`hadamax sweep hadamax-ablations`: 10 games, 40M frames",
    ),
)
