"""The documentation describes the shipped studies as their files define them."""

from __future__ import annotations

import re

import pytest
from tests.documentation.blocks import ROOT

from hadamax.papers.registry import EXHIBITS
from hadamax.papers.runs import Need, size, variants_of
from hadamax.studies.definition import read_definition
from hadamax.studies.study import shipped_studies
from hadamax.studies.suites import suites

STUDIES = {name: read_definition(path) for name, path in shipped_studies().items()}
STATISTICS = (ROOT / "docs" / "statistics.md").read_text()


def rows(page: str, head: str) -> list[list[str]]:
    """Return the cells of the table with this first column."""
    table = re.search(rf"^\| {head} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", page, re.MULTILINE)
    assert table
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[1].splitlines()]


def test_table_lists_every_study_with_its_runs() -> None:
    expected = []
    for name, study in sorted(STUDIES.items()):
        variants, games, seeds = len(study.points), len(study.games), len(study.seeds)
        runs = f"{variants * games * seeds:,}"
        expected.append([f"`{name}`", study.about, f"{variants} x {games} x {seeds}", runs])
    assert rows(STATISTICS, "study that ships") == expected


def test_text_counts_the_variants_of_figures() -> None:
    words = " ".join(STATISTICS.split())
    (one,), (nine,) = EXHIBITS["hr-figure-1"].needs, EXHIBITS["hr-figure-9"].needs
    assert [len(variants_of(need)) for need in (Need("hr-figure-9"), one, nine)] == [6, 4, 5]
    assert "relu-redo" in nine.variants
    assert {EXHIBITS[f"hr-figure-{i}"].needs for i in range(19, 26)} == {(nine,)}
    assert f"`hr-figure-9` has six variants: HR Figure 1 uses four ({size(one).runs:,} runs)" in words
    assert f"Figures 9 and 19 to 25 use five, including `relu-redo` ({size(nine).runs:,} runs)" in words


def test_table_lists_every_suite_with_its_games() -> None:
    listed: dict[str, str] = {}
    for cell, games, _ in rows(STATISTICS, "suite"):
        first, *more = re.findall(r"`([^`]+)`", cell)
        names = [first, *(first.removesuffix("-1") + name for name in more)]
        listed.update(dict.fromkeys(names, games))
    assert listed.keys() == suites().keys()
    for name, games in listed.items():
        assert len(suites()[name].games) == int(games or name.split("-")[1]), name


@pytest.mark.parametrize("name", [name for name, exhibit in EXHIBITS.items() if exhibit.needs])
def test_figure_and_study_reference_each_other(name: str) -> None:
    repeat = (ROOT / "docs" / "repeat.md").read_text()
    for need in EXHIBITS[name].needs:
        if name.startswith(("hr-", "hadamax-")):
            assert f"`hadamax sweep {need.study}`" in repeat
        if name.startswith("hr-"):
            kind, number = name.split("-")[1:]
            assert int(number) in named(STUDIES[need.study].about, kind.capitalize()), need.study
            (row,) = [what for _, what, command in rows(repeat, "paper") if f"`hadamax sweep {need.study}`" in command]
            assert int(number) in named(row, kind.capitalize()), need.study


def named(text: str, kind: str) -> set[int]:
    """Return the numbers in a text such as `Figures 1, 9 and 19 to 25`."""
    found: set[int] = set()
    for part in re.findall(rf"{kind}s? ((?:\d+(?: \([a-d, ]+\))?(?:, | and | to )?)+)", text):
        plain = re.sub(r" \([a-d, ]+\)", "", part)
        for low, high in re.findall(r"(\d+)(?: to (\d+))?", plain):
            found |= set(range(int(low), int(high or low) + 1))
    return found
