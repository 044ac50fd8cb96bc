"""Whether a run that is there is the run that is asked for."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from hadamax.training.settings import TrainSettings

NOT_COMPARED = ("out", "threads", "wandb")  # a run keeps its own, wherever it goes on
LEFT_TO_THE_MACHINE = "auto"


def difference(algorithm: str, asked: TrainSettings[Any], there_algorithm: str, there: TrainSettings[Any]) -> str:
    """The first setting in which a run differs from the one asked for, as `gamma = 0.9, not 0.99`; "" where none does.

    What `asked` leaves to the machine is not compared.
    """
    if algorithm != there_algorithm:
        return f"algorithm = {there_algorithm}, not {algorithm}"
    for name, group in asked.groups().items():
        for field in fields(group):
            wanted, found = getattr(group, field.name), getattr(getattr(there, name), field.name)
            if field.name not in NOT_COMPARED and wanted not in (LEFT_TO_THE_MACHINE, found):
                return f"{field.name} = {found}, not {wanted}"
    return ""
