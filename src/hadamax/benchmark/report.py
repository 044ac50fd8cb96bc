"""Benchmark results as text, as JSON and as a picture, beside the target ratios on two cores."""

from __future__ import annotations

import io
import statistics
from collections.abc import Iterator
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from hadamax.benchmark.contender import Ratio, Times, ratio, total
from hadamax.benchmark.sections import Results
from hadamax.plotting import BLUE, GREEN, GREY, ORANGE, PINK, SKY_BLUE, VERMILLION


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
    for name, measured in results.ratios.items():
        yield f"  {_shown(name):<66}{measured!s:<24}{_verdict(name, measured)}".rstrip()
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


COLOURS = {"products": GREY, "ours": BLUE, "plain": VERMILLION, "jax": PINK}
LABELS = {
    "products": "roofline",
    "ours": "ours",
    "plain": "eager PyTorch",
    "jax": "JAX, float32",
}
DRAWN = frozenset({"network", "iteration"})  # sections
PARTS = {"acting products": SKY_BLUE, "learning products": BLUE, "emulators": GREEN}


def draw(times: Times, title: str) -> bytes | None:
    """Draw the measured ones of sections `network` and `iteration` as PNG; None if there are none."""
    networks = [name.removesuffix(": ours both") for name in times if name.endswith(": ours both")]
    learners = [name.removesuffix(": iteration") for name in times if name.endswith(": iteration")]
    panels = len(networks) + bool(learners)
    if not panels:
        return None
    figure = Figure(
        figsize=(9, 0.9 + 1.9 * len(networks) + (1.0 + 0.75 * len(learners))), dpi=130, layout="constrained"
    )
    FigureCanvasAgg(figure)
    heights = [1.9] * len(networks) + [1.0 + 0.75 * len(learners)] * bool(learners)
    axes = figure.subplots(panels, 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for name, panel in zip(networks, axes, strict=False):
        _draw_network(panel, times, name)
    if learners:
        _draw_iterations(axes[-1], times, learners)
    figure.suptitle(title, fontsize=10)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()


def _draw_network(axes: Axes, times: Times, name: str) -> None:
    ticks: list[tuple[float, str]] = []
    for row, (job, words) in enumerate((("forward", "forward"), ("both", "forward + backward"))):
        forms = [form for form in COLOURS if f"{name}: {form} {job}" in times]
        for place, form in enumerate(forms):
            seconds = times[f"{name}: {form} {job}"]
            values = [1e3 * second for second in seconds]
            middle = statistics.median(values)
            y = -row - 0.8 * (place - (len(forms) - 1) / 2) / len(forms)
            spread = [[middle - min(values)], [max(values) - middle]]
            label = LABELS[form] if row == 0 else None
            axes.errorbar(middle, y, xerr=spread, fmt="o", color=COLOURS[form], label=label, capsize=3)
            words_beside = f"{middle:,.1f}"
            if form != "products":
                words_beside += f" ({ratio(seconds, times[f'{name}: products {job}']).median:.2f})"
            axes.annotate(words_beside, (max(values), y), (6, 0), textcoords="offset points", va="center", fontsize=7)
        ticks.append((-row, words))
    axes.set_yticks([place for place, _ in ticks], [words for _, words in ticks])
    axes.set_title(f"{name}: a batch of 128", fontsize=9, loc="left")
    axes.set_xlabel("milliseconds: median, minimum and maximum (in parentheses: multiple of the roofline)", fontsize=8)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.margins(x=0.2, y=0.1)
    _dress(axes)


def _draw_iterations(axes: Axes, times: Times, names: list[str]) -> None:
    for row, name in enumerate(names):
        start = 0.0
        alone = total(*(times[f"{name}: {part}"] for part in PARTS))
        for part, colour in PARTS.items():
            seconds = statistics.median(times[f"{name}: {part}"])
            label = part if row == 0 else None
            axes.barh(-row - 0.2, seconds, 0.36, left=start, color=colour, label=label)
            start += seconds
        whole = times[f"{name}: iteration"]
        middle = statistics.median(whole)
        spread = [[middle - min(whole)], [max(whole) - middle]]
        label = "the iteration" if row == 0 else None
        axes.barh(-row + 0.2, middle, 0.36, color=ORANGE, label=label, xerr=spread, ecolor="black")
        beside = f" {ratio(whole, alone).median:.2f} times the sum of its parts"
        axes.annotate(beside, (max(whole), -row + 0.2), va="center", fontsize=7)
    axes.set_yticks([-row for row in range(len(names))], names)
    axes.set_title("a PQN iteration and its parts measured separately", fontsize=9, loc="left")
    axes.set_xlabel("seconds", fontsize=8)
    axes.margins(x=0.2)
    _dress(axes)


def _dress(axes: Axes) -> None:
    # Next to the title, since inside the axes it would cover annotations.
    axes.legend(fontsize=7, ncols=4, loc="lower right", bbox_to_anchor=(1, 1), frameon=False, handlelength=1.2)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
