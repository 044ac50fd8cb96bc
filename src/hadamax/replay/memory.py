"""Check of the available memory before a large allocation."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from hadamax.errors import UserError

CGROUP = Path("/sys/fs/cgroup")


def free_bytes(device: torch.device) -> int | None:
    """Return the available memory of a device in bytes; None if unknown."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free)
    known = [size for size in (_machine(), _container()) if size is not None]
    return min(known, default=None)


def gigabytes(size: float) -> str:
    """Format a number of bytes: 7.06 GB."""
    if size < 1e8:
        return f"{size / 1e6:.3g} MB"
    return f"{size / 1e9:.2f} GB" if size < 1e11 else f"{size / 1e9:,.0f} GB"


def require_room(needed: int, transitions: int, device: torch.device) -> None:
    """Check that a replay fits in the available memory.

    Raises:
        UserError: it does not; the message names the size, the available memory and how many transitions would fit.
    """
    free = free_bytes(device)
    if free is not None and needed > free:
        raise UserError(
            f"replay_size: {transitions:,} transitions need {gigabytes(needed)} and there is {gigabytes(free)} on "
            f"{device}; expected up to {int(transitions * free / needed):,}"
        )


def _machine() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return None


def _container() -> int | None:
    """Return the bytes that a control group leaves to this process, counting its reclaimable file cache."""
    try:
        limit, used = (int((CGROUP / f"memory.{name}").read_text()) for name in ("max", "current"))
        fields = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
        return limit - used + int(fields.get("file", 0))
    except (OSError, ValueError):  # "max" where there is no limit
        return None
