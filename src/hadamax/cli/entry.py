"""Entry point of the command line: verbs, exit codes, errors, interruptions and closed output."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module

import hadamax
from hadamax.cli.console import tolerate_closed_output
from hadamax.errors import UserError, unknown
from hadamax.runs.interrupts import INTERRUPTED, LINE, SignalHandler

USAGE = """usage: hadamax VERB ...

  hadamax train ALGORITHM --env Pong --encoder hadamax    train an agent        (hadamax train pqn --help: all settings)
  hadamax resume RUN                                      continue an interrupted run bit-for-bit
  hadamax evaluate RUN --episodes 30 --video game.mp4     play whole games with a trained agent
  hadamax export RUN --out FOLDER                         export the agent: weights, model card, curve
  hadamax diagnose RUN                                    measure dead units, ranks and saturation, layer by layer
  hadamax paper list                                      list every figure and table of the papers
  hadamax bench --out bench.png                           measure speed beside the limits of this machine
  hadamax sweep STUDY --workers 2                         run a study: many games, seeds and variants
  hadamax status DIR                                      show the progress of its runs
  hadamax report RUNS --out DIR                           write a page, tables and figures
  hadamax doctor                                          check this machine and suggest improvements
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
    """Run one verb; return 0 if done, 2 after a user error, 130 if interrupted."""
    handler = SignalHandler(main.__code__)
    handler.install()
    try:
        with tolerate_closed_output():
            return _run_and_report(sys.argv[1:] if arguments is None else arguments, handler)
    finally:
        handler.ended = True


def _run_and_report(arguments: list[str], handler: SignalHandler) -> int:
    """Run one verb; report a user error or an interruption in one line."""
    try:
        code = _run(arguments)
        if handler.came:  # a library swallowed the KeyboardInterrupt
            raise KeyboardInterrupt
        return code
    except (Exception, KeyboardInterrupt) as error:
        if handler.came or isinstance(error, KeyboardInterrupt):  # some libraries raise another error
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
