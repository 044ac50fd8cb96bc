"""The command line: verbs, and what becomes of errors, interruptions and readers that leave."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module

import hadamax
from hadamax.cli.broken_pipe import tolerate_closed_output
from hadamax.errors import UserError, unknown
from hadamax.runs.interrupts import INTERRUPTED, LINE, SignalHandler

USAGE = """usage: hadamax VERB ...

  hadamax train ALGORITHM --env Pong --encoder hadamax    train an agent        (hadamax train pqn --help: all settings)
  hadamax resume RUN                                      go on with a run that was interrupted
  hadamax evaluate RUN --episodes 30 --video game.mp4     play whole games with a trained agent
  hadamax export RUN --out FOLDER                         its agent as a small folder, for others or a model hub
  hadamax diagnose RUN                                    measure its layers: dead units, ranks, what is wrong
  hadamax paper list                                      every figure and table of the papers, each one command
  hadamax bench --out bench.png                           what this machine makes of it, beside its limits
  hadamax sweep STUDY --workers 2                         run a study: many games, seeds and variants
  hadamax status DIR                                      how far its runs are
  hadamax report RUNS --out DIR                           what they show: a page, tables, figures
  hadamax doctor                                          what this machine has, and what would make it faster
  hadamax --version
"""

VERBS: dict[str, str] = {
    "train": "hadamax.cli.train",
    "resume": "hadamax.cli.resume",
    "evaluate": "hadamax.cli.evaluate",
    "sweep": "hadamax.cli.sweep",
    "status": "hadamax.cli.status",
    "report": "hadamax.cli.report",
    "export": "hadamax.cli.export",
    "diagnose": "hadamax.cli.diagnose",
    "paper": "hadamax.cli.paper",
    "bench": "hadamax.cli.bench",
    "doctor": "hadamax.cli.doctor",
}


def main(arguments: list[str] | None = None) -> int:
    """Run one verb: 0 done, 2 what was asked cannot be done, 130 interrupted."""
    heard = SignalHandler(main.__code__)
    heard.install()
    try:
        with tolerate_closed_output():
            return _told(sys.argv[1:] if arguments is None else arguments, heard)
    finally:
        heard.ended = True


def _told(arguments: list[str], heard: SignalHandler) -> int:
    """Run one verb, and say in one line what ended it before its end."""
    try:
        code = _run(arguments)
        if heard.came:  # and swallowed on its way
            raise KeyboardInterrupt
        return code
    except (Exception, KeyboardInterrupt) as error:
        if heard.came or isinstance(error, KeyboardInterrupt):  # some make another error of it
            print(LINE, file=sys.stderr)
            return INTERRUPTED
        if not isinstance(error, UserError):
            raise
        print(f"hadamax: {error}", file=sys.stderr)
        return 2


def _run(arguments: list[str]) -> int:
    if not arguments:
        raise UserError(f"verb: none given; expected {', '.join(VERBS)}; see: hadamax --help")
    if arguments[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0
    verb, *rest = arguments
    if verb == "--version":
        print(f"hadamax {hadamax.__version__}")
        return 0
    if verb not in VERBS:
        raise unknown("verb", verb, VERBS)
    run: Callable[[list[str]], int] = import_module(VERBS[verb]).run
    return run(rest)
