"""HR Table 3: two counts are reproduced, the third is not, and the table states it."""

from __future__ import annotations

from pathlib import Path

from tests.runs.runs import hadamax

from hadamax.papers.hr_table_3 import rows


def test_two_of_three_counts_are_reproduced() -> None:
    counts = {row.name: (row.published, row.ours) for row in rows()}
    assert counts == {
        "Tanh (width x2)": (6_717_376, 6_724_934),
        "Tanh (HR)": (3_373_382, 3_373_382),
        "CReLU": (3_292_838, 3_292_838),
    }


def test_table_states_the_difference(tmp_path: Path) -> None:
    assert hadamax("paper", "hr-table-3", "--out", tmp_path).code == 0
    text = (tmp_path / "hr-table-3.csv").read_text()
    for words in ("1,687,206", "6,717,376", "6,724,934", "+7,558", "3,373,382", "none"):
        assert words in text
