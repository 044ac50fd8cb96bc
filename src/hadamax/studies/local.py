"""Runs in worker processes of this machine, each with its share of the cores and cards."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from hadamax.studies.attempt import Attempt, Outcome
from hadamax.studies.runs import Run

SECONDS_BETWEEN_LOOKS = 0.05
LOOKS = 10


class Local:
    """An engine of so many processes.

    Args:
        study: folder of the study.
        workers: processes at a time.
        gpus: cards of each run; below 1 a share of one. 0: it sees every card.
        cards: what `CUDA_VISIBLE_DEVICES` calls them.
    """

    def __init__(self, study: Path, *, workers: int, gpus: float = 0.0, cards: Sequence[str] = ()) -> None:
        self.study, self.workers, self.gpus = study, workers, gpus
        self.attempts: list[Attempt] = []
        self._room = dict.fromkeys(cards, 1.0)
        self._cards: dict[str, list[str]] = {}  # of each run at work

    def has_room(self) -> bool:
        return len(self.attempts) < self.workers and (not self.gpus or bool(self._free_cards()))

    def start(self, run: Run) -> Outcome | None:
        cards = self._free_cards() if self.gpus else []
        environment = {"CUDA_VISIBLE_DEVICES": ",".join(cards)} if cards else {}
        attempt = Attempt.begin(run, self.study, environment)
        if isinstance(attempt, Outcome):
            return attempt
        for card in cards:
            self._room[card] -= min(self.gpus, 1.0)
        self._cards[run.name] = cards
        self.attempts.append(attempt)
        return None

    def outcomes(self) -> list[Outcome]:
        for _ in range(LOOKS):
            ended = [(attempt, outcome) for attempt in self.attempts if (outcome := attempt.outcome())]
            if ended:
                break
            time.sleep(SECONDS_BETWEEN_LOOKS)
        for attempt, _ in ended:
            self.attempts.remove(attempt)
            for card in self._cards.pop(attempt.run.name):
                self._room[card] += min(self.gpus, 1.0)
        return [outcome for _, outcome in ended]

    def stop(self) -> None:
        for attempt in self.attempts:
            attempt.stop()
        for attempt in self.attempts:
            attempt.process.wait()

    def _free_cards(self) -> list[str]:
        """The cards for one more run, those with most room first; none where there is too little."""
        share = min(self.gpus, 1.0)
        free = sorted((card for card, room in self._room.items() if room > share - 1e-6), key=lambda c: -self._room[c])
        wanted = max(1, round(self.gpus))
        return free[:wanted] if len(free) >= wanted else []


def visible_cards() -> list[str]:
    """The names of the cards that this process may use, as `CUDA_VISIBLE_DEVICES` has them."""
    import torch

    count = torch.cuda.device_count()
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return named[:count] if named else [str(i) for i in range(count)]
