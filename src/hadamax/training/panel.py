"""The panel beside the game in a video: score, Q-values by action, and the value over the last seconds.

Colours are Okabe and Ito's, which colour-blind people can tell apart; the chosen action has an arrow besides.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

Array = np.ndarray[Any, Any]

WIDTH, HEIGHT, MARGIN = 480, 630, 20
WINDOW_SECONDS = 5.0
BACKGROUND, TRACK, GREY, TEXT, FAINT = "#14161a", "#22262d", "#8a93a0", "#eceff3", "#a9b1bc"
ORANGE, BLUE = "#e69f00", "#56b4e9"
BARS_TOP, CURVE_TOP = 150, 480  # pixels from above
CURVE_BOX = (MARGIN, CURVE_TOP + 24, WIDTH - MARGIN - 66, HEIGHT - 22)  # left, top, right, bottom


class Panel:
    """Draws [height, width, 3] pictures, one for each step of the agent."""

    def __init__(
        self,
        game: str,
        action_names: tuple[str, ...],
        title: str,
        steps_per_second: float,
        score_name: str = "Q-value",
    ) -> None:
        self._actions = action_names
        self._scores = {"Q-value": "Q-values", "vote": "Votes", "log-probability": "Log-probabilities"}[score_name]
        self._score_name = score_name
        self._past: deque[Array] = deque(maxlen=max(2, round(WINDOW_SECONDS * steps_per_second)))
        self._row = min(34.0, (CURVE_TOP - BARS_TOP - 10) / len(action_names))
        self._small, self._bold = _font(15), _font(min(17, int(self._row) - 2), bold=True)
        self._label = _font(min(17, int(self._row) - 2))
        self._bar_left = MARGIN + 26 + max(int(self._bold.getlength(name)) for name in action_names)
        self._bar_right = WIDTH - MARGIN - 76
        self._background = self._draw_background(game, title)

    def draw(self, q: Array, action: int, played: int, *, score: float, seconds: float, random: bool) -> Array:
        """One picture.

        Args:
            q: [action] Q-values that the agent chose by.
            action: the agent's choice; `random` where exploration made it.
            played: the action that was played; another one where the protocol presses FIRE.
            score: raw, the step included.
        """
        self._past.append(q)
        low, high = _limits(self._past)
        image = self._background.copy()
        draw = ImageDraw.Draw(image)
        minutes, rest = divmod(int(seconds), 60)
        draw.text((MARGIN, 72), f"Score {score:,.0f}", TEXT, font=_font(28, bold=True))
        draw.text((WIDTH - MARGIN, 72), f"{minutes}:{rest:02d}", TEXT, font=_font(28, bold=True), anchor="ra")
        if played != action:
            note = f"protocol presses {self._actions[played]}"
        else:
            note = "exploring: random action" if random else ""
        draw.text((WIDTH - MARGIN, BARS_TOP - 28), note, BLUE, font=self._small, anchor="ra")
        for index in range(len(q)):
            self._draw_bar(draw, index, q, low, high, chosen=index == played, free=played == action)
        self._draw_curve(draw, low, high)
        return np.asarray(image)

    def _draw_bar(self, draw: Any, index: int, q: Array, low: float, high: float, *, chosen: bool, free: bool) -> None:
        top = BARS_TOP + index * self._row
        middle, bottom = top + self._row / 2, top + self._row - 3
        colour = (ORANGE if free else BLUE) if chosen else GREY
        length = (self._bar_right - self._bar_left) * (float(q[index]) - low) / (high - low)
        draw.rectangle((self._bar_left, top + 1, self._bar_left + max(length, 1), bottom), fill=colour)
        font = self._bold if chosen else self._label
        if chosen:
            tip, up = MARGIN + 10, self._row / 4
            draw.rectangle((MARGIN, top, self._bar_left - 2, top + self._row - 1), fill=BACKGROUND)
            draw.polygon([(MARGIN, middle - up), (MARGIN, middle + up), (tip, middle)], fill=colour)
            draw.text((MARGIN + 16, middle), self._actions[index], colour, font=font, anchor="lm")
        draw.text((WIDTH - MARGIN, middle), _number(float(q[index])), TEXT, font=font, anchor="rm")

    def _draw_curve(self, draw: Any, low: float, high: float) -> None:
        left, top, right, bottom = CURVE_BOX
        values = np.array([past.max() for past in self._past])
        assert self._past.maxlen is not None
        x = right - (right - left) * np.arange(len(values))[::-1] / (self._past.maxlen - 1)
        y = bottom - (bottom - top) * (values - low) / (high - low)
        draw.line(list(zip(x.tolist(), y.tolist(), strict=True)), fill=ORANGE, width=3)
        draw.ellipse((right - 4, y[-1] - 4, right + 4, y[-1] + 4), fill=ORANGE)
        draw.text((WIDTH - MARGIN, top), _number(high), FAINT, font=self._small, anchor="rm")
        draw.text((WIDTH - MARGIN, bottom), _number(low), FAINT, font=self._small, anchor="rm")

    def _draw_background(self, game: str, title: str) -> Image.Image:
        """What never changes."""
        image = Image.new("RGB", (WIDTH, HEIGHT), BACKGROUND)
        draw = ImageDraw.Draw(image)
        draw.text((MARGIN, 12), game, TEXT, font=_fitting(game, 26))
        draw.text((MARGIN, 46), title, FAINT, font=_fitting(title, 15, bold=False))
        draw.text((MARGIN, BARS_TOP - 28), self._scores, FAINT, font=self._small)
        for index, name in enumerate(self._actions):
            top = BARS_TOP + index * self._row
            draw.rectangle((self._bar_left, top + 1, self._bar_right, top + self._row - 3), fill=TRACK)
            draw.text((MARGIN + 16, top + self._row / 2), name, TEXT, font=self._label, anchor="lm")
        draw.rectangle(CURVE_BOX, fill=TRACK)
        words = f"Highest {self._score_name}, last {WINDOW_SECONDS:g} s (bars: same scale)"
        draw.text((MARGIN, CURVE_TOP), words, FAINT, font=self._small)
        return image


def _limits(past: deque[Array]) -> tuple[float, float]:
    """The scale: all Q-values of the last seconds. From zero, bars that differ little would look alike."""
    low, high = float(min(q.min() for q in past)), float(max(q.max() for q in past))
    room = max(0.05 * (high - low), 1e-3 * max(abs(low), abs(high)), 1e-6)
    return low - room, high + room


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}" if abs(value) >= 100 else f"{value:.2f}"


_FONTS: dict[tuple[int, bool], ImageFont.FreeTypeFont] = {}


def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib: its digits are all equally wide."""
    if (size, bold) not in _FONTS:
        name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
        path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name
        _FONTS[size, bold] = ImageFont.truetype(str(path), size)
    return _FONTS[size, bold]


def _fitting(text: str, size: int, bold: bool = True) -> ImageFont.FreeTypeFont:
    """The font, smaller where the text is too long for a line."""
    while size > 9 and _font(size, bold).getlength(text) > WIDTH - 2 * MARGIN:
        size -= 1
    return _font(size, bold)
