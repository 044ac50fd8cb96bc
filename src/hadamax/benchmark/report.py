"""Benchmark results as text and as JSON, beside the target ratios on two cores."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any, NamedTuple

from hadamax.benchmark.rounds import Ratio
from hadamax.benchmark.sections import Results


class Target(NamedTuple):
    """A bound on a ratio of one section of `hadamax bench`."""

    ratio: str
    """Name of the ratio in the results."""
    bound: float
    at_least: bool = False

    def kept(self, ratio: Ratio) -> bool:
        return ratio.median >= self.bound if self.at_least else ratio.median <= self.bound

    def __str__(self) -> str:
        return f"at {'least' if self.at_least else 'most'} {self.bound:g}"


TARGETS = (
    Target("hadamax, bfloat16: forward+backward / products alone", 1.3),
    Target("hadamax, float32: forward+backward / products alone", 1.35),
    Target("hadamax, bfloat16: forward / products alone", 1.35),
    Target("hadamax, float32: forward / products alone", 1.35),
    Target("hadamax, float32: eager PyTorch / ours, forward+backward", 4, at_least=True),
    Target("hadamax, bfloat16: eager PyTorch / ours, forward+backward", 4, at_least=True),
    Target("hadamax, float32: JAX float32 / ours, forward+backward", 6, at_least=True),
    Target("hadamax, bfloat16: JAX float32 / ours, forward+backward", 14, at_least=True),
    Target("hadamax, float32: memory of an update / eager PyTorch", 0.45),
    Target("hadamax, bfloat16: memory of an update / eager PyTorch", 0.45),
    Target("hadamax-PQN iteration / sum of its parts alone", 1.35),
    Target("nature-norm-PQN iteration / sum of its parts alone", 1.25),
)
BY_RATIO = {target.ratio: target for target in TARGETS}


def lines(machine: dict[str, Any], served: dict[str, list[str]], results: Results) -> Iterator[str]:
    """Yield the report's lines."""
    features = ", ".join(machine["features"]) or "none of those used"
    yield f"{machine['processor']}, {machine['threads']} threads of {machine['cores']} cores; {features}"
    bfloat16 = "is native" if machine["bfloat16"] else "is not native: training uses float32"
    yield f"bfloat16 {bfloat16}; AMX {'yes' if machine['amx'] else 'no'}; compiler: {machine['compiler']}"
    for name, blocks in served.items():
        yield f"{name}: {'; '.join(blocks)}"
    if not results.times and not results.ratios:
        return
    yield ""
    yield "milliseconds, median (minimum to maximum)"
    for name, values in results.times.items():
        middle, low, high = (f(values) * 1e3 for f in (statistics.median, min, max))
        yield f"  {_shown(name):<60}{middle:>10,.1f} ({low:,.1f} to {high:,.1f})"
    yield ""
    yield "ratios within a round, median (minimum to maximum)"
    for name, ratio in results.ratios.items():
        yield f"  {_shown(name):<66}{ratio!s:<24}{_verdict(name, ratio)}".rstrip()
    missing = [name for name in BY_RATIO if name not in results.ratios]
    yield from (f"  {_shown(name):<66}{'not measured':<24}target: {BY_RATIO[name]}" for name in missing)
    yield ""
    yield from results.notes


def _shown(name: str) -> str:
    """Return a result's name as displayed; files keep the older name of the roofline."""
    return name.replace("products alone", "roofline")


def _verdict(name: str, ratio: Any) -> str:
    target = BY_RATIO.get(name)
    return "" if target is None else f"{'met' if target.kept(ratio) else 'MISSED'}: target {target}"


def content(
    machine: dict[str, Any], settings: dict[str, Any], served: dict[str, list[str]], results: Results
) -> dict[str, Any]:
    """Return all measurements as JSON content."""
    return {
        "machine": machine,
        "settings": settings,
        "blocks": served,
        "forms": results.forms,
        "seconds": results.times,
        "ratios": {name: ratio._asdict() for name, ratio in results.ratios.items()},
        "targets": {
            name: {
                "bound": target.bound,
                "at_least": target.at_least,
                "kept": target.kept(results.ratios[name]) if name in results.ratios else None,
            }
            for name, target in BY_RATIO.items()
        },
        "notes": results.notes,
    }
