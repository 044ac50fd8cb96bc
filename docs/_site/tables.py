"""Tables of the documentation, generated from the code."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterable
from dataclasses import MISSING, fields
from pathlib import Path
from textwrap import dedent
from typing import Any, Literal, get_args, get_origin, get_type_hints

from hadamax.algorithms import ALGORITHMS
from hadamax.environments import EnvironmentSettings
from hadamax.networks import ACTIVATIONS, ENCODERS, INITIALISERS, parameter_count
from hadamax.runs.settings import NetworkSettings, RunSettings

ROOT = Path(__file__).parents[2]
SHARED = {"The run": RunSettings, "The environment": EnvironmentSettings, "The network": NetworkSettings}


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(head), *map(list, rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)


def docstrings(kind: type[Any]) -> dict[str, str]:
    """Return the docstring of each field of a settings dataclass, as `--help` prints it."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__[:-1]):
        (body,) = ast.parse(dedent(inspect.getsource(base))).body
        assert isinstance(body, ast.ClassDef)
        for field, text in zip(body.body, body.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
                found[field.target.id] = " ".join(ast.literal_eval(text.value).split())
    return found


def kind_of(kind: Any) -> str:
    """Return the type of a setting in words."""
    parts = get_args(kind)
    if get_origin(kind) is Literal:
        return ", ".join(f"`{part}`" for part in parts)
    if get_origin(kind) is tuple:
        return f"{kind_of(parts[0])}, one or several"
    if parts:
        return " or ".join(kind_of(part) for part in parts if part is not type(None))
    return {int: "whole number", float: "number", bool: "yes or no", str: "text"}[kind]


def default_of(value: Any) -> str:
    if value is MISSING or value in (None, (), ""):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"`{value:,}`" if isinstance(value, int) else f"`{value}`"


def settings_table(kind: type[Any]) -> str:
    """Return a table with the flag, default, type and meaning of every field."""
    meaning, types = docstrings(kind), get_type_hints(kind)
    rows = [
        (f"`--{f.name.replace('_', '-')}`", default_of(f.default), kind_of(types[f.name]), meaning[f.name])
        for f in fields(kind)
    ]
    return table(("setting", "default", "type", "meaning, and source of the default"), rows)


def settings() -> str:
    parts = [f"## {name}\n\n{settings_table(kind)}" for name, kind in SHARED.items()]
    for name, entry in ALGORITHMS.items():
        parts.append(f"## {name}\n\n`hadamax train {name}`: [{name}]({name}.md).\n\n{settings_table(entry.settings)}")
        for preset, values in entry.presets.items():
            listed = ", ".join(f"`{setting} = {value!r}`" for setting, value in values.items())
            parts.append(f"`--preset {preset}` sets {listed}.")
    return "\n\n".join(parts)


def encoders() -> str:
    """Return a table of all encoders; image encoders with their parameter count on 84x84x4 and 6 actions."""
    rows = []
    for name, spec in ENCODERS.items():
        size = f"{parameter_count(name):,}" if spec.blocks and "minatar" not in name else ""
        rows.append((f"`{name}`", spec.description, size, spec.source))
    return table(("encoder", "what it is", "parameters", "source"), rows)


def names() -> str:
    """Return a table of the values of `activation` and `initialiser`."""
    return table(
        ("setting", "names"),
        [
            ("`activation`", ", ".join(f"`{name}`" for name in ACTIVATIONS)),
            ("`initialiser`", ", ".join(f"`{name}`" for name in INITIALISERS)),
        ],
    )


def studies() -> list[Path]:
    return sorted(ROOT.glob("results/*/README.md"))


def results() -> str:
    """Return the title and the conclusion of every study under `results/`."""
    parts = []
    for page in studies():
        pattern = r"^# (?P<title>[^\n]+)\n\nResult: (?P<result>.+?)\n\n"
        found = re.search(pattern, page.read_text(), re.DOTALL)
        assert found is not None, f"{page} must start with a title and a paragraph `Result: ...`"
        result = re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", found["result"])  # links are relative to the study's page
        parts.append(f"### [{found['title']}]({page.relative_to(ROOT)})\n\n{result[0].upper()}{result[1:]}")
    return "\n\n".join(parts)


def metrics() -> str:
    """Return the tables of metrics from the pages of the algorithms and the diagnostics."""
    pages = {name: ("## Metrics", f"{name}.md") for name in ALGORITHMS}
    pages["diagnostics.csv"] = ("## The measurements", "diagnostics.md")
    parts = []
    for name, (heading, page) in pages.items():
        section = (ROOT / "docs" / page).read_text().split(heading, 1)[1].split("\n## ", 1)[0]
        rows = re.search(r"^\|.+?(?=\n\n|\Z)", section, re.MULTILINE | re.DOTALL)
        assert rows is not None, f"{page} has no table under {heading!r}"
        parts.append(f"## {name}\n\nDetails: [{name}]({page}).\n\n{rows[0]}")
    return "\n\n".join(parts)


TABLES = {"settings": settings, "encoders": encoders, "names": names, "metrics": metrics, "results": results}
