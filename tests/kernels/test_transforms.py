"""The fused block and encoders under torch.func, tracing, batched gradients and other default devices."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.func import grad, jvp, vmap
from torch.utils.flop_counter import FlopCounterMode

from hadamax.kernels import build, cpu, hadamax_block, scaled_observations
from hadamax.kernels.block_config import BlockConfig
from hadamax.kernels.reference import reference_block
from hadamax.networks import build_encoder

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.end_to_end]

SETTINGS: dict[str, Any] = {
    "branches": 2,
    "activations": ("gelu_tanh", "tanh"),
    "combine": "product",
    "norm": "channels",
    "eps": 1e-3,
    "pool": (2, 2, 0, 0),
}


def fused(x: Tensor) -> Tensor:
    return hadamax_block(x, None, None, **SETTINGS)


def plain(x: Tensor) -> Tensor:
    return reference_block(x, None, None, BlockConfig(**SETTINGS))


def test_torch_func_derivatives() -> None:
    x, direction = torch.randn(3, 10, 6, 6), torch.randn(3, 10, 6, 6)
    forward = jvp(fused, (x,), (direction,))[1]
    assert forward.abs().sum() > 0
    torch.testing.assert_close(forward, jvp(plain, (x,), (direction,))[1])
    of_each = vmap(grad(lambda x: fused(x[None]).sum()))(x)
    leaf = x.clone().requires_grad_()
    fused(leaf).sum().backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(of_each, leaf.grad)


def test_batched_gradients() -> None:
    x, weight = torch.randn(2, 10, 6, 6, requires_grad=True), torch.rand(10, requires_grad=True)
    y = hadamax_block(x, weight, None, **SETTINGS)
    gradients = torch.randn(3, *y.shape)
    together = torch.autograd.grad(y, (x, weight), gradients, is_grads_batched=True, retain_graph=True)
    for i, gradient in enumerate(gradients):
        for found, expected in zip(together, torch.autograd.grad(y, (x, weight), gradient, True), strict=True):
            torch.testing.assert_close(found[i], expected)


@pytest.fixture(params=[True, False], ids=["watched", "alone"])
def watching(request: pytest.FixtureRequest) -> Any:
    """Run with a dispatch mode, which uses the registered operator, or without one."""
    return FlopCounterMode(display=False) if request.param else contextlib.nullcontext()


@pytest.mark.parametrize("settings", [{}, {"norm": None, "pool": None}, {"pool": (3, 1, 1, 1)}])
def test_second_derivatives(settings: dict[str, Any], watching: Any) -> None:
    """A gradient penalty with weights shared by two layers."""
    variant = BlockConfig(**{**SETTINGS, **settings})
    images = torch.randn(2, 3, 9, 9)
    first, second = torch.randn(10, 3, 3, 3) * 0.3, torch.randn(10, 5, 3, 3) * 0.3
    affine = (None, None) if variant.norm is None else (torch.rand(10), torch.randn(10))

    def penalty(block: Any) -> tuple[Tensor, ...]:
        leaves = [t.clone().requires_grad_() for t in (first, second, *affine) if t is not None]
        rest = leaves[2:] or affine
        y = torch.conv2d(block(torch.conv2d(images, leaves[0]), *rest, variant), leaves[1], padding=1)
        y = block(y, *rest, variant._replace(pool=None))
        gradients = torch.autograd.grad(y.square().sum(), leaves, create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in gradients), leaves)

    with watching:
        found = penalty(lambda x, weight, bias, variant: hadamax_block(x, weight, bias, **variant._asdict()))
    for ours, theirs in zip(found, penalty(reference_block), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3 * float(theirs.abs().max()))


def test_forward_mode(watching: Any) -> None:
    x, direction, weight = torch.randn(3, 10, 6, 6), torch.randn(3, 10, 6, 6), torch.rand(10)
    with forward_ad.dual_level(), watching:
        ours = hadamax_block(forward_ad.make_dual(x, direction), weight, None, **SETTINGS)
        theirs = reference_block(forward_ad.make_dual(x, direction), weight, None, BlockConfig(**SETTINGS))
        found, expected = (forward_ad.unpack_dual(y).tangent for y in (ours, theirs))
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(found, expected)


def test_saved_tensors_may_change_layout(watching: Any) -> None:
    """`save_on_cpu` returns saved tensors in another memory format."""
    encoder = build_encoder("hadamax-fast", (4, 52, 52), width=0.5)
    images = torch.randint(256, (2, 4, 52, 52), dtype=torch.uint8)

    def gradients() -> tuple[Tensor, ...]:
        with watching:
            return torch.autograd.grad(encoder(images).square().sum(), list(encoder.parameters()))

    expected = gradients()
    with torch.autograd.graph.saved_tensors_hooks(
        torch.clone, lambda t: t.transpose(0, -1).contiguous().transpose(0, -1) if t.ndim else t
    ):
        moved = gradients()
    with torch.autograd.graph.save_on_cpu():
        elsewhere = gradients()
    for one, other, third in zip(expected, moved, elsewhere, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-5 * float(one.abs().max()))
        assert torch.equal(third, one)


def test_encoder_is_vmapped_traced_and_saved() -> None:
    encoder = build_encoder("hadamax-minatar", (4, 10, 10), input_scale=1.0)
    floats, images = torch.rand(3, 2, 4, 10, 10), torch.randint(2, (3, 2, 4, 10, 10), dtype=torch.uint8)
    for batches in (floats, images):
        expected = torch.stack([encoder(batch) for batch in batches])
        torch.testing.assert_close(vmap(encoder)(batches), expected)
        torch.testing.assert_close(vmap(encoder, in_dims=-1)(batches.movedim(0, -1)), expected)
    traced = torch.jit.trace(encoder, images[0], check_trace=False)  # type: ignore[no-untyped-call]
    assert torch.equal(traced(images[1]), encoder(images[1]))
    torch.save(encoder, io.BytesIO())


def test_traced_encoder_accepts_other_layouts() -> None:
    encoder = build_encoder("nature", (4, 36, 36))
    seen = torch.randint(256, (2, 4, 36, 36), dtype=torch.uint8)
    other = seen.to(memory_format=torch.channels_last)
    with torch.no_grad():
        expected = encoder(seen)
        traced = torch.jit.trace(encoder, (seen,))  # type: ignore[no-untyped-call]
        assert torch.equal(traced(other), expected)
        assert torch.equal(torch.export.export(encoder, (seen,)).module()(other), expected)


def test_other_default_device() -> None:
    code = (
        "import torch; from hadamax import build_encoder; e = build_encoder('nature', (4, 36, 36));"
        "o = torch.randint(256, (2, 4, 36, 36), dtype=torch.uint8); torch.set_default_device('meta');"
        "e(o).sum().backward(); print(e(o).device)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "cpu\n"), done.stderr


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pixel_does_not_depend_on_its_neighbours(dtype: torch.dtype) -> None:
    """Equal pixels tie, so the first of a window wins."""
    settings: dict[str, Any] = {"branches": 1, "activations": ("identity",), "combine": "product", "norm": "channels"}
    variant = BlockConfig(**settings, eps=1e-6, pool=(2, 2, 0, 0))
    library = cpu.library(dtype, variant, 20)
    assert library is not None
    for seed in range(40):
        torch.manual_seed(seed)
        x = torch.randn(1, 20, 1, 1).expand(1, 20, 2, 16).clone()
        x[0, :, 0, 15] += 500.0
        _, positions = cpu.forward(library, x.to(dtype), None, None, variant)
        assert not positions[0, :, 0, :7].any()


@pytest.mark.parametrize(("channels", "value"), [(7, 100.3), (7, 3e4), (33, 77.7), (5, 1e18)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("eps", [1e-6, 1e-5])
def test_equal_channels_give_zero(channels: int, value: float, eps: float, dtype: torch.dtype) -> None:
    settings: dict[str, Any] = {"branches": 1, "activations": ("identity",), "combine": "product", "norm": "channels"}
    x = torch.full((2, channels, 3, 1), value, dtype=dtype)
    assert not hadamax_block(x, None, None, **settings, eps=eps, pool=None).any()


def test_overflowing_squares_give_an_infinite_variance() -> None:
    x = torch.randn(1, 10, 4, 4)
    torch.testing.assert_close(fused(x * 1e18), plain(x.double() * 1e18).float(), rtol=1e-4, atol=1e-6)
    for size in (1e20, 1e30):
        assert not fused(x * size).any()  # x / inf


def test_silent_or_failing_compiler_is_a_build_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    silent, latin = tmp_path / "silent", tmp_path / "latin"
    silent.write_text("#!/bin/sh\nexit 0\n")
    latin.write_bytes(b"#!/bin/sh\n[ $1 = --version ] && exit 0\nprintf '\\351 error' >&2\nexit 1\n")
    for compiler, reason in ((silent, "produced no library"), (latin, "failed")):
        compiler.chmod(0o755)
        monkeypatch.setenv("CXX", str(compiler))
        with pytest.raises(build.BuildError, match=reason):
            build.build(("HADAMAX_ELEMENT=float",), "observations.cpp")


def test_bytes_are_scaled_under_vmap_without_a_warning(capfd: pytest.CaptureFixture[str]) -> None:
    images = torch.randint(256, (3, 2, 4, 9, 9), dtype=torch.uint8)
    found = vmap(lambda x: scaled_observations(x, 255.0, torch.float32, ((1, 2), (0, 1))))(images)
    assert torch.equal(found, torch.nn.functional.pad(images / 255.0, (0, 1, 1, 2)))
    assert not capfd.readouterr().err  # about a missing batching rule
