"""The blocks of residual encoders, Impala's: its stages, and an activation that stands by itself."""

from torch import Tensor, nn

from hadamax.networks.activations import resolve_activations
from hadamax.networks.blocks import ConvBlock, EncoderBlock
from hadamax.networks.hadamard import Range
from hadamax.networks.initialisers import InitialiserSetting
from hadamax.networks.names import whole
from hadamax.networks.specs import Activate, Conv, Residual


class ActivationBlock(EncoderBlock):
    """An activation over the channels of a map, from an `Activate`."""

    def __init__(self, spec: Activate, in_channels: int) -> None:
        super().__init__()
        (activation,) = resolve_activations(spec.activation, branches=1)
        self.activation = activation.make()
        self.out_channels = in_channels * activation.width
        self.output_range = None if spec.activation == "identity" else activation.range

    def forward(self, x: Tensor) -> Tensor:
        activated: Tensor = self.activation(x.movedim(1, -1))
        return activated.movedim(-1, 1)

    def inner_activations(self, x: Tensor) -> dict[str, tuple[Tensor, Range]]:
        """A probe sees nothing beside the output."""
        return {}


class ResidualBlock(nn.Module):
    """x + linear convolution(hidden convolution(activation(x))), from a `Residual`."""

    def __init__(self, spec: Residual, initialiser: InitialiserSetting) -> None:
        super().__init__()
        self.activation = ActivationBlock(Activate(spec.outer_activation), spec.channels)
        hidden = Conv(
            spec.channels,
            spec.kernel,
            padding="same",
            activation=spec.activation,
            branches=spec.branches,
            combine=spec.combine,
            norm=spec.norm,
            bias=spec.bias,
        )
        self.hidden = ConvBlock(hidden, self.activation.out_channels, initialiser)
        linear = Conv(spec.channels, spec.kernel, padding="same", activation="identity", bias=spec.bias)
        self.linear = ConvBlock(linear, self.hidden.out_channels, initialiser)

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.linear(self.hidden(self.activation(x)))
        return x + change


class ResidualStage(EncoderBlock):
    """An Impala stage, from a `Residual`."""

    takes_bytes = True

    def __init__(self, spec: Residual, in_channels: int, initialiser: InitialiserSetting) -> None:
        super().__init__()
        entry = Conv(spec.channels, spec.kernel, padding="same", activation="identity", pool=spec.pool, bias=spec.bias)
        self.entry = ConvBlock(entry, in_channels, initialiser)
        blocks = whole("blocks", spec.blocks, minimum=0)
        self.residuals = nn.Sequential(*(ResidualBlock(spec, initialiser) for _ in range(blocks)))
        self.out_channels = spec.channels

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        return self.entry.output_size(height, width)

    def forward(self, x: Tensor, *, scale: float | None = None) -> Tensor:
        output: Tensor = self.residuals(self.entry(x, scale=scale))
        return output
