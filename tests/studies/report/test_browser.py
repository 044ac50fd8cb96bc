"""The page in a real browser: it renders, says nothing on the console, sorts and filters by mouse and by keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.studies.report.browser import Browser, browser
from tests.studies.report.conftest import GAMES, Made

pytestmark = pytest.mark.slow
SCORES = "Array.from(document.querySelectorAll('#table-runs tbody tr:not([hidden])'), r => r.cells[4].textContent)"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@pytest.fixture
def page(chromium: Browser, made: Made) -> Browser:
    chromium.complaints.clear()
    chromium.requests.clear()
    chromium.open(made.out / "index.html")
    return chromium


def numbers(cells: list[str]) -> list[float]:
    return [float(cell.replace(",", "")) for cell in cells]


def test_it_renders_from_disk_without_a_word(page: Browser) -> None:
    assert page.complaints == []
    assert all(request.startswith(("file:", "data:")) for request in page.requests)
    assert page.run("document.querySelectorAll('#curves svg').length") == len(GAMES)
    empty = """Array.from(document.querySelectorAll('main section, figure svg, #curves svg'))
        .filter(e => e.getBoundingClientRect().height < 40).length"""
    assert page.run(empty) == 0
    assert page.run("document.querySelectorAll('#table-runs tbody tr').length") == 42
    assert not page.run("document.documentElement.scrollWidth > innerWidth")


def test_sorting_by_mouse_and_by_keyboard(page: Browser) -> None:
    heading = "#table-runs th:nth-child(5) button"
    before = numbers(page.run(SCORES))
    page.click(heading)
    assert numbers(page.run(SCORES)) == sorted(before)
    assert page.run("document.querySelector('#table-runs th:nth-child(5)').ariaSort") == "ascending"
    page.run(f"document.querySelector('{heading}').focus()")
    page.press("Enter")
    assert numbers(page.run(SCORES)) == sorted(before, reverse=True)
    assert page.run("document.querySelector('#table-runs th:nth-child(5)').ariaSort") == "descending"
    page.press("Tab")
    page.press(" ")
    assert page.run("document.activeElement.textContent") == "Human-normalised"
    assert page.run("document.querySelector('#table-runs th:nth-child(6)').ariaSort") == "ascending"
    assert page.run("document.querySelectorAll('#table-runs th[aria-sort]').length") == 1


def test_filtering(page: Browser) -> None:
    page.run("document.querySelector('#filter-runs [name=search]').focus()")
    page.type("hadamax pong")
    assert len(page.run(SCORES)) == 3
    assert page.run("document.querySelector('#filter-runs output').textContent") == "3 of 42 shown"
    page.click("#filter-runs [type=reset]")
    page.run("new Promise(done => setTimeout(done, 50))")
    assert len(page.run(SCORES)) == 42
    page.run("document.querySelector('#filter-curves [name=search]').focus()")
    page.type("seaq")
    assert page.run("document.querySelectorAll('#curves > li:not([hidden])').length") == 1


def test_a_number_leads_to_its_runs(page: Browser, made: Made) -> None:
    page.click("#table-games tbody tr:nth-child(3) td:nth-child(2) a")
    shown = (
        "Array.from(document.querySelectorAll('#table-runs tbody tr:not([hidden])'), r => r.querySelector('a').href)"
    )
    links = page.run(shown)
    assert len(links) == 3
    for link in links:
        folder = Path(link.removeprefix("file://"))
        assert folder.parent == made.root / "nature-norm" / GAMES[2]
        assert (folder / "config.toml").exists()
    assert page.run("document.activeElement.id") == "runs"


def test_what_a_screen_reader_gets(page: Browser) -> None:
    nodes = page.accessible()
    named = {
        role: [n["name"]["value"] for n in nodes if n["role"]["value"] == role] for role in ("table", "image", "button")
    }
    assert len(named["table"]) >= 10
    assert len(named["image"]) >= len(GAMES) + 8
    assert all(name.strip() for names in named.values() for name in names)
    roles = {node["role"]["value"] for node in nodes}
    assert {"main", "banner", "navigation", "contentinfo", "heading", "rowheader", "columnheader"} <= roles
    page.run("document.activeElement.blur(); scrollTo(0, 0)")
    page.press("Tab")
    assert page.run("document.activeElement.textContent") == "Skip to the results"
