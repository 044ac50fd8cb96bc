"""`hadamax status` of a run whose settings cannot be read."""

from __future__ import annotations

from pathlib import Path

from tests.runs.runs import CARTPOLE, hadamax, train


def test_status_of_unreadable_settings(tmp_path: Path) -> None:
    for name in ("whole", "damaged"):
        assert train(tmp_path / name, CARTPOLE, frames=64).code == 0
    (tmp_path / "damaged" / "config.toml").write_text("garbage = [")
    (tmp_path / "damaged" / "finished.json").unlink()
    result = hadamax("status", tmp_path)
    assert result.code == 0
    summary, _, *rows = result.out.splitlines()
    assert summary == "2 runs: 1 trained, 1 unreadable"
    assert [row.split()[:2] for row in rows[:2]] == [["damaged", "unreadable"], ["whole", "trained"]]
    reason = f"{tmp_path / 'damaged' / 'config.toml'}: is not a TOML file: "
    assert rows[2].startswith(f"damaged is unreadable: {reason}")
