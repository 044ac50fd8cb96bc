"""Too little memory for an update: one line that says what batch fits. The memory is really taken away."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from hadamax.training.shortage import is_shortage

# A limit on the whole process stands for a card that is too small. It leaves room for all but large tensors: native
# code does not outlive a small allocation that fails. So everything has run once, on one row, before it is set.
SCRIPT = """
import resource, sys
import torch
from tests.training.runs import BREAKOUT, make
from hadamax.errors import UserError
from hadamax.training.shortage import fits

sizes = {"width": 1.0, "num_envs": 32, "num_steps": 32, "num_minibatches": 1}
loop = make(sys.argv[1], {**BREAKOUT, **sizes}, frames=10_000)
row = torch.from_numpy(loop.algorithm.environment.observations[:1].copy())
assert fits(loop.algorithm.network, row, 1, torch.float32)
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + int(sys.argv[2]) * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    loop.train()
except UserError as error:
    print(error)
"""


def run(folder: Path, mib: int) -> str:
    command = [sys.executable, "-c", SCRIPT, str(folder), str(mib)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux to know and to limit a process's size")
def test_the_line_names_a_batch_that_fits(tmp_path: Path) -> None:
    (line,) = run(tmp_path / "run", 110).splitlines()
    found = re.match(
        r"num_minibatches: 1 makes updates of 1024 rows, too many for the memory of this machine; "
        r"valid: (\d+) \((\d+) rows fit\); there is no checkpoint yet$",
        line,
    )
    assert found, line
    number, rows = map(int, found.groups())
    assert number * rows == 32 * 32
    assert 32 <= rows <= 512


def test_what_is_a_shortage() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_shortage(caught.value)
    assert is_shortage(MemoryError())
    assert is_shortage(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    assert not is_shortage(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
