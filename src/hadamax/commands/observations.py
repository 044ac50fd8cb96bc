"""Observations of a file that cannot hold code: .npy, .safetensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from hadamax.errors import UserError, one_line


def read_observations(path: Path) -> Tensor:
    """Observations [N, ...].

    Raises:
        UserError: the file is of another kind, cannot be read, or holds something else.
    """
    try:
        if path.suffix == ".npy":
            read = np.load(path, allow_pickle=False)
            if not isinstance(read, np.ndarray):
                raise UserError(f"observations: {path} is an archive of arrays; valid: one array")
            observations = torch.from_numpy(read.astype(read.dtype.newbyteorder("="), copy=False))
        elif path.suffix == ".safetensors":
            tensors = load_file(path)
            if len(tensors) != 1 and "observations" not in tensors:
                raise UserError(f"observations: {path} holds {len(tensors)} tensors and none is named observations")
            observations = tensors.get("observations", next(iter(tensors.values())))
        else:
            raise UserError(f"observations: {str(path)!r} is of no known kind; valid: .npy, .safetensors")
    except OSError as error:
        raise UserError(f"observations: {path} cannot be read: {error.strerror or error}") from None
    except (ValueError, TypeError, SafetensorError, EOFError) as error:
        raise UserError(f"observations: {path} cannot be read: {one_line(error)}") from None
    if observations.ndim < 2:
        raise UserError(f"observations: {path} holds {[*observations.shape]}; wanted is [observations, ...]")
    return observations
