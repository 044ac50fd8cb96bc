"""What a report says in sentences: the headline, and what stands against it."""

from __future__ import annotations

from typing import NamedTuple

from hadamax.studies.report.analysis import Analysis
from hadamax.studies.report.evidence import Evidence, seeds_in_words
from hadamax.studies.report.table import in_words
from hadamax.studies.statistics import Interval

FEW_SEEDS = 5


class Headline(NamedTuple):
    sentence: str
    verdicts: list[str]  # of each variant against the baseline
    cautions: list[str]


def headline(evidence: Evidence, analysis: Analysis) -> Headline:
    """The variant whose interquartile mean is highest, with its interval and beside the baseline's."""
    if not evidence.scales:
        games = "game" if len(evidence.games) == 1 else "games"
        count = f"{len(evidence.rows)} runs of {len(evidence.variants)} variants in {len(evidence.games)} {games}"
        return Headline(
            f"{count}: their scores stand side by side, and cannot be put together.", [], _cautions(evidence)
        )
    scale, baseline = evidence.scales[0], evidence.baseline
    iqm = {variant: found["iqm"] for variant, found in analysis.intervals[scale.key].items()}
    best = max(iqm, key=lambda variant: iqm[variant].estimate)
    number = len(scale.limits)
    seeds = seeds_in_words(evidence.raw, scale.limits)
    where = (
        f"Over {number} {'game' if number == 1 else 'games'} with {seeds} {'seed' if seeds == '1' else 'seeds'} each"
    )
    reached = f"{where}, {best} reaches an interquartile mean {scale.name} of {_told(iqm[best])}"
    if len(evidence.variants) == 1:
        return Headline(f"{reached}.", [], _cautions(evidence))
    if best != baseline:
        reached += f", against {_told(iqm[baseline])} of {baseline}"
    verdicts = [_verdict(evidence, analysis, variant) for variant in evidence.variants[1:]]
    return Headline(f"{reached}.", verdicts, _cautions(evidence))


def _told(interval: Interval) -> str:
    if interval.low is None:
        return f"{interval.estimate:.2f} (no interval: {interval.note})"
    return f"{interval.estimate:.2f} (95% interval {interval.low:.2f} to {interval.high:.2f})"


def _verdict(evidence: Evidence, analysis: Analysis, variant: str) -> str:
    """By the interval of the difference, which is widened where several variants are compared."""
    difference, chance = analysis.differences[variant]["iqm"], analysis.improvement[variant]
    chance_text = f"a run of it beats a run of {evidence.baseline} with probability {in_words(chance)}"
    if difference.low is None or difference.high is None:
        untold = f"whether that is more than chance cannot be told ({difference.note})"
        return f"{variant}: {difference.estimate:+.2f}; {untold}; {chance_text}."
    confidence = f"{100 * analysis.difference_confidence:.4g}%"
    interval = f"{difference.estimate:+.2f} ({confidence} interval {difference.low:+.2f} to {difference.high:+.2f})"
    if difference.low > 0 or difference.high < 0:
        way = "above" if difference.low > 0 else "below"
        verdict = f"{way} {evidence.baseline} on these games"
        if _fewest(evidence) < FEW_SEEDS:
            verdict += ", by an interval that so few seeds make too narrow"
    else:
        verdict = f"cannot be told apart from {evidence.baseline} by these runs"
    return f"{variant}: {verdict}: {interval}; {chance_text}."


def _cautions(evidence: Evidence) -> list[str]:
    """What a reader has to know before believing the headline."""
    found = []
    fewest = _fewest(evidence)
    if fewest == 1:
        found.append("Some games have one seed: how much seeds differ there cannot be told.")
    elif fewest < FEW_SEEDS:
        found.append(f"Some games have {fewest} seeds: bootstrap intervals of so few are too narrow.")
    if evidence.scales and len(evidence.scales[0].limits) == 1:
        found.append("There is one game: nothing is said of others.")
    elif evidence.scales and len(evidence.scales[0].limits) < 6 and len(evidence.variants) > 1:
        found.append("With fewer than six games no signed-rank test can reach p = 0.05.")
    unfinished = sum(not run.finished for run in evidence.counted)
    if unfinished:
        found.append(f"{_count(unfinished)} taken as {'it stands' if unfinished == 1 else 'they stand'}, unfinished.")
    if evidence.left_out:
        found.append(f"{_count(len(evidence.left_out))} left out: see the list at the end.")
    return found


def _count(runs: int) -> str:
    return "1 run is" if runs == 1 else f"{runs} runs are"


def _fewest(evidence: Evidence) -> int:
    """Seeds of the game that has fewest."""
    return min(len(row) for scores in evidence.raw.values() for row in scores.values())
