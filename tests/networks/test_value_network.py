"""The losses of PQN's heads against PyTorch's, per row and member."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from hadamax.algorithms.pqn import PQN
from hadamax.functional import bin_centres, hl_gauss, vote
from hadamax.networks import QNetwork, build_encoder
from hadamax.networks.heads import ValueNetwork

CENTRES = bin_centres(-10, 10, 51)


def build(**settings: object) -> ValueNetwork:
    torch.manual_seed(0)
    return ValueNetwork(build_encoder("mlp", (5,), 1.0), 3, **settings)


def test_plain_network_equals_a_q_network() -> None:
    torch.manual_seed(0)
    plain, network = QNetwork(build_encoder("mlp", (5,), 1.0), 3), build()
    assert plain.state_dict().keys() == network.state_dict().keys()
    observations = torch.randn(4, 5)
    assert torch.equal(plain(observations), network(observations))


def test_squared_errors_of_every_member() -> None:
    network, actions, targets = build(members=4), torch.tensor([0, 2]), torch.randn(2, 4)
    outputs = network.outputs(torch.randn(2, 5))
    losses, q = PQN.loss(network, outputs, actions, targets)
    for row, action in enumerate(actions):
        for member in range(4):
            value = outputs[row, member, action, 0]
            assert q[row, member] == value
            torch.testing.assert_close(losses[row, member], 0.5 * F.mse_loss(value, targets[row, member]))


def test_cross_entropies_of_every_member() -> None:
    network, actions = build(members=2, centres=CENTRES), torch.tensor([1, 0, 2])
    targets = torch.tensor([[0.0, 3.0], [-12.0, 9.9], [1e6, 0.2]])
    outputs = network.outputs(torch.randn(3, 5))
    assert outputs.shape == (3, 2, 3, 51)
    losses, q = PQN.loss(network, outputs, actions, targets)
    for row, action in enumerate(actions):
        logits = outputs[row, :, action]
        expected = F.cross_entropy(logits, hl_gauss(targets[row], CENTRES), reduction="none")
        torch.testing.assert_close(losses[row], expected)
        torch.testing.assert_close(q[row], logits.softmax(-1) @ CENTRES)


def test_exact_histogram_has_no_gradient() -> None:
    network = build(centres=CENTRES)
    target = torch.tensor([[1.7]])
    logits = hl_gauss(target, CENTRES).clamp(min=1e-38).log()[:, :, None].requires_grad_()
    losses, q = PQN.loss(network, logits.expand(1, 1, 3, 51), torch.tensor([0]), target)
    (gradient,) = torch.autograd.grad(losses.sum(), logits)
    assert gradient.abs().max() < 1e-6
    torch.testing.assert_close(q, target, atol=1e-4, rtol=0)


def test_acting_values_of_each_head() -> None:
    one, many = build(centres=CENTRES, dueling=True), build(members=5)
    observations = torch.randn(7, 5)
    assert torch.equal(one(observations), one.values(one.outputs(observations)).squeeze(1))
    assert one.score_name == "Q-value"
    assert torch.equal(many(observations), vote(many.values(many.outputs(observations))))
    assert many.score_name == "vote"


def test_bin_centres_follow_the_dtype_and_are_not_saved() -> None:
    network = build(centres=CENTRES).double()
    assert network(torch.randn(2, 5, dtype=torch.float64)).dtype == torch.float64
    assert set(network.state_dict()) == set(build().state_dict())
