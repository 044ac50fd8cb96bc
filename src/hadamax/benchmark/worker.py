"""Worker process of a contender: reads requests from standard input, one line of JSON each, and answers likewise."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hadamax.benchmark.contender import Spec
from hadamax.errors import UserError

Jobs = dict[str, Callable[[], object]]


def jobs_of(spec: Spec) -> tuple[Jobs, dict[str, Any]]:
    """Return the jobs that the worker can time, and facts about them."""
    if spec.form == "jax":  # before PyTorch starts its threads
        from hadamax.benchmark.flax_form import flax_jobs

        return flax_jobs(spec)
    from hadamax.benchmark.forms import FORMS

    return FORMS[spec.form](spec)


def main() -> None:
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # output of libraries must not mix with replies
    warnings.simplefilter("ignore")

    def reply(content: dict[str, Any]) -> None:
        print(json.dumps(content), file=replies, flush=True)

    try:
        jobs, about = jobs_of(Spec(**json.loads(sys.stdin.readline())))
        reply({"about": about})
        for line in sys.stdin:
            request = json.loads(line)
            if "peak" in request:
                reply({"mib": peak_mib(jobs[request["peak"]])})
            else:
                reply({"seconds": [_timed(jobs[request["job"]]) for _ in range(request["repeats"])]})
    except (ImportError, MemoryError, RuntimeError, UserError, ValueError) as error:
        reply({"error": f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"})
        sys.exit(1)


def _timed(job: Callable[[], object]) -> float:
    start = time.perf_counter()
    job()
    return time.perf_counter() - start


def peak_mib(job: Callable[[], object]) -> float:
    """Return the peak resident memory of two runs of a job minus that before them, MiB.

    On Linux the peak is reset first; elsewhere an earlier, higher peak hides this one.
    """
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    before = _resident_mib("VmRSS")
    job()
    job()
    return _resident_mib("VmHWM") - before


def _resident_mib(name: str) -> float:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith(name + ":"):
            return int(line.split()[1]) / 2**10
    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return usage / (2**20 if sys.platform == "darwin" else 2**10)


if __name__ == "__main__":
    main()
