"""The one exception for what a user asked and cannot have."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """What was asked cannot be done: one plain line that names the setting, the value and what would be valid.

    The command line prints it without a traceback and exits with code 2.
    """


def unknown(kind: str, value: object, valid: Iterable[str]) -> UserError:
    """The line for a name that is not in a list, with the nearest valid name where there is one."""
    names = sorted(valid)
    near = difflib.get_close_matches(str(value), names, n=1) or difflib.get_close_matches(
        str(value).lower(), names, n=1
    )
    hint = f"did you mean {near[0]!r}? " if near else ""
    return UserError(f"{kind}: {value!r} is not known; {hint}valid: {', '.join(names)}")
