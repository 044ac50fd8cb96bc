"""Comparison of settings: the protocol, settings that differ between variants, and settings shared by all runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from hadamax.studies.collect import Run
from hadamax.studies.report.evidence import Evidence
from hadamax.studies.report.table import NOTHING

OF_THE_RUN = {"run": ("seed", "out"), "environment": ("env",)}  # differs between runs by design
MOST = 4  # values of a setting that are listed


class Setting(NamedTuple):
    """A setting's value in each variant, as text; several values if runs of the variant differ."""

    group: str
    name: str
    values: tuple[str, ...]
    within: bool  # True if runs of one variant differ


class Settings(NamedTuple):
    protocol: list[Setting]
    differing: list[Setting]
    shared: list[Setting]
    versions: list[Setting]


def compare_settings(evidence: Evidence) -> Settings:
    """Compare the settings of the included runs, with all defaults filled in."""
    runs = {variant: [run for run in evidence.counted if run.variant == variant] for variant in evidence.variants}
    values = {variant: [_flat(run) for run in of] for variant, of in runs.items()}
    versions = {
        variant: [{("versions", k): v for k, v in run.versions.items()} for run in of] for variant, of in runs.items()
    }
    settings, made_with = _rows(values), _rows(versions)
    meant = [row for row in settings if row.group == "environment" and set(row.values) != {NOTHING}]
    rest = [row for row in settings if row.group != "environment" and row.name != "fingerprint"]
    protocol = [row for row in settings if row.name == "fingerprint"] + meant + _evaluation(runs)
    differing = [row for row in (*protocol, *rest, *made_with) if _differs(row)]
    return Settings(protocol, differing, [row for row in rest if not _differs(row)], made_with)


def _flat(run: Run) -> dict[tuple[str, str], Any]:
    groups = {**run.settings.groups(), "environment": run.settings.environment.resolved()}
    flat: dict[tuple[str, str], Any] = {
        ("run", "algorithm"): run.algorithm,
        ("protocol", "fingerprint"): run.fingerprint,
    }
    for group, settings in groups.items():
        name = run.algorithm if group == "algorithm" else group
        skipped = OF_THE_RUN.get(group, ())
        flat |= {(name, key): value for key, value in asdict(settings).items() if key not in skipped}
    return flat


def _evaluation(runs: dict[str, list[Run]]) -> list[Setting]:
    """Return the protocol of the final evaluation, if there was one."""
    found = {
        variant: [
            {
                ("evaluation", "games"): len(run.evaluation["returns"]),
                ("evaluation", "protocol"): run.evaluation["protocol"],
            }
            for run in of
            if run.evaluation
        ]
        for variant, of in runs.items()
    }
    return _rows(found) if any(found.values()) else []


def _rows(values: dict[str, list[dict[tuple[str, str], Any]]]) -> list[Setting]:
    names = dict.fromkeys(name for rows in values.values() for row in rows for name in row)
    found = []
    for group, name in names:
        texts = [
            list(dict.fromkeys(_text(row[group, name]) for row in rows if (group, name) in row))
            for rows in values.values()
        ]
        several = [" or ".join([*of[:MOST], *(["..."] if len(of) > MOST else [])]) or NOTHING for of in texts]
        found.append(Setting(group, name, tuple(several), any(len(of) > 1 for of in texts)))
    return found


def _differs(row: Setting) -> bool:
    return row.within or len(set(row.values)) > 1


def _text(value: Any) -> str:
    if value is None or value == ():
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, (tuple, list)):
        return ", ".join(map(_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def machines(runs: Sequence[Run]) -> str:
    """Describe processor, device, precision and threads of runs, which determine their speed."""
    found = dict.fromkeys(
        f"{run.versions.get('processor', 'unknown processor')}, {run.settings.run.device}, "
        f"{run.settings.run.precision}, {run.settings.run.threads} threads"
        for run in runs
    )
    return "; ".join(found)
