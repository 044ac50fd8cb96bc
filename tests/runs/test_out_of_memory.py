"""Out of memory is one line with a batch size that fits."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.runs.runs import CARTPOLE, make

from hadamax.errors import UserError
from hadamax.runs.machine import is_shortage

MOST_ROWS = 128


def hungry(module: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
    """Allocate a petabyte for large batches, which always fails."""
    torch.empty(2**50 if len(inputs[0]) > MOST_ROWS else 1, dtype=torch.uint8)


@pytest.mark.parametrize("algorithm", ["pqn", "ppo"])
def test_error_names_a_batch_that_fits(tmp_path: Path, algorithm: str) -> None:
    sizes = {"num_envs": 32, "num_steps": 32, "num_minibatches": 1}
    settings = {**CARTPOLE, **sizes, "algorithm": algorithm}
    with closing(make(tmp_path / "run", settings, frames=10_000)) as loop:
        loop.algorithm.network.encoder.register_forward_pre_hook(hungry)
        with pytest.raises(UserError) as caught:
            loop.train()
    assert str(caught.value) == (
        "num_minibatches: 1 makes updates of 1024 rows, too many for the memory of this machine; "
        "expected 8 (128 rows fit); there is no checkpoint yet"
    )


def test_shortage_while_acting_is_not_blamed_on_updates(tmp_path: Path) -> None:
    sizes = {"num_envs": 2 * MOST_ROWS, "num_steps": 4, "num_minibatches": 8}
    with closing(make(tmp_path / "run", {**CARTPOLE, **sizes}, frames=10_000)) as loop:
        loop.algorithm.network.encoder.register_forward_pre_hook(hungry)
        with pytest.raises(
            UserError, match=r"^num_envs, num_test_envs: 258 games played and acted for at once are too many"
        ):
            loop.train()


def test_which_errors_are_out_of_memory() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_shortage(caught.value)
    assert is_shortage(MemoryError())
    assert is_shortage(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    assert is_shortage(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"))
    assert not is_shortage(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
