from __future__ import annotations

import pytest
from tests.kernels.blocks import HADAMAX, build_all

from hadamax.kernels import fft_convolution, implementation


@pytest.fixture(scope="session")
def kernel() -> None:
    """Compile the kernel; skip the test where that is impossible."""
    build_all()
    settings = HADAMAX.variant(None)._asdict()
    del settings["eps"]
    served = implementation(**settings)
    if served.name != "cpu":
        pytest.skip(f"no fused kernel here: {served.reason}")


@pytest.fixture
def small_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use FFT convolutions for small maps too, where they are slower."""
    monkeypatch.setattr(fft_convolution, "GAIN", 0.0)
