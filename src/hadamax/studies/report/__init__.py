"""Report of a study: a self-contained HTML page, its tables as CSV, its figures as SVG and PDF.

write_report([Path("runs/hadamax-atari10")], Path("report"), Choices())
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from hadamax.studies.report import contents, sources
from hadamax.studies.report.analysis import CURVE_REPLICATES, Analysis, analyse
from hadamax.studies.report.evidence import Choices, Evidence, gather
from hadamax.studies.report.figures import draw, draw_games
from hadamax.studies.report.headline import Headline, headline
from hadamax.studies.report.health import RunHealth, correlations, read_health
from hadamax.studies.report.page import PAGE, page, refuse_other, write, written_whole
from hadamax.studies.report.sources import compare_settings
from hadamax.studies.report.table import Table
from hadamax.studies.statistics.bootstrap import REPLICATES

__all__ = ["Choices", "Report", "write_report"]


class Report(NamedTuple):
    """Path of the page, its headline and the evidence behind it."""

    page: Path
    headline: Headline
    evidence: Evidence


def write_report(
    roots: Sequence[Path],
    out: Path,
    choices: Choices,
    *,
    title: str = "",
    replicates: int = REPLICATES,
    say: Callable[[str], None] = lambda line: None,
) -> Report:
    """Write a report on every run in or below `roots` to the folder `out`, which is replaced as a whole.

    Raises:
        UserError: there is nothing to report, the runs are not comparable, or `out` holds something else.
    """
    refuse_other(out)
    evidence = gather(roots, choices)
    say(f"{len(evidence.rows)} runs included, {len(evidence.left_out)} excluded; computing intervals")
    analysis = analyse(evidence, replicates=replicates)
    health = {run.path: found for run in evidence.counted if (found := read_health(run))}
    tables = {table.name: table for table in _tables(evidence, analysis, health, out)}
    say("drawing figures")
    drawings = list(draw(evidence, analysis, health))
    name = title or ", ".join(root.resolve().name for root in roots)
    about = {"runs": ", ".join(str(root) for root in roots), "replicates": f"{replicates:,}"}
    about["curve_replicates"] = f"{CURVE_REPLICATES:,}"
    svgs = {drawing.name: drawing.svg for drawing in drawings if drawing.svg}
    html = page(name, evidence, analysis, tables, svgs, list(draw_games(evidence)), about)
    with written_whole(out) as folder:
        write(folder, PAGE, html.encode())
        for table in tables.values():
            write(folder, f"tables/{table.name}.csv", table.to_csv().encode())
        for drawing in drawings:
            for file, content in drawing.files.items():
                write(folder, file, content)
    return Report(out / PAGE, headline(evidence, analysis), evidence)


def _tables(evidence: Evidence, analysis: Analysis, health: Mapping[Path, RunHealth], out: Path) -> Iterator[Table]:
    """Yield the tables that have rows."""
    tables = [
        *(contents.aggregates(analysis, scale) for scale in evidence.scales),
        contents.comparisons(evidence, analysis) if evidence.scales else None,
        contents.estimates(analysis),
        contents.games(evidence, analysis),
        contents.layers(evidence, health),
        contents.predictions(correlations(evidence, health)) if health else None,
        contents.cost(evidence, analysis),
        sources.published(evidence),
        sources.published_games(evidence),
        sources.quotations(),
        *sources.settings(evidence, compare_settings(evidence)),
        sources.runs(evidence, health, out),
        sources.left_out(evidence, out),
    ]
    yield from (table for table in tables if table is not None and table.rows)
