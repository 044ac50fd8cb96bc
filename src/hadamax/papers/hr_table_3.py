"""HR Table 3 (arXiv 2406.09079): parameter counts of the paper and of our networks.

    hadamax paper hr-table-3 --out figures

All are Nature CNNs on 4x84x84 observations with 6 actions. Two counts are reproduced exactly, under interpretations
that the table does not state. The third is not reproduced under any interpretation that we tried.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from hadamax.networks import ENCODERS, Conv, Dense, EncoderSpec, Norm, override, parameter_count
from hadamax.papers.output import Output, draw_table
from hadamax.papers.panels import Request


class Row(NamedTuple):
    """A row of the table with our interpretation."""

    name: str
    published: int
    encoder: EncoderSpec
    reading: str

    @property
    def ours(self) -> int:
        return parameter_count(self.encoder)

    @property
    def difference(self) -> int:
        return self.ours - self.published


def rows() -> list[Row]:
    """Return the rows of the table, in its order."""
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


def difference(row: Row) -> str:
    return f"{row.difference:+,}" if row.difference else "none"


def table_3(request: Request) -> Output:
    """Tabulate published and our counts, after the network that all variants modify."""
    table = rows()
    columns = ("network", "published", "ours", "difference", "our reading")
    cells = [["Nature (ReLU)", "-", f"{parameter_count('nature'):,}", "", "the network that the others modify"]]
    cells += [[row.name, f"{row.published:,}", f"{row.ours:,}", difference(row), row.reading] for row in table]
    return Output(
        draw_table(f"{request.name}: {request.title}", columns, cells, (20, 12, 12, 12, 60)),
        [dict(zip(("network", "published", "ours", "difference", "reading"), row, strict=True)) for row in cells],
        ", ".join(f"{row.name} {row.published:,}" for row in table),
        ", ".join(f"{row.name} {row.ours:,}" + ("" if row.difference else " (the same)") for row in table),
        "parameters of the Q-network for 4x84x84 observations and 6 actions",
        "none",
        ["interpretation of each row: " + "; ".join(f"{row.name}: {row.reading}" for row in table)],
        ["the width x2 count is not reproduced under any interpretation that we tried"],
    )
