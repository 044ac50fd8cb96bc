"""The page of evidence: its verdicts follow from the committed runs, and it says what is not finished."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.runs.runs import hadamax

from hadamax.papers.evidence import WORDS, Finding, findings, page

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def committed() -> list[Finding]:
    return findings(ROOT / "results")


def test_committed_page_is_up_to_date(committed: list[Finding]) -> None:
    assert (ROOT / "docs" / "evidence.md").read_text() == page(committed)


def test_every_finding_has_a_verdict_and_a_page_with_its_runs(committed: list[Finding]) -> None:
    assert {finding.word for finding in committed} <= set(WORDS)
    assert all((ROOT / "results" / finding.folder / "README.md").exists() for finding in committed)


def test_holm_counts_all_claims_of_a_study(committed: list[Finding]) -> None:
    """The p-values are those of a Welch test computed by hand from eleven claims: 0.0237 x 3 = 0.071."""
    (rank,) = [f for f in committed if f.folder == "hr-minatar" and "higher effective rank" in f.text]
    assert rank.word == "inconclusive"
    assert rank.ours.endswith("p 0.071")


def test_a_missing_run_makes_its_claims_unfinished(tmp_path: Path, committed: list[Finding]) -> None:
    shutil.copytree(ROOT / "results" / "hr-minatar-dqn", tmp_path / "hr-minatar-dqn")
    shutil.rmtree(next((tmp_path / "hr-minatar-dqn" / "sigmoid-hr").glob("*/seed-3")))
    found = {finding.text: finding for finding in findings(tmp_path)}
    sigmoid = found["a product of sigmoids has as many dead units as sigmoid"]
    assert sigmoid.word == "not finished"
    assert sigmoid.ours == "11 of 12 runs finished"
    before = {finding.text: finding for finding in committed if finding.folder == "hr-minatar-dqn"}
    assert all(found[text].word != "not finished" for text in before if "sigmoid" not in text)


def test_command_writes_the_page(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "results" / "hr-minatar-dqn", tmp_path / "results" / "hr-minatar-dqn")
    result = hadamax("paper", "verdicts", "--runs", tmp_path / "results", "--out", tmp_path / "out")
    assert result.code == 0, result
    text = (tmp_path / "out" / "evidence.md").read_text()
    assert "| a product of ReLUs has more dead units than ReLU |" in text
    assert result.out.splitlines()[0] in text


def test_a_folder_without_studies_is_a_one_line_error(tmp_path: Path) -> None:
    result = hadamax("paper", "verdicts", "--runs", tmp_path)
    assert result.refusal.startswith(f"runs: {tmp_path} has no study that tests a claim; expected")
