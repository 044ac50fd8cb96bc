"""`hadamax doctor`: check this machine and suggest what would make it faster."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hadamax.benchmark.doctor import CHECKS, Check
from hadamax.cli.console import parse

WIDTH = 120  # of a table written to a file


@dataclass(frozen=True)
class Arguments:
    """Check this machine (exit code 1 if something is broken) and suggest what would make it faster."""


def run(arguments: list[str]) -> int:
    parse(Arguments, arguments, "hadamax doctor")
    findings = [finding for check in CHECKS for finding in check()]
    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
    console.print(_table(findings))
    _print("broken:", [finding for finding in findings if finding.broken], console)
    slow = [finding for finding in findings if finding.mend and not finding.broken and not finding.optional]
    _print("what would make it faster:", slow, console)
    if not slow:
        console.print("no improvement found; measure the speed with: hadamax bench --quick")
    return int(any(finding.broken for finding in findings))


def _table(findings: list[Check]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        mark = "broken" if finding.broken else "-" if finding.mend else "ok"
        text = f"{finding.text}: {finding.mend}" if finding.optional and finding.mend else finding.text
        table.add_row(mark, Text(finding.name), Text(text), style="bold red" if finding.broken else None)
    return table


def _print(title: str, findings: list[Check], console: Console) -> None:
    if findings:
        console.print(title)
    for finding in findings:
        console.print(Text(f"  {finding.name}: {finding.text}; {finding.mend}"), soft_wrap=True)
