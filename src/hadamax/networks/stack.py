"""From an encoder's blocks as data to their modules, one after another."""

from collections.abc import Callable

from torch import Tensor, nn

from hadamax.networks.blocks import ConvBlock, EncoderBlock
from hadamax.networks.initialisers import InitialiserSetting
from hadamax.networks.residual import ActivationBlock, ResidualStage
from hadamax.networks.specs import Activate, Block, Conv, Residual

BLOCKS: dict[type, Callable[..., EncoderBlock]] = {
    Conv: ConvBlock,
    Residual: ResidualStage,
    Activate: lambda spec, in_channels, initialiser: ActivationBlock(spec, in_channels),
}


def make_block(spec: Block, in_channels: int, initialiser: InitialiserSetting) -> EncoderBlock:
    """The module of a block."""
    return BLOCKS[type(spec)](spec, in_channels, initialiser)


class Stack(nn.Sequential):
    """Blocks one after another. With a `scale` the first is given bytes, to be divided by it."""

    @property
    def takes_bytes(self) -> bool:
        return len(self) > 0 and getattr(self[0], "takes_bytes", False)

    def forward(self, x: Tensor, *, scale: float | None = None) -> Tensor:
        for number, block in enumerate(self):
            x = block(x) if number or scale is None else block(x, scale=scale)
        return x
