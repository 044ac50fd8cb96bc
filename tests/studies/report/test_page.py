"""The page as text: complete, self-contained, with valid links and caveats where data is missing."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

import pytest
from tests.runs.runs import hadamax
from tests.studies.report.conftest import Made
from tests.studies.report.synthetic import write_run, write_study

from hadamax.studies.report import Choices, write_report
from hadamax.studies.report.evidence import gather

pytestmark = pytest.mark.end_to_end

VOID = {"meta", "link", "input", "br", "hr", "img"}


class Page(HTMLParser):
    """Collect ids and links, and check that tags are closed in order."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[dict[str, str]] = []
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.feed(path.read_text())
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.attributes += [(tag, name, value) for name, value in found.items()]
        self.ids += [found["id"]] if "id" in found else []
        self.links += [found] if tag == "a" else []
        self.open += [tag] if tag not in VOID else []

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_links_are_valid_and_local(made: Made) -> None:
    page = Page(made.out / "index.html")
    assert len(set(page.ids)) == len(page.ids)
    assert len(page.links) > 200
    for link in page.links:
        address = urlsplit(link["href"])
        assert not address.scheme
        if address.path:
            assert (made.out / unquote(address.path)).exists(), link
        else:
            assert address.fragment in page.ids, link
    for tag, name, value in page.attributes:
        if name in ("aria-labelledby", "aria-describedby"):
            assert value in page.ids
        if name in ("src", "srcset", "data", "action") or (tag == "link" and name == "href"):
            assert value == "data:,", (tag, name, value)
    text = (made.out / "index.html").read_text()
    assert not re.search(r"@import|url\((?!#)|@font-face", text)
    assert not re.search(r"https?://(?!www\.w3\.org)", text)


def test_excluded_runs_are_listed(made: Made) -> None:
    left = {Path(run.path).name: run.reason for run in made.report.evidence.left_out}
    assert left["seed-4"].startswith("not finished: 20,000,000 of 40,000,000 frames")
    assert left["seed-5"].startswith("config.toml: is not a TOML file")
    assert left["seed-6"] == "incomplete: there is no config.toml"
    assert left["seed-7"] == "set aside: training diverged and was stopped"
    text = (made.out / "index.html").read_text()
    assert all(reason.split(":")[0] in text for reason in left.values())
    assert "4 runs are excluded" in text


def test_figures_are_complete(made: Made) -> None:
    names = {path.stem for path in (made.out / "figures").glob("*.svg")}
    assert names == {
        *("aggregates-human", "aggregates-baseline", "improvement", "profile", "sample-efficiency"),
        *("time-efficiency", "health", "health-and-score", "games"),
    }
    for name in names:
        ElementTree.parse(made.out / "figures" / f"{name}.svg")
        assert (made.out / "figures" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        assert b"<image" not in (made.out / "figures" / f"{name}.svg").read_bytes()


@pytest.mark.slow
def test_same_runs_give_the_same_report(made: Made, tmp_path: Path) -> None:
    """Written beside the first report, so that links are equal too."""
    again = made.out.with_name("again")
    write_report([made.root], again, Choices(), replicates=20_000)
    files = {p.relative_to(again): p.read_bytes() for p in again.rglob("*") if p.is_file()}
    assert files == {p.relative_to(made.out): p.read_bytes() for p in made.out.rglob("*") if p.is_file()}


def report(root: Path, *arguments: object) -> str:
    out = root.parent / "report"
    result = hadamax("report", root, "--out", out, "--replicates", 200, *arguments)
    assert result.code == 0, result
    Page(out / "index.html")
    return re.sub(r"\s+", " ", (out / "index.html").read_text())


def test_report_of_one_run(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", "hadamax", "Pong", 1, rows=20)
    text = report(tmp_path / "runs")
    assert "one run per game: the variation over seeds is unknown" in text
    assert "There is only one game: the results say nothing about other games." in text


def test_report_of_minatar_without_human_scores(tmp_path: Path) -> None:
    games = ("MinAtar/Breakout-v1", "MinAtar/Freeway-v1")
    write_study(tmp_path / "runs", ("minatar", "other"), games, 2, rows=20, measurements=0, episodes=0)
    text = report(tmp_path / "runs")
    assert "baseline-normalised score of" in text
    assert "over all seeds and logged points (test games) of minatar" in text
    assert "No run has measurements of its layers" in text
    assert "There are no published scores for these games." in text
    assert "Scores are the mean of the last 20 games of the greedy test environments" in text


def test_games_missing_in_a_variant_are_omitted(tmp_path: Path) -> None:
    write_study(tmp_path / "runs", ("nature-norm", "hadamax"), ("Pong", "Qbert"), 2, rows=20)
    write_run(tmp_path / "runs", "hadamax", "Alien", 1, rows=20)
    text = report(tmp_path / "runs")
    assert "use the 2 of 3 games for which every variant has an included run; they omit Alien." in text


def test_variants_without_common_games(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", "nature-norm", "Pong", 1, rows=20)
    write_run(tmp_path / "runs", "hadamax", "Qbert", 1, rows=20)
    assert "Scores are listed per game; there is no common scale." in report(tmp_path / "runs")


def test_unfinished_runs_on_request(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", "hadamax", "Pong", 1, rows=20, part=0.5)
    refusal = hadamax("report", tmp_path / "runs", "--out", tmp_path / "report").refusal
    assert "not finished: 20,000,000 of 40,000,000 frames" in refusal
    assert "--unfinished" in refusal
    assert len(gather([tmp_path / "runs"], Choices(unfinished=True)).rows) == 1


def test_baseline_can_be_chosen(tmp_path: Path) -> None:
    write_study(tmp_path / "runs", ("nature-norm", "hadamax"), ("Pong",), 1, rows=20)
    assert gather([tmp_path / "runs"], Choices()).variants == ("nature-norm", "hadamax")
    assert gather([tmp_path / "runs"], Choices(baseline="hadamax")).variants == ("hadamax", "nature-norm")


def test_names_are_escaped(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", "hadamax", "Pong", 1, rows=20, part=0.5)
    text = report(tmp_path / "runs", "--unfinished", "--title", "<script>alert(1)</script> & ü")
    assert "<h1>&lt;script&gt;alert(1)&lt;/script&gt; &amp; ü</h1>" in text
    assert "1 run is included although unfinished." in text
