"""The command line: one module a verb, arguments and printing only."""

from hadamax.cli.entry import main

__all__ = ["main"]
