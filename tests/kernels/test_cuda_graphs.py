"""Graphed functions: a replay equals the eager call, or the function runs eagerly."""

from __future__ import annotations

import logging

import pytest
import torch
from tests.tape import Tape, _Writing
from torch import Tensor

from hadamax.errors import UserError
from hadamax.kernels import cuda_graphs
from hadamax.kernels.cuda_graphs import WARMUP_CALLS, CudaGraphCapturer, GraphedFunction, graph_capturer


class Sum:
    """Add the input to a total and count the calls."""

    def __init__(self) -> None:
        self.total, self.runs = torch.zeros(3), 0

    def __call__(self, x: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
        self.runs += 1
        self.total += x * factor
        return self.total * 2, x.sum()


def test_replay_equals_the_eager_call() -> None:
    function, plain, tape = Sum(), Sum(), Tape()
    recording = GraphedFunction(function, tape, lambda: [[function.total]])
    for number in range(10):
        x, factor = torch.arange(3.0) + number, torch.tensor(0.5 * number)
        for found, expected in zip(recording(x, factor), plain(x, factor), strict=True):
            assert torch.equal(found, expected)
        assert torch.equal(function.total, plain.total)
    assert function.runs == WARMUP_CALLS + 2  # one more to compare, one to record
    assert tape.replays == 10 - WARMUP_CALLS


def test_outputs_survive_the_next_replay() -> None:
    recording = GraphedFunction(lambda x: (x * 2,), Tape())
    kept = [recording(torch.full((2,), float(number)))[0] for number in range(12)]
    assert [int(value[0]) for value in kept] == [2 * number for number in range(12)]


def test_each_input_shape_has_its_own_graph() -> None:
    tape = Tape()
    recording = GraphedFunction(lambda x: (x.float().mean(),), tape)
    for number in range(12):
        for x in (torch.full((2,), number), torch.full((5,), number), torch.full((2,), float(number))):
            assert recording(x)[0] == number
    assert len(recording.graphs) == 3
    assert tape.replays == 3 * (12 - WARMUP_CALLS)


def test_runs_eagerly_without_a_capturer() -> None:
    function = Sum()
    recording = GraphedFunction(function, None, lambda: [[function.total]])
    for _ in range(12):
        recording(torch.ones(3), torch.ones(()))
    assert function.runs == 12


class Counting(Sum):
    """Use a Python number, which a recording would freeze."""

    def __call__(self, x: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
        super().__call__(x, factor)
        self.total += 10 * self.runs
        return self.total * 2, x.sum()


class Asking(Sum):
    """Read a value back, which a capture cannot do."""

    def __call__(self, x: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
        outputs = super().__call__(x, factor)
        self.total += float(x.max())
        return outputs


class Elsewhere(Sum):
    """Use new memory on each call."""

    def __call__(self, x: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
        self.runs += 1
        self.total = self.total + x * factor
        return self.total * 2, x.sum()


@pytest.mark.parametrize("kind", [Counting, Asking, Elsewhere])
def test_runs_eagerly_if_replay_differs(kind: type[Sum], caplog: pytest.LogCaptureFixture) -> None:
    function, plain, tape = kind(), kind(), Tape()
    recording = GraphedFunction(function, tape, lambda: [[function.total]])
    with caplog.at_level(logging.WARNING):
        for number in range(12):
            plain.runs = function.runs  # one more was run to record
            x, factor = torch.arange(3.0) + number + 1, torch.tensor(2.0)
            for found, expected in zip(recording(x, factor), plain(x, factor), strict=True):
                assert torch.equal(found, expected)
            assert torch.equal(function.total, plain.total)
    assert tape.failed
    assert not recording.graphs
    assert [record.message.count("No CUDA graphs") for record in caplog.records] == [1]


def test_small_tensors_are_compared_on_their_own_scale() -> None:
    """A wrong replay that leaves the weights unchanged, while the moments move correctly."""
    weights, moments = torch.ones(3), torch.zeros(3)

    def function(x: Tensor) -> tuple[Tensor]:
        moments.add_(x)
        if not isinstance(torch.utils._python_dispatch._get_current_dispatch_mode(), _Writing):
            weights.sub_(1e-4 * moments)
        return (x.sum(),)

    tape = Tape()
    recording = GraphedFunction(function, tape, lambda: [[weights], [moments]])
    for number in range(12):
        recording(torch.full((3,), 1.0 + number))
    assert tape.failed
    assert torch.allclose(weights, 1 - 1e-4 * sum(torch.full((3,), float(n * (13 - n))) for n in range(1, 13)))


def test_failed_capture_is_not_retried() -> None:
    tape = Tape()
    asking, plain = GraphedFunction(Asking(), tape), GraphedFunction(lambda x: (x * 2,), tape)
    for number in range(12):
        asking(torch.ones(3), torch.ones(()))
        assert plain(torch.full((2,), float(number)))[0][0] == 2 * number
    assert not plain.graphs


def test_rounding_differences_are_accepted_and_larger_ones_not() -> None:
    value = torch.tensor([1.0, -200.0])
    assert cuda_graphs._same_outputs([value * 1.01], [value])
    assert not cuda_graphs._same_outputs([value * 1.03], [value])
    assert not cuda_graphs._same_outputs([value * torch.nan], [value])
    before, after = torch.zeros(2), torch.tensor([3.0, 4.0])
    assert cuda_graphs._same_change([after + 0.1], [after], [before])
    assert cuda_graphs._same_change([before], [before], [before])
    assert cuda_graphs._same_change([after * (1 + 1e-8)], [after], [after])
    assert not cuda_graphs._same_change([after * (1 + 1e-6)], [after], [after])
    assert not cuda_graphs._same_change([after + 1], [after], [before])
    assert not cuda_graphs._same_change([before], [after], [before])
    assert not cuda_graphs._same_change([after * torch.nan], [after], [before])


def test_captures_only_on_a_gpu_and_if_enabled(monkeypatch: pytest.MonkeyPatch) -> None:
    assert graph_capturer(torch.device("cpu")) is None
    monkeypatch.setenv("HADAMAX_GRAPHS", "off")
    assert graph_capturer(torch.device("cuda")) is None
    monkeypatch.setenv("HADAMAX_GRAPHS", "no")
    with pytest.raises(UserError, match="HADAMAX_GRAPHS: 'no' is unknown; expected one of auto, off"):
        graph_capturer(torch.device("cpu"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a card")
def test_graph_on_a_gpu() -> None:
    device = torch.device("cuda")
    function, plain = Sum(), Sum()
    function.total, plain.total = function.total.to(device), plain.total.to(device)
    recording = GraphedFunction(function, CudaGraphCapturer(device), lambda: [[function.total]])
    for number in range(10):
        x, factor = torch.arange(3.0, device=device) + number, torch.tensor(0.5 * number, device=device)
        for found, expected in zip(recording(x, factor), plain(x, factor), strict=True):
            assert torch.equal(found, expected)
    assert function.runs == WARMUP_CALLS + 2
    assert torch.equal(function.total, plain.total)
