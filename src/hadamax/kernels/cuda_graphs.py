"""CUDA graphs: a function on a GPU is captured once and replayed, with one launch instead of hundreds."""

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
WARMUP_CALLS = 6  # kernels are compiled in these, and RAdam's sixth step is the first of its rectified form
# Relative tolerances of the first replay: sums on a GPU are not always deterministic.
OUTPUT_TOLERANCE, CHANGE_TOLERANCE = 0.02, 0.05
ROUNDING = 1e-7

log = logging.getLogger("hadamax.kernels")


class CapturedGraph(NamedTuple):
    """A captured function: `replay` reads `inputs` and writes `outputs`."""

    inputs: Sequence[Tensor]
    outputs: Sequence[Tensor]
    replay: Callable[[], None]

    def __call__(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        for static, given in zip(self.inputs, inputs, strict=True):
            static.copy_(given)
        self.replay()
        return tuple(output.clone() for output in self.outputs)


class GraphCapturer(Protocol):
    """Runs a function as written, or captures it as a graph. Not used again after it has failed."""

    failed: bool

    def run(self, function: Function, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]: ...

    def capture(self, function: Function, inputs: Sequence[Tensor]) -> CapturedGraph: ...


class CudaGraphCapturer:
    """Capturer of CUDA graphs, with one stream for warm-up calls and captures."""

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

    def capture(self, function: Function, inputs: Sequence[Tensor]) -> CapturedGraph:
        graph, current = torch.cuda.CUDAGraph(), torch.cuda.current_stream(self.device)
        static = [torch.zeros_like(x) for x in inputs]
        try:
            with (
                _no_garbage_collection(),
                torch.cuda.device(self.device),
                torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"),
            ):
                outputs = function(*static)
        finally:
            torch.cuda.set_stream(current)  # a failed capture does not restore it
        return CapturedGraph(static, outputs, graph.replay)


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Disable garbage collection, since freeing an older graph during a capture can invalidate the capture."""
    gc.collect()
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def graph_capturer(device: torch.device) -> GraphCapturer | None:
    """Return the capturer of a device; None without CUDA, or if the environment has `HADAMAX_GRAPHS=off`.

    Raises:
        EnvironmentVariableError: `HADAMAX_GRAPHS` is neither `auto` nor `off`.
    """
    wanted = environment_variable("HADAMAX_GRAPHS", ("auto", "off")) == "auto"
    return CudaGraphCapturer(device) if device.type == "cuda" and wanted else None


class GraphedFunction:
    """CUDA-graph wrapper around a function of tensors, with one graph per shapes and dtypes of its inputs.

    The first replay is compared with the function itself. If they differ, or if a capture fails, every later call runs
    the function as written.

    Args:
        function: maps tensors to a tuple of tensors without gradients. Everything else that it reads or writes must
            keep its address in memory; Python numbers keep the value that they had at the capture.
        capturer: None to always run the function as written.
        mutated_tensors: returns the tensors that the function changes in place, in groups of the same kind (for
            example parameters, first moments), whose changes are compared together.
    """

    def __init__(
        self,
        function: Function,
        capturer: GraphCapturer | None,
        mutated_tensors: Callable[[], Sequence[Sequence[Tensor]]] = tuple,
    ) -> None:
        self.function, self.capturer, self.mutated_tensors = function, capturer, mutated_tensors
        self.calls: dict[object, int] = {}
        self.graphs: dict[object, CapturedGraph] = {}

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        if self.capturer is None or self.capturer.failed:
            return self.function(*inputs)
        signature = tuple((x.shape, x.dtype) for x in inputs)
        if signature in self.graphs:
            return self.graphs[signature](inputs)
        self.calls[signature] = self.calls.get(signature, 0) + 1
        if self.calls[signature] <= WARMUP_CALLS:
            return self.capturer.run(self.function, inputs)
        return self._capture(self.capturer, signature, inputs)

    def _capture(self, capturer: GraphCapturer, signature: object, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Run the function, capture it, and keep the graph if its first replay gives the same result."""
        before = [_copies(group) for group in self.mutated_tensors()]
        expected = _copies(capturer.run(self.function, inputs))
        after = [_copies(group) for group in self.mutated_tensors()]
        try:
            graph = capturer.capture(self.function, inputs)
            self._restore(before)
            found = graph(inputs)
            if not _same_outputs(found, expected) or not all(map(_same_change, self.mutated_tensors(), after, before)):
                raise RuntimeError("a replay differs from the function")
        except RuntimeError as error:
            log.warning("No CUDA graphs: %s. Operations are launched one by one, which is slower.", _reason(error))
            capturer.failed = True
            self._restore(after)
            return expected
        self.graphs[signature] = graph
        return found

    @torch.no_grad()
    def _restore(self, groups: Sequence[Sequence[Tensor]]) -> None:
        for tensors, values in zip(self.mutated_tensors(), groups, strict=True):
            for tensor, value in zip(tensors, values, strict=True):
                tensor.copy_(value)


def _copies(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return tuple(tensor.detach().clone() for tensor in tensors)


def _same_outputs(found: Sequence[Tensor], expected: Sequence[Tensor]) -> bool:
    pairs = zip(found, expected, strict=True)
    return all(bool((f - e).abs().max() <= OUTPUT_TOLERANCE * e.abs().max() + 1e-6) for f, e in pairs)


@torch.no_grad()
def _same_change(found: Sequence[Tensor], expected: Sequence[Tensor], before: Sequence[Tensor]) -> bool:
    """Return True if the error of a group is small relative to the norm of its change, plus rounding."""
    wrong = sum((f - e).double().square().sum() for f, e in zip(found, expected, strict=True))
    moved = sum((e - b).double().square().sum() for e, b in zip(expected, before, strict=True))
    size = sum(e.double().square().sum() for e in expected)
    return bool(torch.as_tensor(wrong <= CHANGE_TOLERANCE**2 * moved + ROUNDING**2 * size))


def _reason(error: BaseException) -> str:
    """Return the first line of the original error; ending a failed capture raises further ones."""
    while error.__context__ is not None:
        error = error.__context__
    return (str(error).splitlines() or [""])[0][:200]
