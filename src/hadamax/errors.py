"""The exception for mistakes of the user, and the wording of its messages."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Sequence

MOST_NAMES = 30  # listed in a message


class UserError(Exception):
    """A user's mistake: one plain line that names the setting, the value and what is expected.

    The command line prints it without a traceback and exits with code 2.
    """


def unknown(kind: str, value: object, valid: Iterable[str], most: int = MOST_NAMES) -> UserError:
    """Return the error for a name that is not in a list: with the nearest valid name, and up to `most` names."""
    by_key = {name.lower(): name for name in valid}
    names = list(by_key.values())  # in the caller's order, the most important first
    near = [by_key[key] for key in difflib.get_close_matches(str(value).lower(), by_key, n=1)]
    hint = f"did you mean {near[0]!r}? " if near else ""
    listed = names if len(names) <= most else [*names[:most], f"and {len(names) - most} more"]
    return UserError(f"{kind}: {value!r} is unknown; {hint}expected one of {', '.join(listed)}")


class EnvironmentVariableError(UserError, ValueError):
    """An environment variable has an unknown value."""


def environment_variable(name: str, choices: Sequence[str]) -> str:
    """Return the value of an environment variable; the first of `choices` if it is not set.

    Raises:
        EnvironmentVariableError: the value is not one of `choices`.
    """
    value = os.environ.get(name, choices[0])
    if value not in choices:
        raise EnvironmentVariableError(f"{name}: {value!r} is unknown; expected one of {', '.join(choices)}")
    return value


def one_line(error: BaseException) -> str:
    """Return an error's type and message in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
