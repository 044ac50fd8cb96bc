"""The one exception for what a user asked and cannot have."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Sequence

MOST_NAMES = 30  # a line has to end


class UserError(Exception):
    """What was asked cannot be done: one plain line that names the setting, the value and what would be valid.

    The command line prints it without a traceback and exits with code 2.
    """


def unknown(kind: str, value: object, valid: Iterable[str], most: int = MOST_NAMES) -> UserError:
    """The line for a name that is not in a list, with the nearest valid name where there is one, and up to `most`."""
    by_key = {name.lower(): name for name in valid}
    names = list(by_key.values())  # in the order given: the caller knows which matter most
    near = [by_key[key] for key in difflib.get_close_matches(str(value).lower(), by_key, n=1)]
    hint = f"did you mean {near[0]!r}? " if near else ""
    listed = names if len(names) <= most else [*names[:most], f"and {len(names) - most} more"]
    return UserError(f"{kind}: {value!r} is unknown; {hint}expected one of {', '.join(listed)}")


class EnvironmentVariableError(UserError, ValueError):
    """An environment variable says what is not known."""


def environment_variable(name: str, choices: Sequence[str]) -> str:
    """What an environment variable says; the first of `choices` where it is not set.

    Raises:
        EnvironmentVariableError: it is none of them.
    """
    value = os.environ.get(name, choices[0])
    if value not in choices:
        raise EnvironmentVariableError(f"{name}: {value!r} is unknown; expected one of {', '.join(choices)}")
    return value


def one_line(error: BaseException) -> str:
    """An error's kind and text as a part of a line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
