"""Schedules: a value as a function of training progress."""

from __future__ import annotations


def linear(start: float, end: float, progress: float) -> float:
    """Interpolate from `start` at progress 0 to `end` at progress 1; return `end` beyond 1."""
    return end + (start - end) * max(0.0, 1.0 - progress)
