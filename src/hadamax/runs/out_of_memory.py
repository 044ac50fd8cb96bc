"""Too little memory, on a card or on the host: what would fit, in one line."""

from __future__ import annotations

import contextlib
import traceback
from typing import Any, NamedTuple

import torch
from torch import nn

from hadamax.algorithms import Algorithm
from hadamax.errors import UserError

SHORTAGES = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    "could not create a memory object",
    "bad_alloc",
    "alloc_failed",
)


def is_shortage(error: BaseException) -> bool:
    """Whether an error says that memory ran out: PyTorch's own, or what its parts raise instead."""
    said = str(error).lower()
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(word in said for word in SHORTAGES)


class Batch(NamedTuple):
    """A setting that decides how many rows an update has."""

    name: str
    value: int
    rows: int


def advice(algorithm: Algorithm, error: BaseException) -> UserError:
    """The line for a run whose iteration met a shortage.

    Where an update did, smaller ones are tried, and the largest that fits is named.
    """
    learning = any(place.name == "update" for place in traceback.extract_tb(error.__traceback__))
    traceback.clear_frames(error.__traceback__)  # they hold the tensors of the update that failed
    parameter = next(algorithm.network.parameters())
    _give_back(parameter.device)
    where = _describe(parameter.device)
    if not learning:
        games = algorithm.environment.num_envs
        return UserError(
            f"num_envs, num_test_envs: {games} games played and acted for at once are too many for the memory of "
            f"{where}; expected fewer, or a smaller encoder (width, features)"
        )
    current, *smaller = _batches(getattr(algorithm, "settings", None))
    begin = f"{current.name}: {current.value} makes updates of {current.rows} rows, too many for the memory of {where}"
    shape = (1, *algorithm.environment.observation_shape)
    row = torch.from_numpy(algorithm.environment.observations[:1]).reshape(shape).to(parameter.device)
    precision = getattr(algorithm, "precision", torch.float32)
    for batch in smaller:
        if fits(algorithm.network, row, batch.rows, precision):
            return UserError(f"{begin}; expected {batch.value} ({batch.rows} rows fit)")
    return UserError(f"{begin}, and so are fewer; expected a smaller encoder (width, features) or fewer num_envs")


def fits(network: nn.Module, row: torch.Tensor, rows: int, precision: torch.dtype) -> bool:
    """Whether a forward and a backward pass over so many rows fit, beside an optimizer's two moments."""
    device = row.device
    try:
        moments = [torch.ones_like(parameter) for parameter in network.parameters() for _ in range(2)]
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            loss = network(row.repeat(rows, *[1] * (row.dim() - 1))).float().sum()
        parameters = [p for p in network.parameters() if p.requires_grad]
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)  # acting takes no value head
        del moments, gradients, loss
    except (MemoryError, RuntimeError) as error:  # whatever it says: with fewer rows the same has worked
        traceback.clear_frames(error.__traceback__)
        return False
    finally:
        _give_back(device)
    return True


def _batches(settings: Any) -> list[Batch]:
    """The batch that the settings ask for, then smaller ones."""
    if hasattr(settings, "num_minibatches"):
        rows = settings.num_envs * settings.num_steps
        numbers = [n for n in _doublings(settings.num_minibatches, rows) if rows % n == 0]
        return [Batch("num_minibatches", n, rows // n) for n in numbers]
    size = getattr(settings, "batch_size", 1)
    return [Batch("batch_size", n, n) for n in (size >> i for i in range(size.bit_length()))]


def _doublings(first: int, last: int) -> list[int]:
    return [first << i for i in range(64) if first << i <= last]


def _give_back(device: torch.device) -> None:
    """What PyTorch keeps of a card's memory and does not use."""
    if device.type == "cuda":
        with contextlib.suppress(RuntimeError):  # of some versions, after a recording that failed
            torch.cuda.empty_cache()


def _describe(device: torch.device) -> str:
    if device.type != "cuda":
        return "this machine"
    free, total = torch.cuda.mem_get_info(device)
    return f"{device} ({torch.cuda.get_device_name(device)}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free)"
