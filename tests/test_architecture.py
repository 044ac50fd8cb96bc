"""Imports point one way: no cycles between modules, and no folder imports one above it."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src"

# From the bottom up. A folder or file may import those of its own line and of the lines before it.
LAYERS = [
    ["errors", "files", "clock", "confidence", "data", "published", "plotting"],
    ["kernels", "functional"],
    ["networks"],
    ["diagnostics", "environments", "replay"],
    ["redo", "algorithms", "integrations"],
    ["runs"],
    ["agents"],
    ["studies", "benchmark"],
    ["papers"],
    ["cli"],
]
LEVELS = {name: level for level, names in enumerate(LAYERS) for name in names}


def module_name(path: Path) -> str:
    parts = path.relative_to(SRC).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in SRC.rglob("*.py")}


def imports(name: str) -> set[str]:
    """The modules of this project that a module imports anywhere, within functions and for types too."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.add(full if full in MODULES else node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {imported for imported in found if imported in MODULES and imported != name}


def part(module: str) -> str:
    """The folder or file of `src/hadamax` that a module belongs to."""
    return [*module.split("."), ""][1]


def test_no_import_cycles() -> None:
    graph = {name: imports(name) for name in MODULES if name != "hadamax"}
    for name in graph:
        # A package's `__init__` exports what its modules define; they do not use it.
        graph[name] = {imported for imported in graph[name] if not name.startswith(f"{imported}.")} - {"hadamax"}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_imports_point_downwards() -> None:
    wrong = [
        f"{name} imports {imported}"
        for name in MODULES
        for imported in imports(name)
        if part(name) in LEVELS and part(imported) in LEVELS and LEVELS[part(name)] < LEVELS[part(imported)]
    ]
    assert not wrong, "\n".join(sorted(wrong))


def test_every_part_has_a_layer() -> None:
    parts = {part(name) for name in MODULES} - {"", "__main__"}
    assert parts <= LEVELS.keys()
