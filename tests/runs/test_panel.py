"""The panel beside a filmed game labels its bars."""

from __future__ import annotations

import numpy as np

from hadamax.agents.video import SidePanel


def picture(score_name: str) -> np.ndarray:
    panel = SidePanel("Pong", ("NOOP", "FIRE"), "a title", 15.0, score_name)
    return panel.draw(np.array([1.0, 2.0], np.float32), 1, 1, score=0, seconds=0, random=False)


def test_panel_labels_its_bars() -> None:
    pictures = [picture(name) for name in ("Q-value", "vote", "log-probability")]
    for i, one in enumerate(pictures):
        for other in pictures[i + 1 :]:
            changed = (one != other).any(axis=(1, 2)).nonzero()[0]
            assert changed.size
            assert set(changed // 60) <= {2, 8}  # the two lines of words: rows 122 to 140 and 480 to 500
    assert np.array_equal(picture("vote"), picture("vote"))
