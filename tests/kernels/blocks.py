"""The variants of the fused block, random inputs, and the float64 reference."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import torch
from torch import Tensor

from hadamax.kernels import cpu, hadamax_block
from hadamax.kernels.block_config import BlockConfig, Pool
from hadamax.kernels.build import BuildError, build
from hadamax.kernels.reference import reference_block


class Kind(NamedTuple):
    activations: tuple[str, ...]
    combine: str
    norm: str | None

    def variant(self, pool: Pool | None, eps: float = 1e-6) -> BlockConfig:
        return BlockConfig(len(self.activations), self.activations, self.combine, self.norm, eps, pool)


HADAMAX = Kind(("gelu_tanh", "gelu_tanh"), "product", "channels")
# Every activation, both combinations, with and without a norm, one to three branches: a library for each.
KINDS = (
    HADAMAX,
    Kind(("gelu", "gelu"), "product", "channels"),
    Kind(("tanh", "tanh"), "product", None),
    Kind(("relu",), "product", "channels"),
    Kind(("tanh", "sigmoid", "relu"), "product", "channels"),
    Kind(("silu", "identity"), "sum", None),
)
POOLS: tuple[Pool | None, ...] = (
    None,
    (4, 4, 0, 0),
    (4, 4, 1, 2),
    (2, 2, 0, 1),
    (3, 1, 1, 1),
    (3, 2, 0, 1),
    (2, 3, 0, 0),
    (1, 1, 0, 0),
    (1, 2, 0, 0),
)
DTYPES = (torch.float32, torch.bfloat16)


def build_all() -> None:
    """Compile all libraries of these tests in parallel."""
    wanted = [cpu.macros(dtype, kind.variant(None), 0) for kind in KINDS for dtype in DTYPES]
    with ThreadPoolExecutor() as pool:
        list(pool.map(_try_building, wanted))


def _try_building(macros: tuple[str, ...]) -> None:
    with contextlib.suppress(BuildError):  # the tests say that there is no kernel
        build(macros)


class Case(NamedTuple):
    variant: BlockConfig
    x: Tensor
    weight: Tensor | None
    bias: Tensor | None
    gradient: Tensor  # of the output


class Answer(NamedTuple):
    y: Tensor
    to_x: Tensor
    to_weight: Tensor | None
    to_bias: Tensor | None


def random_case(
    variant: BlockConfig, shape: tuple[int, int, int, int], dtype: torch.dtype, *, affine: bool, seed: int
) -> Case:
    """Return inputs [N, branches * C, H, W] with channels of different means."""
    images, channels, rows, columns = shape
    random = torch.Generator().manual_seed(seed)
    wide = variant.branches * channels
    x = torch.randn(images, wide, rows, columns, generator=random) * 1.5
    x = x + torch.randn(images, wide, 1, 1, generator=random)
    weight = bias = None
    if affine and variant.norm is not None:
        weight = torch.rand(wide, generator=random) * 2 - 0.5
        bias = torch.randn(wide, generator=random) * 0.5
    pooled = (images, channels, variant.pooled(rows), variant.pooled(columns))
    gradient = torch.randn(pooled, generator=random)
    return Case(variant, x.to(dtype), weight, bias, gradient.to(dtype))


def fused(case: Case) -> Answer:
    return _answer(case, lambda x, w, b: call(x, w, b, case.variant))


def exact(case: Case) -> Answer:
    """The reference in float64."""
    wide = Case(case.variant, *(None if t is None else t.double() for t in case[1:]))  # type: ignore[arg-type]
    return _answer(wide, lambda x, w, b: reference_block(x, w, b, case.variant))


def call(x: Tensor, weight: Tensor | None, bias: Tensor | None, variant: BlockConfig) -> Tensor:
    return hadamax_block(x, weight, bias, **variant._asdict())


def _answer(case: Case, block: Callable[..., Tensor]) -> Answer:
    leaves = [None if t is None else t.detach().clone().requires_grad_() for t in case[1:4]]
    y = block(*leaves)
    y.backward(case.gradient)
    return Answer(y.detach(), *(None if leaf is None else leaf.grad for leaf in leaves))


def without_near_ties(case: Case, margin: float) -> Case:
    """Zero the gradient where the two largest values of a window differ by less than rounding."""
    if case.variant.pool is None:
        return case
    window, stride, low, high = case.variant.pool
    x, weight, bias = (None if t is None else t.double() for t in case[1:4])
    values = reference_block(x, weight, bias, case.variant._replace(pool=None))
    padded = torch.nn.functional.pad(values, (low, high, low, high), value=float("-inf"))
    windows = padded.unfold(2, window, stride).unfold(3, window, stride).flatten(4)
    if windows.shape[-1] == 1:
        return case
    first, second = windows.topk(2).values.unbind(-1)
    # `not >=` rather than `<`: a window with a single real pixel has no second.
    clear = (first - second >= margin * first.abs().clamp(min=1.0)) | second.isinf()
    return case._replace(gradient=torch.where(clear, case.gradient, 0))


def relative_error(found: Tensor, wanted: Tensor) -> float:
    """The largest difference, relative to the largest value wanted."""
    return float((found.double() - wanted).abs().max() / wanted.abs().max().clamp(min=1e-30))


def agree(found: Answer, wanted: Answer, tolerance: float) -> None:
    """Assert equal outputs and gradients, relative to the largest of each."""
    for name, ours, theirs in zip(Answer._fields, found, wanted, strict=True):
        assert (ours is None) == (theirs is None), name
        if ours is not None and theirs is not None:
            assert ours.shape == theirs.shape, name
            assert relative_error(ours, theirs) <= tolerance, name
