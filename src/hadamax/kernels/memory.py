"""Allocator setting: keep freed memory in the process instead of returning it to the operating system."""

from __future__ import annotations

import ctypes
import os

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def keep_memory() -> bool:
    """Make glibc keep freed memory for reuse. Return True if it accepted the settings.

    By default glibc maps every large tensor anew, and the page faults of a training step cost as much time as its
    arithmetic. The price is a larger, more fragmented process. Does nothing elsewhere (musl, macOS, Windows).
    """
    try:
        if not (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc"):
            return False
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, ValueError):
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 64 * 2**20))
    return all(mallopt(name, value) == 1 for name, value in settings)
