"""What every test begins from and leaves behind; and the tests that belong to an extra.

`pytest --extra=sb3` runs those marked `extra("sb3")` and no others, and does not start where a package of the extra is
missing: there they cannot be skipped unseen.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from importlib.util import find_spec

import pytest
import torch
from hypothesis import HealthCheck, settings

# No property is timed, nor how long its cases take to draw: others may have the cores meanwhile.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

# Without a card, Triton's kernels are tested in its interpreter.
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"

# The packages that an extra's tests import.
EXTRAS: dict[str, tuple[str, ...]] = {
    "sb3": ("stable_baselines3", "sb3_contrib", "cv2"),
    "flax": ("flax", "jax", "optax"),
    "torchrl": ("torchrl", "tensordict", "cv2"),
    "ray": ("ray",),
    "wandb": ("wandb",),
    "docs": ("mkdocs", "material"),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--extra", choices=sorted(EXTRAS), help="only the tests of this extra, which must be installed")


def pytest_configure(config: pytest.Config) -> None:
    extra = config.getoption("--extra")
    missing = [package for package in EXTRAS.get(extra, ()) if find_spec(package) is None]
    if missing:
        raise pytest.UsageError(
            f"--extra {extra}: {', '.join(missing)} not installed; pip install 'hadamax-rl[{extra}]'"
        )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    extra = config.getoption("--extra")
    if extra:
        config.hook.pytest_deselected(items=[item for item in items if extra not in marked(item)])
        items[:] = [item for item in items if extra in marked(item)]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Iterator[object]:
    """No test depends on those before it, which are others each time.

    PyTorch's random numbers begin anew. So does the number of its threads: tensors this small are slower on two, and a
    test that wants two says so. The command line's handlers of signals outlive it, to the end of its process; here, to
    the end of a test.
    """
    from hadamax.networks.fast_path import forget_plans  # after TRITON_INTERPRET is set

    torch.manual_seed(0)
    torch.set_num_threads(1)
    forget_plans()  # a test may simulate a machine without kernels
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        return (yield)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for extra in marked(item):
        if any(find_spec(package) is None for package in EXTRAS[extra]):
            pytest.skip(f"needs the extra: pip install 'hadamax-rl[{extra}]'")


def marked(item: pytest.Item) -> list[str]:
    """The extras that a test needs."""
    return [mark.args[0] for mark in item.iter_markers("extra")]
