from __future__ import annotations

import pytest
from tests.kernels.blocks import HADAMAX, build_all

from hadamax.kernels import fft_convolution, implementation


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
    monkeypatch.setattr(fft_convolution, "GAIN", 0.0)
