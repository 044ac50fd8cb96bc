"""A function on a card, recorded once as a graph and replayed: one launch in place of hundreds."""

from __future__ import annotations

import contextlib
import gc
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from hadamax.errors import environment_variable

Function = Callable[..., tuple[Tensor, ...]]
WARM = (
    6  # calls before a recording: kernels are compiled meanwhile, and RAdam's sixth step is the first of its last form
)
OUTPUTS, CHANGES = 0.02, 0.05  # how far a replay may be off, relative: not every sum on a card repeats to the bit
ROUNDING = 1e-7

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
    """Runs a function as written, or records what it does to memory. One that failed is not asked again."""

    failed: bool

    def run(self, function: Function, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]: ...

    def record(self, function: Function, inputs: Sequence[Tensor]) -> Recording: ...


class CudaGraphs:
    """CUDA's own graphs: one stream for the calls before a recording and for the recording itself."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.failed = device, False
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def run(self, function: Function, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        current = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            outputs = function(*inputs)
        current.wait_stream(self.stream)
        return outputs

    def record(self, function: Function, inputs: Sequence[Tensor]) -> Recording:
        graph, current = torch.cuda.CUDAGraph(), torch.cuda.current_stream(self.device)
        held = [torch.zeros_like(x) for x in inputs]
        try:
            with (
                _no_garbage(),
                torch.cuda.device(self.device),
                torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"),
            ):
                outputs = function(*held)
        finally:
            torch.cuda.set_stream(current)  # a recording that cannot be ended leaves its own behind
        return Recording(held, outputs, graph.replay)


@contextlib.contextmanager
def _no_garbage() -> Iterator[None]:
    """Nothing is collected meanwhile: freeing an older graph during a recording can break it off."""
    gc.collect()
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


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
        changes: the tensors that the function changes in place, as they are now, by kind: what moves alike.
    """

    def __init__(
        self, function: Function, recorder: Recorder | None, changes: Callable[[], Sequence[Sequence[Tensor]]] = tuple
    ) -> None:
        self.function, self.recorder, self.changes = function, recorder, changes
        self.calls: dict[object, int] = {}
        self.recordings: dict[object, Recording] = {}

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        if self.recorder is None or self.recorder.failed:
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
        before = [_copies(kind) for kind in self.changes()]
        expected = _copies(recorder.run(self.function, inputs))
        after = [_copies(kind) for kind in self.changes()]
        try:
            recording = recorder.record(self.function, inputs)
            self._restore(before)
            found = recording(inputs)
            if not _alike(found, expected) or not all(map(_moved_alike, self.changes(), after, before)):
                raise RuntimeError("a replay gives something else")
        except RuntimeError as error:
            log.warning("No recorded graphs: %s. Every operation is launched by itself, slower.", _reason(error))
            recorder.failed = True
            self._restore(after)
            return expected
        self.recordings[form] = recording
        return found

    @torch.no_grad()
    def _restore(self, kinds: Sequence[Sequence[Tensor]]) -> None:
        for tensors, values in zip(self.changes(), kinds, strict=True):
            for tensor, value in zip(tensors, values, strict=True):
                tensor.copy_(value)


def _copies(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return tuple(tensor.detach().clone() for tensor in tensors)


def _alike(found: Sequence[Tensor], expected: Sequence[Tensor]) -> bool:
    pairs = zip(found, expected, strict=True)
    return all(bool((f - e).abs().max() <= OUTPUTS * e.abs().max() + 1e-6) for f, e in pairs)


@torch.no_grad()
def _moved_alike(found: Sequence[Tensor], expected: Sequence[Tensor], before: Sequence[Tensor]) -> bool:
    """Whether tensors of one kind moved to where they should, together, by the length of the way and rounding."""
    wrong = sum((f - e).double().square().sum() for f, e in zip(found, expected, strict=True))
    moved = sum((e - b).double().square().sum() for e, b in zip(expected, before, strict=True))
    size = sum(e.double().square().sum() for e in expected)
    return bool(torch.as_tensor(wrong <= CHANGES**2 * moved + ROUNDING**2 * size))


def _reason(error: BaseException) -> str:
    """The first line of what began it: ending a recording that failed fails too."""
    while error.__context__ is not None:
        error = error.__context__
    return (str(error).splitlines() or [""])[0][:200]
