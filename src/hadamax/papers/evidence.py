"""The page of evidence: every claim of the papers with its verdict, from the committed runs.

hadamax paper verdicts --runs results --out docs
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from hadamax.papers.claims import PAPERS, TESTS, UNTESTED, Test
from hadamax.papers.measures import SCORES, final_values
from hadamax.papers.runs import frames_in_words
from hadamax.papers.verdicts import Claim, Verdict, verdicts
from hadamax.studies.collect import Run, collect
from hadamax.studies.definition import Definition, read_definition
from hadamax.studies.statistics.comparisons import holm

WORDS = ("holds", "does not hold", "inconclusive", "not finished")


class Finding(NamedTuple):
    """A claim as one study tests it."""

    paper: str
    text: str
    source: str
    published: str
    ours: str
    scale: str
    folder: str  # below `results/`
    word: str  # one of WORDS


def findings(results: Path) -> list[Finding]:
    """Judge every claim that a study in `results` tests; Holm's correction covers all claims of a study.

    Raises:
        UserError: a study file or run is damaged.
    """
    found = [finding for test in TESTS for finding in _study(test, results / test.study)]
    return [*found, *_regression(results / "hr-regression")]


def _study(test: Test, folder: Path) -> list[Finding]:
    if not (folder / "study.toml").exists():
        return []
    definition = read_definition(folder / "study.toml")
    names = {point.name for point in definition.points}
    claims = [claim for claim in test.claims if claim.variant in names and (not claim.other or claim.other in names)]
    runs = [run for run in collect([folder])[0] if run.finished] if list(folder.rglob("config.toml")) else []
    complete = [claim for claim in claims if _finished(runs, claim, test) == _planned(claim, test, definition)]
    judged = {verdict.claim: verdict for verdict in _verdicts(runs, complete, test.baseline)}
    found = []
    for claim in claims:
        progress = f"{_finished(runs, claim, test)} of {_planned(claim, test, definition)} runs finished"
        ours, word = (_in_words(judged[claim]), judged[claim].word) if claim in judged else (progress, "not finished")
        place = _scale(definition), test.study
        found.append(Finding(test.paper, claim.text, claim.source, claim.published, ours, *place, word))
    return found


def _verdicts(runs: Sequence[Run], claims: Sequence[Claim], baseline: str) -> list[Verdict]:
    measures = dict.fromkeys(claim.measure for claim in claims)
    return verdicts({measure: final_values(runs, measure, baseline) for measure in measures}, claims)


def _variants(claim: Claim, test: Test) -> set[str]:
    """Return the variants whose runs a claim needs."""
    needed = {claim.variant, claim.other} - {""}
    return needed | {test.baseline} if claim.measure == "score" else needed


def _planned(claim: Claim, test: Test, definition: Definition) -> int:
    return len(_variants(claim, test)) * len(definition.games) * len(definition.seeds)


def _finished(runs: Sequence[Run], claim: Claim, test: Test) -> int:
    return sum(run.variant in _variants(claim, test) for run in runs)


def _in_words(verdict: Verdict) -> str:
    """Write the difference with interval, unit and adjusted p-value; or the value compared with a bound."""
    claim, difference = verdict.claim, verdict.difference
    fraction = claim.measure.startswith(("dead", "dormant"))
    factor = 100.0 if fraction else 1.0
    shift = claim.bound
    sign = "" if fraction and not claim.other else "+"
    digits = 2 if claim.measure in SCORES else 1
    unit = "" if claim.measure in SCORES else " points" if fraction and claim.other else "%" if fraction else " in rank"
    numbers = [difference.value, *(difference.interval or ())]
    value, *interval = (f"{(number + shift) * factor:{sign}.{digits}f}" for number in numbers)
    inside = " (one seed)" if verdict.p_value is None else f" ({' to '.join(interval)}), p {verdict.p_value:.2g}"
    return f"{value}{unit}{inside}"


def _scale(definition: Definition) -> str:
    point = definition.points[0]
    games = [game for names in definition.games for game in names.split(",")]
    kind = "MinAtar" if games[0].startswith("MinAtar/") else "Atari"
    order = " in sequence" if len(games) > len(definition.games) else ""
    seeds = len(definition.seeds)
    frames = frames_in_words(int(point.settings["frames"]))
    return f"{point.algorithm.upper()}, {len(games)} {kind} games{order}, {frames} frames, {seeds} seeds"


# The regression's tests are part of its text file: it needs no runs.
NOTE = re.compile(
    r"^note: (\[.*?\]): the error of shallow Tanh \(HR\) is (lower than|higher than|not significantly different from) "
    r"that of (.*?): its error is lower with probability (.*?) \(Mann-Whitney p (.*?)\)$",
    re.MULTILINE,
)


def _regression(folder: Path) -> list[Finding]:
    """Judge "a shallow product of tanh fits better" from the tests of HR Figure 2."""
    text = folder / "hr-figure-2.txt"
    notes = NOTE.findall(text.read_text()) if text.exists() else []
    adjusted = holm([float(p_value) for *_, p_value in notes])
    found = []
    for (range_, _, other, probability, _), p_value in zip(notes, adjusted, strict=True):
        word = "inconclusive" if p_value > 0.05 else "holds" if float(probability) > 0.5 else "does not hold"
        ours = f"lower error with probability {probability}, p {p_value:.2g}"
        scale = f"sum of three sines, x from {range_.strip('[]').replace(', ', ' to ')}, 20 seeds"
        text_ = f"a shallow product of tanh fits better than {other}"
        found.append(Finding("HR", text_, "Figure 2", "one fit, lower", ours, scale, "hr-regression", word))
    return found


# -- the page ------------------------------------------------------------------------------------------------------


def summary(found: Sequence[Finding]) -> str:
    """Count the verdicts in one line."""
    counts = Counter(finding.word for finding in found)
    said = {
        "holds": "hold",
        "does not hold": "do not hold",
        "inconclusive": "are inconclusive",
        "not finished": "are not finished",
    }
    parts = [f"{counts[word]} {said[word]}" for word in WORDS if counts[word]]
    return f"of {len(found)} tests of the papers' claims {', '.join(parts)}; {len(UNTESTED)} claims have no test yet"


def page(found: Sequence[Finding]) -> str:
    """Return the page as Markdown."""
    lines = [
        "# What of the papers has been confirmed",
        "",
        f"Result: {summary(found)}.",
        "",
        "All runs here are far smaller than the papers': fewer frames, games and seeds. A verdict is about that scale.",
        "",
        "- **holds**: the difference has the claimed sign, p < 0.05. **does not hold**: the opposite sign, p < 0.05.",
        "- **inconclusive**: p is 0.05 or more. **not finished**: the study was fixed beforehand and lacks runs.",
        "- p includes Holm's correction for all claims of a study. Intervals do not, so they can exclude 0 although a",
        "  verdict is inconclusive.",
    ]
    for paper, scale in PAPERS.items():
        lines += ["", f"## {paper}", "", f"{scale}.", "", *_table([f for f in found if f.paper == paper])]
        lines += ["", "Not tested yet:", "", "| claim | source | what a test takes |", "|---|---|---|"]
        lines += [f"| {u.text} | {u.source} | {u.takes} |" for u in UNTESTED if u.paper == paper]
    return "\n".join([*lines, "", *NOTES, ""])


def _table(found: Sequence[Finding]) -> list[str]:
    order = {text: place for place, text in enumerate(dict.fromkeys(finding.text for finding in found))}
    lines = ["| claim | source | published | here (95% interval) | scale here | verdict |", "|---|---|---|---|---|---|"]
    before = ""
    for finding in sorted(found, key=lambda finding: order[finding.text]):
        same = finding.text == before
        said = ("", "", "") if same else (finding.text, finding.source, finding.published or "curves")
        scale = f"[{finding.scale}](../results/{finding.folder}/README.md)"
        word = finding.word if finding.word == "not finished" else f"**{finding.word}**"
        lines.append(f"| {' | '.join((*said, finding.ours, scale, word))} |")
        before = finding.text
    return lines


NOTES = """## How to read the numbers

- A number with a sign is the difference between two variants' means over games at the end of training, with Welch's
  interval over seeds. Scores on MinAtar are greedy test games, normalised by the baseline's range (HR eq. 8): +0.3
  is 30% of that range; in the sequence of games, of the range of all runs. Scores on Atari are 30 greedy games after
  training, human-normalised. Dead units are percentage points of the last hidden layer; ranks are numbers of
  dimensions.
- A number without a sign is the fraction of dead or dormant units in the layer that has the most, compared with 8%.
- Dead means dead by density (HR B.1) for bounded activations, and zero on every sample for others. Dormant means below
  0.025 of the layer's mean activation (ReDo).
- "As many" holds if the difference is within five points (our default), and does not hold if it is beyond them.

## How to repeat

```
hadamax sweep STUDY --out runs                      # STUDY: the name of a folder in `results`
hadamax paper verdicts --runs results --out docs    # this page, from the committed runs
```""".splitlines()
