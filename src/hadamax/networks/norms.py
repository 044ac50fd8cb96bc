"""Layer normalisation of parallel branches, separately for each branch, before its activation.

The two published Hadamax codes (arXiv 2505.15345) differ here: the PQN code normalises the channels of each
pixel, the C51 code the whole map. Tensors come with the channels of all branches last, [..., branches * C],
which is a view of channels-last feature maps.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hadamax.networks.names import above_zero, lookup


@dataclass(frozen=True)
class Norm:
    """Settings of a norm: the axes normalised together, the learnable scale and shift per channel, and epsilon."""

    over: str  # "channels": of each pixel; "map": channels, height and width (a vector's features are both)
    affine: bool
    eps: float

    def __post_init__(self) -> None:
        lookup("norm over", self.over, NORM_AXES)
        above_zero("norm eps", self.eps)


NormSetting = str | Norm | None


class BranchNorm(nn.Module):
    """[..., branches * C] -> `branches` tensors of [..., C]; the affine parameters are [branches, C]."""

    over: str
    weight: nn.Parameter | None
    bias: nn.Parameter | None

    def __init__(self, norm: Norm, branches: int, channels: int) -> None:
        super().__init__()
        self.branches, self.channels, self.eps = branches, channels, norm.eps
        for name in ("weight", "bias"):
            self.register_parameter(name, nn.Parameter(torch.empty(branches, channels)) if norm.affine else None)
        self.reset_parameters()

    def affine(self) -> tuple[Tensor | None, Tensor | None]:
        """Return scale and shift of the merged tensor, [branches * C] each; None without affine parameters."""
        if self.weight is None or self.bias is None:
            return None, None
        return self.weight.flatten(), self.bias.flatten()

    def reset_parameters(self) -> None:
        if self.weight is not None and self.bias is not None:
            nn.init.ones_(self.weight)
            nn.init.zeros_(self.bias)

    def extra_repr(self) -> str:
        return f"{self.channels}, branches={self.branches}, eps={self.eps}, affine={self.weight is not None}"


class NormOverChannels(BranchNorm):
    """Mean 0 and variance 1 over the channels of each pixel, or the features of each vector."""

    over = "channels"

    def forward(self, merged: Tensor) -> tuple[Tensor, ...]:
        shape = (self.channels,)
        if self.weight is None or self.bias is None:
            normal = F.layer_norm(merged.reshape(*merged.shape[:-1], self.branches, -1), shape, eps=self.eps)
            return normal.unbind(-2)
        # Copying a branch allows a fused scale and shift; separate ones would convert bfloat16 maps to float32.
        parts = zip(merged.chunk(self.branches, -1), self.weight, self.bias, strict=True)
        return tuple(F.layer_norm(x, shape, weight, bias, self.eps) for x, weight, bias in parts)


class NormOverMap(BranchNorm):
    """Mean 0 and variance 1 over channels, height and width: [N, H, W, branches * C]."""

    over = "map"

    def forward(self, merged: Tensor) -> tuple[Tensor, ...]:
        weight = None if self.weight is None else self.weight.flatten()
        bias = None if self.bias is None else self.bias.flatten()
        # A branch's whole map is one group of channels.
        normal = F.group_norm(merged.movedim(-1, 1), self.branches, weight, bias, self.eps)
        return normal.movedim(1, -1).chunk(self.branches, -1)


class NoNorm(nn.Module):
    """Only splits: [..., branches * C] -> `branches` tensors of [..., C]."""

    over: str | None = None
    eps = 0.0

    def __init__(self, branches: int) -> None:
        super().__init__()
        self.branches = branches

    def affine(self) -> tuple[None, None]:
        return None, None

    def forward(self, merged: Tensor) -> tuple[Tensor, ...]:
        return merged.chunk(self.branches, -1)


NORM_AXES: dict[str, type[BranchNorm]] = {"channels": NormOverChannels, "map": NormOverMap}
NORMS: dict[str, Norm] = {
    "channels": Norm(over="channels", affine=True, eps=1e-6),  # Flax's LayerNorm, as in the PQN code
    "map": Norm(over="map", affine=False, eps=1e-5),  # as in the C51 code
}


def make_norm(norm: NormSetting, branches: int, channels: int, *, spatial: bool) -> BranchNorm | NoNorm:
    """The module that splits a merged tensor into branches and normalises each; `spatial` for feature maps.

    Raises TypeError for anything but a name, a `Norm` or None, ValueError for an unknown name.
    """
    resolved = resolve_norm(norm)
    if resolved is None:
        return NoNorm(branches)
    kind = NORM_AXES[resolved.over] if spatial else NormOverChannels
    return kind(resolved, branches, channels)


def resolve_norm(norm: NormSetting) -> Norm | None:
    """Return the `Norm` of a name, or the given one. Raises TypeError or ValueError for other values except None."""
    return norm if norm is None or isinstance(norm, Norm) else lookup("norm", norm, NORMS)
