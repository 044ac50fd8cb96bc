from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from tests.kernels.blocks import HADAMAX, build_all

from hadamax.kernels import implementation, spectra


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tensors this small are slower on two threads than on one; a test that wants two says so."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def kernel() -> None:
    """The compiled kernel, or the test is skipped: all still works without, as other tests show."""
    build_all()
    settings = HADAMAX.variant(None)._asdict()
    del settings["eps"]
    served = implementation(**settings)
    if served.name != "cpu":
        pytest.skip(f"no fused kernel here: {served.reason}")


@pytest.fixture
def small_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Convolutions by spectra where they do not pay, too."""
    monkeypatch.setattr(spectra, "GAIN", 0.0)
