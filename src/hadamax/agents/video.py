"""Record a whole game as mp4: the colour picture, and the agent's Q-values beside it.

The agent sees its usual observations. A second emulator, the *camera*, plays the same game in colour: the same seed and
actions give the same game, sticky actions included, and every step checks this. At 60 frames per second the speed is
that of the console.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from hadamax.agents.mp4 import Mp4
from hadamax.environments import Engine, EngineStep, EnvironmentSettings, make_environment
from hadamax.environments.settings import make_atari
from hadamax.errors import UserError
from hadamax.plotting import ORANGE, SKY_BLUE

Array = np.ndarray[Any, Any]

ATARI_RATE = 60  # frames per second of the console (59.92)
MINATAR_RATE = 15  # steps per second, as on Atari with 4 frames per step
# Atari pixels have the ratio 12:7 on a television; 5:3 stays sharp: 160x210 fills 800x630.
ATARI_PIXEL = (3, 5)
MINATAR_PIXEL = (63, 63)  # 10x10 fills 630x630
# One colour per channel, later channels on top: Okabe and Ito's, then three greys.
CHANNELS = "e69f00 56b4e9 009e73 f0e442 0072b2 d55e00 cc79a7 ffffff bbbbbb 777777"


class Recording(NamedTuple):
    """A recorded game."""

    raw_return: float
    steps: int  # of the agent
    seconds: float  # of video
    finished: bool  # False if `max_seconds` cut the video


class Camera:
    """Engine of one game that forwards all calls and keeps the frames of the last step."""

    rate: int  # frames a second
    pixel: tuple[int, int]  # rows and columns that a pixel fills

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.num_envs = engine.num_envs
        self.observation_shape = engine.observation_shape
        self.observation_dtype = engine.observation_dtype
        self.action_names = engine.action_names
        self.frames_per_step = engine.frames_per_step
        self.input_scale = engine.input_scale
        self.reseed_steps = engine.reseed_steps
        self.stack = engine.stack
        self.frames: list[Array] = []  # [height, width, 3] each
        self.played = 0  # the last step's action, which is FIRE after a lost life whatever the agent chose

    def reset(self, mask: Array, seeds: Array) -> tuple[Array, Array]:
        return self._engine.reset(mask, seeds)

    def step(self, actions: Array) -> EngineStep:
        self.played = int(actions[0])
        return self._engine.step(actions)


class AtariCamera(Camera):
    """Camera that plays the same Atari game in colour, frame by frame."""

    rate, pixel = ATARI_RATE, ATARI_PIXEL

    def __init__(self, engine: Engine, settings: EnvironmentSettings) -> None:
        super().__init__(engine)
        self._twin = make_atari(settings, 1, threads=1, colour=True, frame_skip=1, frame_stack=1)

    def reset(self, mask: Array, seeds: Array) -> tuple[Array, Array]:
        self._twin.reset(mask, seeds)
        return super().reset(mask, seeds)

    def step(self, actions: Array) -> EngineStep:
        """Step both games; raises RuntimeError if their rewards or ends differ."""
        result = super().step(actions)
        self.frames, reward, end = [], 0.0, (False, False)
        while len(self.frames) < self.frames_per_step and not any(end):
            twin = self._twin.step(actions)
            end = bool(twin.terminated[0]), bool(twin.truncated[0])
            shown = twin.final_observations if any(end) else twin.observations
            assert shown is not None
            self.frames.append(shown[0, 0].copy())
            reward += float(twin.rewards[0])
        game = float(result.rewards[0]), (bool(result.terminated[0]), bool(result.truncated[0]))
        if (reward, end) != game:
            raise RuntimeError(f"video: the filmed game is not the agent's: {(reward, end)}, not {game}")
        return result


class MinAtarCamera(Camera):
    """Camera that draws each channel of the observation in its own colour."""

    rate, pixel = MINATAR_RATE, MINATAR_PIXEL
    _colours = np.array([(0, 0, 0), *(tuple(bytes.fromhex(c)) for c in CHANNELS.split())], np.uint8)

    def step(self, actions: Array) -> EngineStep:
        result = super().step(actions)
        planes = result.observations[0] > 0  # [channel, row, column]
        top = (planes * np.arange(1, len(planes) + 1)[:, None, None]).max(0)
        self.frames = [self._colours[top]]
        return result


def record_game(
    agent_q: Callable[[Array], Array],
    settings: EnvironmentSettings,
    path: Path,
    *,
    seed: int,
    epsilon: float = 0.0,
    max_seconds: float | None = None,
    title: str = "",
    score_name: str = "Q-value",
) -> Recording:
    """Play one whole game and write it to `path`, which appears only when it is complete.

    Args:
        agent_q: observations [1, ...] to Q-values [1, action]; the highest is played.
        seed: of the game, and of exploration.
        epsilon: probability of a random action.
        max_seconds: cut the video, and the game, after this many seconds.
        title: a line under the game's name.
        score_name: what the Q-values are, where they are something else.

    Raises:
        UserError: neither Atari nor MinAtar, a number out of range, or a file that cannot be written.
        ValueError: `agent_q` gives another shape, or numbers that are not finite.
        RuntimeError: the filmed game left the agent's.
    """
    check_filming(settings, path, epsilon, max_seconds)
    settings = settings.resolved()
    environment = make_environment(settings, 1, seed=seed, threads=1)
    atari = settings.family == "atari"
    camera = AtariCamera(environment.engine, settings) if atari else MinAtarCamera(environment.engine)
    environment.engine = camera
    steps_per_second = camera.rate / environment.frames_per_step
    side = SidePanel(settings.game, environment.action_names, title, steps_per_second, score_name)
    generator = np.random.default_rng(seed)
    frames, score, steps, finished = 0, 0.0, 0, False
    observations = environment.reset()
    with Mp4(path, camera.rate) as film:
        while not finished and (max_seconds is None or frames < max_seconds * camera.rate):
            q = np.asarray(agent_q(observations), np.float32)
            if q.shape != (1, environment.num_actions):
                raise ValueError(f"agent_q gave {q.shape}; wanted (1, {environment.num_actions})")
            if not np.isfinite(q).all():
                raise ValueError(f"agent_q gave {q[0]}: not finite numbers")
            random = bool(generator.random() < epsilon)
            action = int(generator.integers(environment.num_actions) if random else q[0].argmax())
            step = environment.step(np.array([action]))
            observations, finished = step.observations, bool(step.games)
            score, steps = score + float(step.rewards[0]), steps + 1
            seconds = (frames + len(camera.frames)) / camera.rate
            beside = side.draw(q[0], action, camera.played, score=score, seconds=seconds, random=random)
            for frame in camera.frames:
                film.add(frame, camera.pixel, beside)
            frames += len(camera.frames)
            if finished:
                score = step.games[0].raw_return
    return Recording(score, steps, frames / camera.rate, finished)


def check_filming(
    settings: EnvironmentSettings, path: Path, epsilon: float = 0.0, max_seconds: float | None = None
) -> None:
    """Check that `record_game` can record these settings, before games are played.

    Raises:
        UserError: neither Atari nor MinAtar, no .mp4, or a number out of range.
    """
    if settings.family == "gymnasium":
        raise UserError(f"video: {settings.env} cannot be filmed; expected Atari and MinAtar games")
    if len(settings.games) > 1:
        raise UserError(f"video: a run of several games cannot be filmed: {settings.env}")
    if path.suffix != ".mp4":
        raise UserError(f"video: {str(path)!r} does not end in .mp4")
    if not 0 <= epsilon <= 1:
        raise UserError(f"epsilon: {epsilon} is not a probability; expected 0 to 1")
    if max_seconds is not None and not max_seconds > 0:
        raise UserError(f"max_seconds: {max_seconds} is too short; expected more than 0")


WIDTH, HEIGHT, MARGIN = 480, 630, 20
WINDOW_SECONDS = 5.0
BACKGROUND, TRACK, GREY, TEXT, FAINT = "#14161a", "#22262d", "#8a93a0", "#eceff3", "#a9b1bc"
BARS_TOP, CURVE_TOP = 150, 480  # pixels from above
CURVE_BOX = (MARGIN, CURVE_TOP + 24, WIDTH - MARGIN - 66, HEIGHT - 22)  # left, top, right, bottom


class SidePanel:
    """Renderer of [height, width, 3] pictures, one for each step of the agent."""

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
        draw.text((WIDTH - MARGIN, BARS_TOP - 28), note, SKY_BLUE, font=self._small, anchor="ra")
        for index in range(len(q)):
            self._draw_bar(draw, index, q, low, high, chosen=index == played, free=played == action)
        self._draw_curve(draw, low, high)
        return np.asarray(image)

    def _draw_bar(self, draw: Any, index: int, q: Array, low: float, high: float, *, chosen: bool, free: bool) -> None:
        top = BARS_TOP + index * self._row
        middle, bottom = top + self._row / 2, top + self._row - 3
        colour = (ORANGE if free else SKY_BLUE) if chosen else GREY
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
        """Draw the constant background."""
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
    """Return the range of Q-values of the last seconds; bars from zero would look alike."""
    low, high = float(min(q.min() for q in past)), float(max(q.max() for q in past))
    room = max(0.05 * (high - low), 1e-3 * max(abs(low), abs(high)), 1e-6)
    return low - room, high + room


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}" if abs(value) >= 100 else f"{value:.2f}"


_FONTS: dict[tuple[int, bool], ImageFont.FreeTypeFont] = {}


def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Return DejaVu Sans, which ships with matplotlib and has digits of equal width."""
    if (size, bold) not in _FONTS:
        name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
        path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name
        _FONTS[size, bold] = ImageFont.truetype(str(path), size)
    return _FONTS[size, bold]


def _fitting(text: str, size: int, bold: bool = True) -> ImageFont.FreeTypeFont:
    """Return the font, smaller if the text is too long for a line."""
    while size > 9 and _font(size, bold).getlength(text) > WIDTH - 2 * MARGIN:
        size -= 1
    return _font(size, bold)
