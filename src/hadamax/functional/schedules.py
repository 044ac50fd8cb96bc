"""Schedules: a number as a function of how far the training is."""

from __future__ import annotations


def linear(start: float, end: float, progress: float) -> float:
    """From `start` at progress 0 to `end` at progress 1, and `end` ever after."""
    return end + (start - end) * max(0.0, 1.0 - progress)
