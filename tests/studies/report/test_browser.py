"""The report's page in Chromium: it renders without errors, and sorts and filters by mouse and keyboard."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.studies.report.conftest import GAMES, Made

playwright_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright")

pytestmark = pytest.mark.slow
CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))
SCORE_HEADER = "#table-runs th:nth-child(5)"


class Opened(NamedTuple):
    page: playwright_api.Page
    problems: list[str]  # console messages and uncaught exceptions
    requests: list[str]  # URLs


@pytest.fixture(scope="module")
def browser() -> Iterator[playwright_api.Browser]:
    if not CHROMIUM.is_file():
        pytest.skip(f"no Chromium at {CHROMIUM}; install it, or set CHROMIUM to its path")
    with playwright_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def opened(browser: playwright_api.Browser, made: Made) -> Iterator[Opened]:
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    problems: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto((made.out / "index.html").resolve().as_uri())
    yield Opened(page, problems, requests)
    page.close()


def scores(page: playwright_api.Page) -> list[float]:
    """Return the fifth column of the visible rows of the table of runs."""
    cells = page.locator("#table-runs tbody tr:not([hidden]) td:nth-child(5)").all_text_contents()
    return [float(cell.replace(",", "")) for cell in cells]


def test_page_renders_from_disk_without_errors(opened: Opened) -> None:
    page = opened.page
    assert opened.problems == []
    assert all(url.startswith(("file:", "data:")) for url in opened.requests)
    assert page.locator("#curves svg").count() == len(GAMES)
    assert page.locator("#table-runs tbody tr").count() == 42
    for element in page.locator("main section, figure svg, #curves svg").all():
        box = element.bounding_box()
        assert box is not None
        assert box["height"] >= 40
    assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")


def test_table_sorts_by_mouse_and_keyboard(opened: Opened) -> None:
    page = opened.page
    before = scores(page)
    page.click(f"{SCORE_HEADER} button")
    assert scores(page) == sorted(before)
    assert page.get_attribute(SCORE_HEADER, "aria-sort") == "ascending"
    page.focus(f"{SCORE_HEADER} button")
    page.keyboard.press("Enter")
    assert scores(page) == sorted(before, reverse=True)
    assert page.get_attribute(SCORE_HEADER, "aria-sort") == "descending"
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert page.evaluate("document.activeElement.textContent") == "Human-normalised"
    assert page.get_attribute("#table-runs th:nth-child(6)", "aria-sort") == "ascending"
    assert page.locator("#table-runs th[aria-sort]").count() == 1


def test_search_filters_runs_and_curves(opened: Opened) -> None:
    page = opened.page
    page.fill("#filter-runs [name=search]", "hadamax pong")
    assert len(scores(page)) == 3
    assert page.text_content("#filter-runs output") == "3 of 42 shown"
    page.click("#filter-runs [type=reset]")
    page.wait_for_function("document.querySelectorAll('#table-runs tbody tr:not([hidden])').length === 42")
    page.fill("#filter-curves [name=search]", "seaq")
    assert page.locator("#curves > li:not([hidden])").count() == 1


def test_score_of_a_game_links_to_its_runs(opened: Opened, made: Made) -> None:
    page = opened.page
    page.click("#table-games tbody tr:nth-child(3) td:nth-child(2) a")
    links = page.locator("#table-runs tbody tr:not([hidden]) a:first-of-type")
    addresses = links.evaluate_all("links => links.map(link => link.href)")
    assert len(addresses) == 3
    for address in addresses:
        folder = Path(address.removeprefix("file://"))
        assert folder.parent == made.root / "nature-norm" / GAMES[2]
        assert (folder / "config.toml").exists()
    assert page.evaluate("document.activeElement.id") == "runs"


def test_screen_reader_gets_roles_and_names(opened: Opened) -> None:
    page = opened.page
    session = page.context.new_cdp_session(page)
    nodes = [n for n in session.send("Accessibility.getFullAXTree")["nodes"] if not n["ignored"]]
    named = {
        role: [n["name"]["value"] for n in nodes if n["role"]["value"] == role] for role in ("table", "image", "button")
    }
    assert len(named["table"]) >= 10
    assert len(named["image"]) >= len(GAMES) + 8
    assert all(name.strip() for names in named.values() for name in names)
    roles = {node["role"]["value"] for node in nodes}
    assert {"main", "banner", "navigation", "contentinfo", "heading", "rowheader", "columnheader"} <= roles
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the results"
