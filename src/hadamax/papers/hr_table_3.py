"""Table 3 of the Hadamard representation (arXiv 2406.09079): parameter counts, ours beside theirs.

    python -m hadamax.papers.hr_table_3

All are Nature CNNs on 4x84x84 observations with 6 actions. Two counts come out exactly, under readings that the table
does not state; the third does not come out under any reading we tried.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from hadamax.networks import ENCODERS, Conv, Dense, EncoderSpec, Norm, override, parameter_count


class Row(NamedTuple):
    """A row of the table and how we read it."""

    name: str
    published: int
    encoder: EncoderSpec
    reading: str

    @property
    def ours(self) -> int:
        return parameter_count(self.encoder)


def rows() -> list[Row]:
    """The table, in its order, after the network that its variants start from."""
    nature = ENCODERS["nature"]
    convolutions = [block for block in nature.blocks if isinstance(block, Conv)]
    doubled = tuple(replace(block, activation="tanh", branches=2) for block in convolutions)
    dense = Dense(512, "tanh", branches=2, norm=Norm("channels", affine=True, eps=1e-5))
    crelu = (*convolutions[:2], replace(convolutions[2], activation="crelu"))
    return [
        Row("Tanh (width x2)", 6_717_376, override(nature, activation="tanh", width=2), "every width doubled"),
        Row(
            "Tanh (HR)",
            3_373_382,
            replace(nature, blocks=doubled, dense=(dense,)),
            "two branches in every hidden layer, affine layer norm on the two dense ones only",
        ),
        Row(
            "CReLU",
            3_292_838,
            replace(nature, blocks=crelu),
            "CReLU after the last convolution only: dense input 6272",
        ),
    ]


def main() -> None:
    """Print the table."""
    table = Table(box=None, pad_edge=False, title="HR Table 3: parameters", title_justify="left")
    for column in ("network", "published", "ours", "difference", "our reading"):
        table.add_column(column, justify="left" if column in ("network", "our reading") else "right")
    table.add_row("Nature (ReLU)", "-", f"{parameter_count('nature'):,}", "", "what the others vary")
    for row in rows():
        difference = f"{row.ours - row.published:+,}" if row.ours != row.published else "none"
        table.add_row(row.name, f"{row.published:,}", f"{row.ours:,}", difference, row.reading)
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
