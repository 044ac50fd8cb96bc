"""Errors of building and calling an encoder: one line with the setting, the value and what is accepted."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from hadamax.networks import Conv, EncoderSpec, Pool, build_encoder


@pytest.mark.parametrize(
    ("arguments", "overrides", "error", "message"),
    [
        (
            ("hadamx",),
            {},
            ValueError,
            'encoder "hadamx" is unknown; did you mean "hadamax"? expected one of nature, ',
        ),
        ((3,), {}, TypeError, "encoder must be a name"),
        (
            ("nature", (4, 10, 10)),
            {},
            ValueError,
            'encoder "nature", block 2: its 1x1 input is too small for its kernel',
        ),
        (("hadamax-deep", (4, 10, 10)), {}, ValueError, "observation_shape (4, 10, 10) must be larger"),
        (("nature", (84, 84)), {}, ValueError, "observation_shape must be (channels, height, width)"),
        (
            ("mlp",),
            {},
            ValueError,
            'observation_shape must be (features,) for encoder "mlp", not (4, 84, 84)',
        ),
        (("nature", (0, 84, 84)), {}, ValueError, "observation_shape must be 1 or more, not 0"),
        (
            ("nature", (4, 84, 84), 0.0),
            {},
            ValueError,
            "input_scale must be a finite number above 0, not 0.0",
        ),
        (("nature", (4, 84, 84), "255"), {}, TypeError, "input_scale must be a number above 0, not '255'"),
        (("nature",), {"width": float("nan")}, ValueError, "width must be a finite number above 0"),
        (("nature",), {"layers": "first"}, ValueError, 'layers "first" is unknown; expected one of all, last'),
        (("nature",), {"features": 0}, ValueError, "features must be 1 or more, not 0"),
        (
            ("hadamax",),
            {"activation": ("tanh", "relu")},
            ValueError,
            'encoder "hadamax", dense layer 1: activation',
        ),
        (("hadamax",), {"activation": ("tanh", "crelu"), "branches": 2}, ValueError, "block 1: activation"),
        (("impala",), {"activation": "rleu"}, ValueError, 'did you mean "relu"'),
        (("nature",), {"branches": -1}, ValueError, "branches must be 1 or more, not -1"),
    ],
)
def test_invalid_settings_are_one_line_errors(
    arguments: tuple[Any, ...], overrides: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as refusal:
        build_encoder(*arguments, **overrides)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_invalid_specs_are_errors() -> None:
    spec = EncoderSpec("", "", blocks=(Conv(2, 1),), dense=())
    with pytest.raises(ValueError, match="features 8 needs a dense last layer"):
        build_encoder(spec, features=8)
    with pytest.raises(ValueError, match="has no layers"):
        build_encoder(replace(spec, blocks=()))
    with pytest.raises(ValueError, match='flatten "cwh" is unknown'):
        build_encoder(replace(spec, flatten="cwh"))
    with pytest.raises(TypeError, match="a block must be a Conv, a Residual or an Activate, not Pool"):
        replace(spec, blocks=(Pool(2, 2),))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a dense layer must be a Dense, not 512"):
        replace(spec, dense=(512,))  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.int64, torch.int8, torch.bool, torch.complex64])
def test_wrong_dtypes_are_errors(dtype: torch.dtype) -> None:
    encoder = build_encoder("nature", width=0.1)
    with pytest.raises(TypeError, match=f"observations must be uint8 or floating point, not {dtype}"):
        encoder(torch.zeros(1, 4, 84, 84, dtype=dtype))


def test_wrong_observations_are_errors() -> None:
    encoder = build_encoder("nature", width=0.1)
    for shape in ((4, 84, 84), (1, 84, 84, 4), (1, 4, 84, 85), (1, 1, 4, 84, 84), ()):
        with pytest.raises(ValueError, match=r"observations must be \[B, 4, 84, 84\], not \["):
            encoder(torch.zeros(shape))
    with pytest.raises(TypeError, match="observations must be a tensor, not ndarray"):
        encoder(torch.zeros(1, 4, 84, 84).numpy())


@pytest.mark.parametrize("shape", [(84, 84, 4), (10, 10, 7), (210, 160, 3), (210, 160, 1)])
def test_channels_last_images_are_an_error_with_the_right_order(shape: tuple[int, ...]) -> None:
    last = f"{shape[2]}, {shape[0]}, {shape[1]}"
    with pytest.raises(ValueError, match=rf"has its channels last; expected \(channels, height, width\): \({last}\)"):
        build_encoder("hadamax", shape)


@pytest.mark.parametrize("shape", [(4, 84, 84), (10, 10, 10), (64, 9, 8), (8, 8, 4), (1, 210, 160), (12, 84, 84)])
def test_channels_first_shapes_are_accepted(shape: tuple[int, ...]) -> None:
    assert build_encoder("hadamax-minatar", shape, width=0.125).observation_shape == shape


@pytest.mark.parametrize(
    ("shape", "mend"),
    [
        ((2, 84, 80, 4), r"their channels are last; give observations.movedim\(-1, 1\)$"),
        ((4, 84, 80), r"one observation without a batch; give observations\[None\]$"),
        ((2, 3, 84, 80), r"not \[2, 3, 84, 80\]$"),
    ],
)
def test_wrong_shapes_are_errors_with_a_suggestion(shape: tuple[int, ...], mend: str) -> None:
    encoder = build_encoder("nature", (4, 84, 80))
    with pytest.raises(ValueError, match=mend):
        encoder(torch.zeros(shape, dtype=torch.uint8))
