"""Figures of any number of games and variants are legible: nothing overlaps or leaves the figure."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from hadamax.studies.report.figures import plot_games

pytestmark = pytest.mark.end_to_end


@pytest.mark.parametrize(("games", "variants"), [(1, 1), (2, 5), (5, 4), (7, 9), (57, 6)])
def test_legend_overlaps_no_panel(games: int, variants: int) -> None:
    names = [f"a variant {i}" for i in range(variants)]
    curve = np.linspace(0, 2e6, 9), np.linspace(0, 40_000, 9)
    drawn = plot_games({f"MinAtar/Game-{i}": {name: [curve, curve] for name in names} for i in range(games)}, names)
    FigureCanvasAgg(drawn).draw()  # type: ignore[no-untyped-call]
    (legend,) = drawn.legends
    renderer = drawn.canvas.get_renderer()  # type: ignore[attr-defined]
    boxes = {"legend": legend.get_window_extent(), "label": drawn._supxlabel.get_window_extent()}  # type: ignore[attr-defined]
    boxes |= {axes.get_title(loc="left"): axes.get_tightbbox(renderer) for axes in drawn.axes}
    assert len(boxes) == games + 2
    for (name, box), (other, beside) in combinations(boxes.items(), 2):
        if "legend" in (name, other) or "label" in (name, other):
            assert not box.overlaps(beside), (name, other)
    assert all(box.y0 >= -1 and box.y1 <= drawn.bbox.y1 + 1 for box in boxes.values())
