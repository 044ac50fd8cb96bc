"""Scaling bytes in one pass equals padding, dividing and rounding."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from hadamax.kernels import scaled_observations
from hadamax.networks import build_encoder


@pytest.mark.parametrize("kernels", ["auto", "reference"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("shape", [(3, 4, 12, 9), (1, 1, 5, 5), (2, 3, 7, 8), (2, 10, 10, 10)])
def test_equals_pad_divide_and_round(
    shape: tuple[int, ...], dtype: torch.dtype, kernels: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HADAMAX_KERNELS", kernels)
    observations = torch.randint(256, shape, dtype=torch.uint8)
    for margins in (((0, 0), (0, 0)), ((3, 4), (3, 4)), ((1, 0), (2, 5)), ((-1, 2), (3, -2))):
        for scale in (255.0, 1.0, 7.3):
            (top, bottom), (left, right) = margins
            found = scaled_observations(observations, scale, dtype, margins)
            wanted = F.pad(observations.to(dtype) / scale, (left, right, top, bottom))
            assert torch.equal(found, wanted)
            assert found.is_contiguous(memory_format=torch.channels_last)


def test_overlapping_frame_stacks(kernel: None) -> None:
    frames = torch.randint(256, (6, 5, 9, 7), dtype=torch.uint8)
    views = {"now": frames[:, :4], "later": frames[:, 1:], "every other": frames[::2, :4], "one": frames[3:4, 1:]}
    views |= {"repeated": frames[:1].expand(3, -1, -1, -1), "every other channel": frames[:, ::2]}
    for name, view in views.items():
        found = scaled_observations(view, 255.0, torch.float32, ((1, 0), (0, 2)))
        assert torch.equal(found, F.pad(view / 255.0, (0, 2, 1, 0))), name


@pytest.mark.parametrize("threads", [1, 2])
def test_encoder_of_bytes_equals_encoder_of_scaled_floats(threads: int) -> None:
    torch.set_num_threads(threads)
    observations = torch.randint(256, (3, 4, 84, 84), dtype=torch.uint8)
    strided = observations.transpose(2, 3).contiguous().transpose(2, 3)
    for name in ("hadamax-fast", "hadamax-c51", "nature"):
        encoder = build_encoder(name, width=0.25).to(memory_format=torch.channels_last)
        twin = build_encoder(name, width=0.25, input_scale=1.0).to(memory_format=torch.channels_last)
        twin.load_state_dict(encoder.state_dict())
        expected = twin(observations / 255.0)
        torch.testing.assert_close(encoder(observations), expected, rtol=1e-5, atol=1e-5)
        assert torch.equal(encoder(strided), encoder(observations))
        with torch.autocast("cpu", torch.bfloat16):
            # Byte convolutions do not round weights to bfloat16, the other form does; both are accurate to bfloat16.
            off = [(y - expected).norm() for y in (encoder(observations), twin(observations / 255.0))]
        assert max(off) <= 2 * min(off)
        assert max(off) < 0.05 * expected.norm()


@pytest.mark.filterwarnings("ignore")  # torch.compile's own warnings
def test_works_under_torch_compile(kernel: None) -> None:
    torch.compiler.reset()
    observations = torch.randint(256, (2, 4, 10, 10), dtype=torch.uint8)

    def prepare(x: torch.Tensor) -> torch.Tensor:
        return scaled_observations(x, 255.0, torch.float32, ((1, 2), (1, 2))) + 1

    graph = torch.compile(prepare, fullgraph=True, backend="aot_eager")
    assert torch.equal(graph(observations), F.pad(observations / 255.0, (1, 2, 1, 2)) + 1)


def test_other_dtypes_are_errors() -> None:
    with pytest.raises(TypeError, match=r"scaled_observations expects uint8, got torch.float32"):
        scaled_observations(torch.full((1, 1, 4, 4), 100.0), 255.0, torch.float32)
