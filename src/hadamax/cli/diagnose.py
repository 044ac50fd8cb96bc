"""`hadamax diagnose RUN`: measure a representation: a table, signs of trouble, pictures."""

from __future__ import annotations

import re
from pathlib import Path

from rich.console import Console
from rich.table import Table

from hadamax.cli.arguments import parse
from hadamax.cli.diagnosis_target import Arguments, DiagnosisTarget, of_module, of_run, sentence
from hadamax.diagnostics import Health, Sample, measure, observe
from hadamax.diagnostics.health import shares
from hadamax.diagnostics.pictures import draw_dead, draw_densities, draw_ranks, draw_spectra
from hadamax.diagnostics.signs import signs
from hadamax.errors import UserError
from hadamax.files import write_atomically


def run(arguments: list[str]) -> int:
    given: Arguments = parse(Arguments, arguments, "hadamax diagnose")
    target = of_run(given) if given.run is not None else of_module(given)
    try:
        samples = observe(
            target.network, target.observations, given.layers or None, forward=target.forward, seed=given.seed
        )
        health = measure(samples, given.seed)
        parts = shares(target.network, samples, target.observations, forward=target.forward, seed=given.seed)
    except (ValueError, TypeError) as error:
        raise UserError(sentence(error)) from None
    print(f"{target.title}; {len(target.observations):,} observations")
    Console(width=130).print(_table(health))
    widest = max((h for h in health if h.map_rank is None), key=lambda h: h.units, default=None)
    if widest is not None and len(target.observations) < widest.units:
        print(
            f"{len(target.observations):,} observations are few for the {widest.units:,} units of {widest.layer}: "
            "no rank can pass their number, and what is dead on them may be alive on others"
        )
    if parts is not None:
        print(
            f"average output: {parts[0]:.4g} from live units and {parts[1]:.4g} from dead ones of the last hidden layer"
        )
    found = signs(health, parts)
    print("\n".join(["what is wrong:", *(f"  - {sentence}" for sentence in found)] if found else [ALL_WELL]))
    for path in _draw(target, samples, given.seed):
        print(f"picture: {path}")
    return 0


ALL_WELL = (
    "no sign of trouble: no layer has a collapsed rank, most activations saturated, or more than 15% dead units "
    "(by density where activations are bounded, zero on every sample elsewhere)"
)


def _table(health: list[Health]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("layer", overflow="fold")
    fractions = ("dead, KDE", "dead, plain", "dormant", "saturated")
    for column in ("units", *fractions, "effective rank", "stable rank", "norm"):
        table.add_column(column, justify="right")
    layers = list(dict.fromkeys(h.layer for h in health))
    for h in sorted(health, key=lambda h: (layers.index(h.layer), h.part != "output")):
        rank = "-" if h.effective_rank is None else f"{h.effective_rank} of {min(h.units, h.samples)}"
        if h.map_rank is not None:
            rank = f"{rank}, map {h.map_rank} of {h.map_samples}"
        plain = h.dead_zero if h.dead_saturated is None else h.dead_saturated
        table.add_row(
            h.layer if h.part == "output" else f"  {h.part}",
            str(h.units),
            *map(_percent, (h.dead_kde, plain, h.dormant, h.saturated)),
            rank,
            "-" if h.stable_rank is None else f"{h.stable_rank:.1f}",
            f"{h.feature_norm:.3g}",
        )
    return table


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{fraction:.1%}"


def _draw(target: DiagnosisTarget, samples: list[Sample], seed: int) -> list[Path]:
    pictures = {}
    if any(min(sample.activations.shape) > 1 and sample.activations.any() for sample in samples):
        pictures["spectra.png"] = draw_spectra(samples, target.title)
    for sample in samples:
        name = re.sub(r"[^\w.]+", "-", sample.name).strip("-")
        pictures[f"density-{name}.png"] = draw_densities(sample, target.title, seed)
    if target.history:
        title, rows = target.title, target.history
        pictures["rank.png"] = draw_ranks(rows, title)
        # The criteria of dead units that apply to each layer: see `dead_fraction`.
        bounded = [row for row in rows if row.get("saturated")]
        others = [row for row in rows if not row.get("saturated")]
        for name, label, of in (
            ("dead_kde", "dead units by density, %", bounded),
            ("dead_saturated", "units at one end on every sample, %", bounded),
            ("dead_zero", "units zero on every sample, %", others),
        ):
            if any(row.get(name) for row in of):
                pictures[f"{name.replace('_', '-')}.png"] = draw_dead(of, name, label, title)
    try:
        target.out.mkdir(parents=True, exist_ok=True)
        for name, picture in pictures.items():
            write_atomically(target.out / name, picture)
    except OSError as error:
        raise UserError(f"out: {target.out} cannot be written: {error.strerror}") from None
    return [target.out / name for name in pictures]
