"""The documentation builds without warnings, shows every setting and encoder, and loads nothing from other hosts."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import fields
from html.parser import HTMLParser
from pathlib import Path

import pytest
from tests.documentation.blocks import ROOT

from hadamax.algorithms import ALGORITHMS
from hadamax.networks import ENCODERS
from hadamax.runs.settings import NetworkSettings, RunSettings

pytestmark = pytest.mark.extra("docs")
# Attributes that a browser loads without a click.
FETCHED = {
    "script": "src",
    "link": "href",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "object": "data",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--site-dir",
        str(out),
    ]  # --quiet hides warnings from --strict
    without_network = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **without_network, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out


class Fetches(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        if tag in FETCHED and not (tag == "link" and given.get("rel") == "canonical"):
            address = given.get(FETCHED[tag])
            self.found += [address] if address else []


def test_site_loads_nothing_from_other_hosts(site: Path) -> None:
    fetched: dict[str, str] = {}
    for page in site.rglob("*.html"):
        parser = Fetches()
        parser.feed(page.read_text())
        fetched.update(dict.fromkeys(parser.found, str(page)))
    for sheet in site.rglob("*.css"):
        found = re.findall(r"""(?:url\(|@import )\s*["']?([^"')\s]+)""", sheet.read_text())
        fetched.update(dict.fromkeys(found, str(sheet)))
    assert any(address.endswith(".css") for address in fetched)
    others = {address: page for address, page in fetched.items() if re.match(r"(\w+:)?//", address)}
    assert not others


def test_loaded_files_exist(site: Path) -> None:
    for page in site.rglob("*.html"):
        parser = Fetches()
        parser.feed(page.read_text())
        for address in parser.found:
            if page.name != "404.html" and not address.startswith(("data:", "/")):
                assert (page.parent / address.split("?")[0]).resolve().is_file(), (page, address)


def test_search_index_works_without_a_server(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text())
    assert any("dormant" in entry["text"] for entry in index["docs"])
    assert (site / "search" / "search_index.js").read_text().startswith("var __index = ")


def test_every_setting_and_encoder_is_shown(site: Path) -> None:
    settings, encoders = (site / "settings.html").read_text(), (site / "encoders.html").read_text()
    kinds = [RunSettings, NetworkSettings, *(entry.settings for entry in ALGORITHMS.values())]
    for name in {field.name for kind in kinds for field in fields(kind)}:
        assert f"<code>--{name.replace('_', '-')}</code>" in settings
    for name in ENCODERS:
        assert f"<code>{name}</code>" in encoders


def test_broken_link_or_unknown_table_fails_the_build(tmp_path: Path) -> None:
    for line in ("[gone](gone.md)", "[gone](pqn.md#gone)", "<!-- table: gone -->"):
        copy = tmp_path / str(abs(hash(line)))
        (copy / "docs").mkdir(parents=True)
        for name in ("src", "results", "benchmarks"):
            (copy / name).symlink_to(ROOT / name)
        for page in (ROOT / "docs").iterdir():
            (copy / "docs" / page.name).symlink_to(page)
        (copy / "docs" / "index.md").unlink()
        (copy / "docs" / "index.md").write_text(f"# Start here\n\n{line}\n")
        (copy / "mkdocs.yml").write_text((ROOT / "mkdocs.yml").read_text())
        command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(copy / "site")]
        done = subprocess.run(command, cwd=copy, capture_output=True, text=True)
        assert done.returncode != 0
        said = done.stdout + done.stderr
        assert "gone" in said
        assert all("gone" in line for line in said.splitlines() if line.startswith("WARNING"))
