"""Hadamard layers: hand-computed outputs, separate layers, initialisation, errors."""

import copy
import io
import math

import pytest
import torch
from torch import Tensor, nn

from hadamax.networks import ACTIVATIONS, HadamardConv2d, HadamardLinear, Norm


def filled(layer: HadamardLinear, weight: list[list[float]], bias: list[float]) -> HadamardLinear:
    layer.load_state_dict({"weight": torch.tensor(weight), "bias": torch.tensor(bias)}, strict=False)
    return layer


X = torch.tensor([[1.0, 2.0]])
WEIGHT = [[1.0, 0.0], [0.5, -1.0], [-1.0, 1.0]]  # one output, three branches: 1, -1.5, 1 before the biases
BIAS = [0.0, 0.5, -2.0]  # the branches are 1, -1, -1


@pytest.mark.parametrize(
    ("branches", "activation", "combine", "expected"),
    [
        (1, "tanh", "product", math.tanh(1)),
        (2, "tanh", "product", math.tanh(1) * math.tanh(-1)),
        (3, "tanh", "product", math.tanh(1) ** 3),
        (3, "tanh", "sum", -math.tanh(1)),
        (3, "identity", "product", 1.0),
        (2, ("tanh", "sigmoid"), "product", math.tanh(1) / (1 + math.e)),
        (2, ("sigmoid", "tanh"), "product", -math.tanh(1) / (1 + 1 / math.e)),
        (3, ("identity", "relu", "sigmoid"), "sum", 1 + 0 + 1 / (1 + math.e)),
    ],
)
def test_linear_by_hand(branches: int, activation: str | tuple[str, ...], combine: str, expected: float) -> None:
    layer = HadamardLinear(2, 1, branches=branches, activation=activation, combine=combine)
    filled(layer, WEIGHT[:branches], BIAS[:branches])
    assert layer(X).item() == pytest.approx(expected, rel=1e-6)


def test_crelu_by_hand() -> None:
    layer = filled(HadamardLinear(2, 1, activation="crelu"), WEIGHT[:2], [2.0, -0.5])  # branches: 3 and -2
    assert layer.out_features == 2
    assert layer(X).tolist() == [[0.0, 0.0]]  # relu(3) relu(-2), relu(-3) relu(2)
    layer = filled(HadamardLinear(2, 1, activation="crelu", combine="sum"), WEIGHT[:2], [2.0, -0.5])
    assert layer(X).tolist() == [[3.0, 2.0]]


def test_norm_comes_before_the_activation() -> None:
    layer = HadamardLinear(2, 2, branches=1, activation="relu", norm=Norm("channels", False, 1e-12))
    filled(layer, [[1.0, 0.0], [0.0, 2.0]], [0.0, 0.0])  # 1 and 4, normalised -1 and 1
    assert layer(X).tolist() == [[0.0, pytest.approx(1.0)]]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_linear_equals_two_separate_layers(name: str) -> None:
    first, second = nn.Linear(6, 4), nn.Linear(6, 4)
    layer = HadamardLinear(6, 4, activation=name)
    weight, bias = torch.cat([first.weight, second.weight]), torch.cat([first.bias, second.bias])
    layer.load_state_dict({"weight": weight, "bias": bias}, strict=False)
    activation = ACTIVATIONS[name].make()
    x = torch.randn(2, 3, 6)
    torch.testing.assert_close(layer(x), activation(first(x)) * activation(second(x)))
    assert layer(x).shape[-1] == layer.out_features


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_convolution_equals_two_separate_layers(name: str, memory_format: torch.memory_format) -> None:
    first, second = (nn.Conv2d(3, 4, 5, stride=2, padding=1) for _ in range(2))
    layer = HadamardConv2d(3, 4, 5, stride=2, padding=1, activation=name)
    assert first.bias is not None
    assert second.bias is not None
    weight, bias = torch.cat([first.weight, second.weight]), torch.cat([first.bias, second.bias])
    layer.load_state_dict({"weight": weight, "bias": bias}, strict=False)
    activation = ACTIVATIONS[name].make()
    x = torch.randn(2, 3, 11, 12).to(memory_format=memory_format)

    def activated(maps: Tensor) -> Tensor:
        activated: Tensor = activation(maps.movedim(1, -1))
        return activated.movedim(-1, 1)

    got = layer(x)
    torch.testing.assert_close(got, activated(first(x)) * activated(second(x)))
    assert got.shape[1] == layer.out_channels
    if name != "crelu":  # a concatenation over channels is a copy
        assert got.is_contiguous(memory_format=memory_format)


