"""The report's page, one HTML file with its style, script and figures embedded, and its folder, replaced atomically."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from hadamax.errors import UserError
from hadamax.files import flush_folder, write_flushed
from hadamax.runs.folder import refuse_unwritable
from hadamax.studies.report.analysis import Analysis
from hadamax.studies.report.evidence import Evidence, curves_in_words
from hadamax.studies.report.headline import headline
from hadamax.studies.report.style import COLOURS, DASHES, style_of
from hadamax.studies.report.table import Cell, Group, Table
from hadamax.studies.score_table import SOURCES

MARK = '<meta name="generator" content="hadamax report">'  # identifies a report's folder


class Key(NamedTuple):
    """A variant in the legend above the games."""

    name: str
    colour: str
    dashes: str


def page(
    title: str,
    evidence: Evidence,
    analysis: Analysis,
    tables: Mapping[str, Table],
    figures: Mapping[str, str],
    games: Sequence[tuple[str, str]],
    about: Mapping[str, str],
) -> str:
    """Render the HTML page.

    Args:
        figures: SVG by name; figures without data are missing.
        games: (name, SVG) of each game.
        about: facts about the report, by name.
    """
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    environment.globals.update(first_run=_Anchors(evidence), Group=Group, sort_value=_sort_value)
    values: dict[str, Any] = {
        "mark": Markup(MARK),
        "style": Markup(_asset("page.css")),
        "script": Markup(_asset("page.js")),
        "title": title,
        "headline": headline(evidence, analysis),
        "evidence": evidence,
        "analysis": analysis,
        "scale": evidence.scales[0] if evidence.scales else None,
        "tables": tables,
        "figures": {name: Markup(svg) for name, svg in figures.items()},
        "games": [(name, Markup(svg)) for name, svg in games],
        "legend": [_key(number, variant) for number, variant in enumerate(evidence.variants)],
        "source": SOURCES[evidence.source],
        "curve_source": curves_in_words(evidence.curve_source),
        "frames": sorted({row.frames for row in evidence.rows}),
        "protocols": sorted({row.protocol for row in evidence.rows}),
        "about": about,
    }
    return environment.from_string(_asset("page.html")).render(values)


def _asset(name: str) -> str:
    return resources.files("hadamax.studies.report").joinpath(name).read_text(encoding="utf-8")


class _Anchors:
    """Lookup of the anchor of the first run of a group."""

    def __init__(self, evidence: Evidence) -> None:
        self.of: dict[Group, int] = {}
        for number, row in enumerate(evidence.rows):
            for group in (Group(), Group(row.variant, row.game), Group(row.variant), Group("", row.game)):
                self.of.setdefault(group, number)

    def __call__(self, group: Group) -> str:
        return f"#run-{self.of[group]}"


def _sort_value(cell: Cell) -> str | None:
    """Return a cell's numeric sort key, or None to sort by text."""
    value = cell.values[0]
    return f"{value:.10g}" if isinstance(value, (int, float)) else None


def _key(number: int, variant: str) -> Key:
    style = style_of(number)
    dashes = style.dashes[1] if style.dashes in DASHES[1:] else ()
    return Key(variant, f"var(--series-{COLOURS.index(style.colour)})", " ".join(f"{2 * d:g}" for d in dashes))


PAGE = "index.html"


def refuse_other(out: Path) -> None:
    """Check that `out` can be written and does not hold anything but a report.

    Raises:
        UserError: `out` holds something else, which would be lost, or it is not writable.
    """
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            page = out / PAGE
            if not page.is_file() or MARK not in page.read_text(encoding="utf-8")[:4096]:
                raise UserError(f"out: {out} is not empty and not a report; choose another folder")
    except (OSError, ValueError) as error:
        raise UserError(f"out: {out} cannot be read: {error}") from None
    refuse_unwritable(out, out.absolute().parent)


@contextmanager
def written_whole(out: Path) -> Iterator[Path]:
    """Yield a folder to write into, which replaces `out` at the end. A kill leaves the previous content.

    Raises:
        UserError: it cannot be written.
    """
    out = out.absolute()
    new, old = (out.with_name(f".{out.name}.{word}-{os.getpid()}") for word in ("writing", "old"))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        for left in out.parent.glob(f".{out.name}.writing-*"):
            if not _alive(left.name.rpartition("-")[2]):
                shutil.rmtree(left, ignore_errors=True)
        new.mkdir()
        try:
            yield new
            if out.exists():
                out.rename(old)
            new.rename(out)
            flush_folder(out.parent)
        finally:
            shutil.rmtree(new, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise UserError(f"out: {out} cannot be written: {error.strerror}") from None


def write(folder: Path, name: str, content: bytes) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    write_flushed(path, content)


def _alive(process: str) -> bool:
    return process.isdecimal() and Path("/proc", process).exists()
