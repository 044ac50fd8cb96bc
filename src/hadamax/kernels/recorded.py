"""A function on a card, recorded once as a graph and replayed: one launch in place of hundreds."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from hadamax.errors import environment_variable

Function = Callable[..., tuple[Tensor, ...]]
WARM = 3  # calls before a recording: libraries choose algorithms and kernels are compiled meanwhile
OUTPUTS, CHANGES = 0.02, 0.05  # how far a replay may be off, relative: not every sum on a card repeats to the bit

log = logging.getLogger("hadamax.kernels")


class Recording(NamedTuple):
    """What was recorded reads `inputs` and writes `outputs`, whenever `replay` is called."""

    inputs: Sequence[Tensor]
    outputs: Sequence[Tensor]
    replay: Callable[[], None]

    def __call__(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        for mine, given in zip(self.inputs, inputs, strict=True):
            mine.copy_(given)
        self.replay()
        return tuple(output.clone() for output in self.outputs)


class Recorder(Protocol):
    """Runs a function as written, or records what it does to memory."""

    def run(self, function: Function, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]: ...

    def record(self, function: Function, inputs: Sequence[Tensor]) -> Recording: ...


class CudaGraphs:
    """CUDA's own graphs: one stream for the calls before a recording and for the recording itself."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def run(self, function: Function, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        current = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            outputs = function(*inputs)
        current.wait_stream(self.stream)
        return outputs

    def record(self, function: Function, inputs: Sequence[Tensor]) -> Recording:
        graph = torch.cuda.CUDAGraph()
        held = [torch.zeros_like(x) for x in inputs]
        with (
            torch.cuda.device(self.device),
            torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"),
        ):
            outputs = function(*held)
        return Recording(held, outputs, graph.replay)


def recorder(device: torch.device) -> Recorder | None:
    """What records on a device; None where nothing does, or `HADAMAX_GRAPHS=off` is in the environment.

    Raises:
        EnvironmentVariableError: it is neither `auto` nor `off`.
    """
    wanted = environment_variable("HADAMAX_GRAPHS", ("auto", "off")) == "auto"
    return CudaGraphs(device) if device.type == "cuda" and wanted else None


class Recorded:
    """A function of tensors, for each form of its inputs replayed once it has been recorded.

    The first replay is held against the function itself, and a recording that does not give the same is not used:
    then, and where nothing can be recorded, every call runs the function as written.

    Args:
        function: of tensors, to a tuple of tensors without gradients. What else it reads or writes must stay where it
            lies in memory, and any number that it takes from the host stays as it was when recorded.
        recorder: None: run the function as written.
        changes: the tensors that the function changes in place, as they are now.
    """

    def __init__(
        self, function: Function, recorder: Recorder | None, changes: Callable[[], Sequence[Tensor]] = tuple
    ) -> None:
        self.function, self.recorder, self.changes = function, recorder, changes
        self.calls: dict[object, int] = {}
        self.recordings: dict[object, Recording] = {}

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        if self.recorder is None:
            return self.function(*inputs)
        form = tuple((x.shape, x.dtype) for x in inputs)
        if form in self.recordings:
            return self.recordings[form](inputs)
        self.calls[form] = self.calls.get(form, 0) + 1
        if self.calls[form] <= WARM:
            return self.recorder.run(self.function, inputs)
        return self._recorded(self.recorder, form, inputs)

    def _recorded(self, recorder: Recorder, form: object, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Run the function, record it, and keep the recording if it does the same to the same."""
        before = _copies(self.changes())
        expected = recorder.run(self.function, inputs)
        after = _copies(self.changes())
        try:
            recording = recorder.record(self.function, inputs)
            _restore(self.changes(), before)
            found = recording(inputs)
            if not _alike(found, expected) or not _moved_alike(self.changes(), after, before):
                raise RuntimeError("a replay gives something else")
        except RuntimeError as error:
            reason = (str(error).splitlines() or [""])[0][:200]
            log.warning("No recorded graphs: %s. Every operation is launched by itself, slower.", reason)
            self.recorder = None
            _restore(self.changes(), after)
            return expected
        self.recordings[form] = recording
        return found


def _copies(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return tuple(tensor.detach().clone() for tensor in tensors)


@torch.no_grad()
def _restore(tensors: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    for tensor, value in zip(tensors, values, strict=True):
        tensor.copy_(value)


def _alike(found: Sequence[Tensor], expected: Sequence[Tensor]) -> bool:
    pairs = zip(found, expected, strict=True)
    return all(bool((f - e).abs().max() <= OUTPUTS * e.abs().max() + 1e-6) for f, e in pairs)


@torch.no_grad()
def _moved_alike(found: Sequence[Tensor], expected: Sequence[Tensor], before: Sequence[Tensor]) -> bool:
    """Whether tensors moved to where they should, all together, by the length of the way."""
    if not found:
        return True
    wrong = sum((f - e).double().square().sum() for f, e in zip(found, expected, strict=True))
    moved = sum((e - b).double().square().sum() for e, b in zip(expected, before, strict=True))
    return bool(torch.as_tensor(wrong) <= CHANGES**2 * torch.as_tensor(moved) + 1e-12)