def test_gradients_reach_every_branch() -> None:
    layer = HadamardConv2d(2, 2, 2, activation=("tanh", "rational"), norm=Norm("map", True, 0.1)).double()
    x = torch.randn(2, 2, 4, 3, dtype=torch.float64, requires_grad=True)
    inputs = (x, *layer.parameters())
    assert len(inputs) == 1 + 2 + 2 + 2  # x, weight and bias, the norm's, the rational's
    assert torch.autograd.gradcheck(lambda x, *_: layer(x), inputs, fast_mode=True)


def test_rational_parameters_are_per_branch() -> None:
    extra = sum(p.numel() for p in HadamardLinear(2, 3, branches=3, activation="rational").parameters())
    assert extra == 3 * (2 * 3 + 3) + 3 * 10


def test_layer_without_bias() -> None:
    assert [name for name, _ in HadamardLinear(2, 3, bias=False).named_parameters()] == ["weight"]
    assert not HadamardConv2d(2, 3, 3, bias=False)(torch.zeros(1, 2, 4, 4)).any()


def test_state_dict_deepcopy_and_pickle_round_trips() -> None:
    layer = HadamardConv2d(2, 3, 3, activation=("rational", "gelu_tanh"), norm="channels")
    x = torch.randn(1, 2, 5, 5)
    other = HadamardConv2d(2, 3, 3, activation=("rational", "gelu_tanh"), norm="channels")
    assert not torch.equal(layer(x), other(x))
    other.load_state_dict(layer.state_dict())
    buffer = io.BytesIO()
    torch.save(layer, buffer)
    buffer.seek(0)
    for twin in (other, copy.deepcopy(layer), torch.load(buffer, weights_only=False)):
        assert torch.equal(layer(x), twin(x))


def test_reset_parameters_draws_new_weights() -> None:
    layer = HadamardLinear(4, 4)
    before = layer.weight.clone()
    layer.reset_parameters()
    assert not torch.equal(layer.weight, before)


def test_repr_shows_the_settings() -> None:
    assert "2, 6, branches=3, combine='sum', bias=True" in str(
        HadamardLinear(2, 3, activation="crelu", branches=3, combine="sum")
    )
    assert "kernel_size=(3, 3), stride=(1, 1), padding='same'" in str(HadamardConv2d(2, 3, 3))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"combine": "prodct"}, ValueError, 'combine "prodct" is unknown; did you mean "product"?'),
        ({"branches": 0}, ValueError, "branches must be 1 or more, not 0"),
        ({"activation": ("tanh", "relu", "tanh")}, ValueError, "names 3 branches and the layer has 2"),
        ({"norm": "layer"}, ValueError, 'norm "layer" is unknown'),
        ({"in_features": 0}, ValueError, "in_features must be 1 or more, not 0"),
        ({"out_features": 2.0}, TypeError, "out_features must be a whole number, 1 or more, not 2.0"),
    ],
)
def test_invalid_settings_are_errors(settings: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as refusal:
        HadamardLinear(**{"in_features": 2, "out_features": 3, **settings})  # type: ignore[arg-type]
    assert message in str(refusal.value)


def test_wrong_inputs_are_errors() -> None:
    with pytest.raises(ValueError, match=r"HadamardLinear expects \[..., 2\], got \[4, 3\]"):
        HadamardLinear(2, 3)(torch.zeros(4, 3))
    with pytest.raises(ValueError, match=r"HadamardConv2d expects \[N, 2, H, W\], got \[2, 8, 8\]"):
        HadamardConv2d(2, 3, 3)(torch.zeros(2, 8, 8))
    with pytest.raises(ValueError, match=r"HadamardConv2d expects \[N, 2, H, W\], got \[1, 3, 8, 8\]"):
        HadamardConv2d(2, 3, 3)(torch.zeros(1, 3, 8, 8))
