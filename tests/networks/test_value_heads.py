"""The value head by hand, against a plain head, and per ensemble member."""

from __future__ import annotations

import pytest
import torch

from hadamax.networks import PolicyValueNetwork, QHead, ValueHead, build_encoder


@pytest.mark.parametrize("initialiser", ["torch", "lecun_normal"])
def test_plain_form_equals_a_q_head(initialiser: str) -> None:
    torch.manual_seed(0)
    plain = QHead(7, 4, initialiser)
    torch.manual_seed(0)
    head = ValueHead(7, 4, initialiser=initialiser)
    assert plain.state_dict().keys() == head.state_dict().keys()
    features = torch.randn(5, 7)
    assert torch.equal(head(features).flatten(1), plain(features))
    assert head(features).shape == (5, 1, 4, 1)


def test_dueling_by_hand() -> None:
    """V = x, A = (2x, 4x): Q = V + A - mean A = (0, 2x)."""
    head = ValueHead(1, 2, dueling=True)
    head.load_state_dict({"weight": torch.tensor([[1.0], [2.0], [4.0]]), "bias": torch.zeros(3)})
    assert head(torch.tensor([[3.0]])).flatten().tolist() == [0.0, 6.0]


@pytest.mark.parametrize("dueling", [False, True])
@pytest.mark.parametrize("bins", [1, 5])
@pytest.mark.parametrize("members", [1, 3])
def test_shapes_and_the_mean_over_actions(members: int, bins: int, dueling: bool) -> None:
    head = ValueHead(7, 4, members=members, bins=bins, dueling=dueling)
    features = torch.randn(5, 7)
    outputs = head(features)
    assert outputs.shape == (5, members, 4, bins)
    if dueling:  # the advantages have mean 0: what is left is V
        streams = QHead.forward(head, features).view(5, members, 5, bins)
        torch.testing.assert_close(outputs.mean(dim=2), streams[:, :, 0])


def test_members_are_independent() -> None:
    head = ValueHead(7, 4, members=3, bins=2, dueling=True)
    head(torch.randn(5, 7))[:, 1].sum().backward()
    assert head.weight.grad is not None
    touched = head.weight.grad.view(3, -1).abs().sum(1) > 0
    assert touched.tolist() == [False, True, False]


@pytest.mark.parametrize("setting", ["members", "bins", "num_actions"])
def test_zero_sizes_are_errors(setting: str) -> None:
    with pytest.raises(ValueError, match=f"{setting} must be 1 or more, not 0"):
        ValueHead(**{"features": 7, "num_actions": 4, setting: 0})


def test_policy_and_value_heads() -> None:
    torch.manual_seed(0)
    network = PolicyValueNetwork(build_encoder("mlp", (3,), 1.0), 4)
    observations = torch.randn(6, 3)
    logits, values = network.policy_and_value(observations)
    assert (logits.shape, values.shape) == ((6, 4), (6,))
    torch.testing.assert_close(network(observations), logits.log_softmax(1))
    torch.testing.assert_close(network(observations).exp(), torch.full((6, 4), 0.25), atol=0.02, rtol=0)  # gain 0.01
    assert values.abs().max() > 0.02
