"""Console of a command: typed arguments with mistakes in one line, printed lines, output that was closed."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from hadamax.errors import UserError


def parse(kind: Any, arguments: list[str], prog: str, description: str | None = None) -> Any:
    """Parse `arguments` into a dataclass. `--help` prints and exits with code 0.

    Raises:
        UserError: an unknown option, or a value of the wrong type.
    """
    import tyro  # slow, and not needed for `hadamax --help`

    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            return tyro.cli(
                kind, args=arguments, prog=prog, description=description, config=(tyro.conf.OmitArgPrefixes,)
            )
    except SystemExit as exit_:
        if exit_.code in (0, None):
            raise
    raise UserError(f"{_one_line(printed.getvalue())}; see: {prog} --help")


def _one_line(box: str) -> str:
    """Return the sentence between the title and the hints of tyro's box."""
    rows = [line.strip(" │|╭╮╰╯─") for line in box.splitlines()]
    rules = [i for i, line in enumerate(box.splitlines()) if re.search(r"[-─]{5}", line)]
    first = rules[0] + 1 if rules else 0
    last = rules[1] if len(rules) > 1 else len(rows)
    sentence = " ".join(row for row in rows[first:last] if row)
    sentence = re.sub(r"(Unrecognized options: --.*)", _options, sentence)
    hint = re.search(r"Perhaps you meant:\s+(--[\w-]+)", " ".join(rows))
    return sentence.rstrip(".") + (f"; perhaps you meant {hint.group(1)}" if hint else "")


def _options(match: re.Match[str]) -> str:
    """Return the names of unknown options without their values."""
    names = [name for name in re.split(r",?\s+", match[1].rstrip(".").partition(": ")[2]) if name.startswith("--")]
    return f"Unrecognized option{'s' * (len(names) > 1)}: {', '.join(names)}"


def say(line: str) -> None:
    """Print a line to standard error, apart from results."""
    print(line, file=sys.stderr, flush=True)


class BrokenPipeSafeStream:
    """Text stream that drops what is written after its reader has closed the pipe."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            self._stream.write(text)
        except BrokenPipeError:
            self._drop()
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._drop()

    def _drop(self) -> None:
        """Redirect the descriptor to the null device, so that flushing the buffer at exit does not fail again."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def tolerate_closed_output() -> Iterator[None]:
    """Context in which the readers of standard output and standard error may close their pipes."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = BrokenPipeSafeStream(before[0]), BrokenPipeSafeStream(before[1])  # type: ignore[assignment]
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = before
