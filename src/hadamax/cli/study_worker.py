"""Process of one run of a study: `hadamax train --resume`, then a row in the study's ledger.

python -m hadamax.cli.study_worker PARENT STUDY RUN ARGUMENTS
"""

from __future__ import annotations

import atexit
import ctypes
import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

from hadamax.studies.attempt import INTERRUPTED
from hadamax.studies.ledger import ENDED, Ledger
from hadamax.studies.runs import progress_of

_PR_SET_PDEATHSIG = 1


def main(parent: str, study: str, run: str, *arguments: str) -> int:
    """Train the run, and add a row to the ledger while this process holds the run's lock."""
    if sys.platform == "linux":  # if the sweep is killed, its runs write a checkpoint and stop
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):
        return INTERRUPTED
    from hadamax.cli.entry import main as hadamax

    code = hadamax(list(arguments))
    if code == 0:
        done = progress_of(Path(study, run))
        score = "" if done.score is None else f", {done.source} {done.score:,.2f}"
        Ledger(Path(study)).add(run, ENDED, f"{done.frame:,} frames{score}", once=True)
    return code


def leave(code: int) -> NoReturn:
    """End this process without tearing down its modules, which takes a second with torch."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    leave(main(*sys.argv[1:]))
