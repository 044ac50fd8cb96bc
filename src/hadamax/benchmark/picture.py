"""Figure of the results: times of a batch compared with the roofline, and the parts of an iteration's time."""

from __future__ import annotations

import io
import statistics

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from hadamax.benchmark.rounds import Times, ratio, total
from hadamax.plotting import BLUE, GREEN, GREY, ORANGE, PINK, SKY_BLUE, VERMILLION

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
