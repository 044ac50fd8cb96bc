"""GraphedFunction functions: what is replayed is what would have been done, or nothing is replayed."""

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
    """Adds what it is given, and counts how often it is run."""

    def __init__(self) -> None:
        self.total, self.runs = torch.zeros(3), 0

    def __call__(self, x: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
        self.runs += 1
        self.total += x * factor
        return self.total * 2, x.sum()


def test_replays_do_what_the_function_does() -> None:
    function, plain, tape = Sum(), Sum(), Tape()
    recording = GraphedFunction(function, tape, lambda: [[function.total]])
    for number in range(10):
        x, factor = torch.arange(3.0) + number, torch.tensor(0.5 * number)
        for found, expected in zip(recording(x, factor), plain(x, factor), strict=True):
            assert torch.equal(found, expected)
        assert torch.equal(function.total, plain.total)
    assert function.runs == WARMUP_CALLS + 2  # once more to compare with, once to record
    assert tape.replays == 10 - WARMUP_CALLS


def test_what_it_gave_does_not_change() -> None:
    recording = GraphedFunction(lambda x: (x * 2,), Tape())
    kept = [recording(torch.full((2,), float(number)))[0] for number in range(12)]
    assert [int(value[0]) for value in kept] == [2 * number for number in range(12)]


def test_every_form_of_the_inputs_is_recorded_by_itself() -> None:
    tape = Tape()
    recording = GraphedFunction(lambda x: (x.float().mean(),), tape)
    for number in range(12):
        for x in (torch.full((2,), number), torch.full((5,), number), torch.full((2,), float(number))):
            assert recording(x)[0] == number
    assert len(recording.graphs) == 3
    assert tape.replays == 3 * (12 - WARMUP_CALLS)


def test_without_a_recorder_the_function_runs() -> None:
    function = Sum()
    recording = GraphedFunction(function, None, lambda: [[function.total]])
    for _ in range(12):
        recording(torch.ones(3), torch.ones(()))
    assert function.runs == 12


class Counting(Sum):
    """Takes a number from the host, which a recording would keep as it was."""

    def __call__(self, x: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
        super().__call__(x, factor)
        self.total += 10 * self.runs
        return self.total * 2, x.sum()


class Asking(Sum):
    """Asks for a value that the card would have to be waited for."""

    def __call__(self, x: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
        outputs = super().__call__(x, factor)
        self.total += float(x.max())
        return outputs


class Elsewhere(Sum):
    """Its memory is another one every time."""

    def __call__(self, x: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
        self.runs += 1
        self.total = self.total + x * factor
        return self.total * 2, x.sum()


@pytest.mark.parametrize("kind", [Counting, Asking, Elsewhere])
def test_what_cannot_be_replayed_runs_as_written(kind: type[Sum], caplog: pytest.LogCaptureFixture) -> None:
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


def test_what_hardly_moves_is_judged_by_itself() -> None:
    """A replay that leaves the weights where they are, while their moments move as they should."""
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


def test_one_that_failed_is_not_asked_again() -> None:
    tape = Tape()
    asking, plain = GraphedFunction(Asking(), tape), GraphedFunction(lambda x: (x * 2,), tape)
    for number in range(12):
        asking(torch.ones(3), torch.ones(()))
        assert plain(torch.full((2,), float(number)))[0][0] == 2 * number
    assert not plain.graphs


def test_a_difference_of_rounding_is_none_and_a_larger_one_is() -> None:
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


def test_only_a_card_records_and_not_where_it_is_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    assert graph_capturer(torch.device("cpu")) is None
    monkeypatch.setenv("HADAMAX_GRAPHS", "off")
    assert graph_capturer(torch.device("cuda")) is None
    monkeypatch.setenv("HADAMAX_GRAPHS", "no")
    with pytest.raises(UserError, match="HADAMAX_GRAPHS: 'no' is unknown; expected one of auto, off"):
        graph_capturer(torch.device("cpu"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a card")
def test_on_a_card() -> None:
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
