"""Sentences of a report: the headline, a verdict per variant, and cautions."""

from __future__ import annotations

from typing import NamedTuple

from hadamax.studies.report.analysis import Analysis
from hadamax.studies.report.evidence import Evidence, seeds_in_words
from hadamax.studies.report.table import in_words
from hadamax.studies.statistics import Interval

FEW_SEEDS = 5


class Headline(NamedTuple):
    sentence: str
    verdicts: list[str]  # one per variant, against the baseline
    cautions: list[str]


def headline(evidence: Evidence, analysis: Analysis) -> Headline:
    """Describe the variant with the highest interquartile mean, with intervals, next to the baseline."""
    if not evidence.scales:
        games = "game" if len(evidence.games) == 1 else "games"
        count = f"{len(evidence.rows)} runs of {len(evidence.variants)} variants in {len(evidence.games)} {games}"
        return Headline(f"{count}. Scores are listed per game; there is no common scale.", [], _cautions(evidence))
    scale, baseline = evidence.scales[0], evidence.baseline
    iqm = {variant: found["iqm"] for variant, found in analysis.intervals[scale.key].items()}
    best = max(iqm, key=lambda variant: iqm[variant].estimate)
    number = len(scale.limits)
    seeds = seeds_in_words(evidence.raw, scale.limits)
    where = (
        f"Over {number} {'game' if number == 1 else 'games'} with {seeds} {'seed' if seeds == '1' else 'seeds'} each"
    )
    reached = f"{where}, {best} reaches an interquartile mean {scale.name} of {_with_interval(iqm[best])}"
    if len(evidence.variants) == 1:
        return Headline(f"{reached}.", [], _cautions(evidence))
    if best != baseline:
        reached += f", compared with {_with_interval(iqm[baseline])} for {baseline}"
    verdicts = [_verdict(evidence, analysis, variant) for variant in evidence.variants[1:]]
    return Headline(f"{reached}.", verdicts, _cautions(evidence))


def _with_interval(interval: Interval) -> str:
    if interval.low is None:
        return f"{interval.estimate:.2f} (no interval: {interval.note})"
    return f"{interval.estimate:.2f} (95% interval {interval.low:.2f} to {interval.high:.2f})"


def _verdict(evidence: Evidence, analysis: Analysis, variant: str) -> str:
    """Judge by the interval of the difference, which is widened if several variants are compared."""
    difference, chance = analysis.differences[variant]["iqm"], analysis.improvement[variant]
    chance_text = f"its runs beat those of {evidence.baseline} with probability {in_words(chance)}"
    if difference.low is None or difference.high is None:
        reason = f"inconclusive, because there is no interval ({difference.note})"
        return f"{variant}: {difference.estimate:+.2f}; {reason}; {chance_text}."
    confidence = f"{100 * analysis.difference_confidence:.4g}%"
    interval = f"{difference.estimate:+.2f} ({confidence} interval {difference.low:+.2f} to {difference.high:+.2f})"
    if difference.low > 0 or difference.high < 0:
        way = "above" if difference.low > 0 else "below"
        verdict = f"{way} {evidence.baseline} on these games"
        if _fewest(evidence) < FEW_SEEDS:
            verdict += " (with so few seeds the interval is too narrow)"
    else:
        verdict = f"inconclusive against {evidence.baseline}"
    return f"{variant}: {verdict}: {interval}; {chance_text}."


def _cautions(evidence: Evidence) -> list[str]:
    """List caveats of the headline."""
    found = []
    fewest = _fewest(evidence)
    if fewest == 1:
        found.append("Some games have one seed: their variation over seeds is unknown.")
    elif fewest < FEW_SEEDS:
        found.append(f"Some games have only {fewest} seeds: bootstrap intervals of so few are too narrow.")
    if evidence.scales and len(evidence.scales[0].limits) == 1:
        found.append("There is only one game: the results say nothing about other games.")
    elif evidence.scales and len(evidence.scales[0].limits) < 6 and len(evidence.variants) > 1:
        found.append("With fewer than six games, no signed-rank test can reach p = 0.05.")
    unfinished = sum(not run.finished for run in evidence.counted)
    if unfinished:
        found.append(f"{_count(unfinished)} included although unfinished.")
    if evidence.left_out:
        found.append(f"{_count(len(evidence.left_out))} excluded: see the list at the end.")
    return found


def _count(runs: int) -> str:
    return "1 run is" if runs == 1 else f"{runs} runs are"


def _fewest(evidence: Evidence) -> int:
    """Return the smallest number of seeds of any game."""
    return min(len(row) for scores in evidence.raw.values() for row in scores.values())
