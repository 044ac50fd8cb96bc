"""Settings of the whole suite: markers, hypothesis profiles, and the state that each test starts from.

`pytest --extra=sb3` runs the tests marked `extra("sb3")` and no others; `--extra=all` those of every extra. It stops at
once if a package of the extra is missing, so that these tests are not skipped unnoticed.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

# No deadline: other processes may use the cores. HYPOTHESIS_PROFILE=full draws more examples.
settings.register_profile("fast", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=20)
settings.register_profile("full", settings.get_profile("fast"), max_examples=100)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))

# Without a GPU, the Triton kernels run in Triton's interpreter.
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"

# The packages that the tests of an extra import.
EXTRAS: dict[str, tuple[str, ...]] = {
    "sb3": ("stable_baselines3", "sb3_contrib", "cv2"),
    "flax": ("flax", "jax", "optax"),
    "torchrl": ("torchrl", "tensordict", "cv2"),
    "ray": ("ray",),
    "wandb": ("wandb",),
    "docs": ("mkdocs", "material"),
}
KERNELS = Path(__file__).with_name("kernels")


def pytest_addoption(parser: pytest.Parser) -> None:
    choices = [*sorted(EXTRAS), "all"]
    parser.addoption("--extra", choices=choices, help="only the tests of this extra, which must be installed")


def pytest_configure(config: pytest.Config) -> None:
    for extra in chosen_extras(config):
        missing = [package for package in EXTRAS[extra] if find_spec(package) is None]
        if missing:
            names = ", ".join(missing)
            raise pytest.UsageError(f"--extra {extra}: {names} not installed; pip install 'hadamax-rl[{extra}]'")


def chosen_extras(config: pytest.Config) -> set[str]:
    """Return the extras that `--extra` selects; none without it."""
    extra = config.getoption("--extra")
    return set(EXTRAS) if extra == "all" else {extra} - {None}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    chosen = chosen_extras(config)
    if chosen:
        config.hook.pytest_deselected(items=[item for item in items if not chosen & set(extras_of(item))])
        items[:] = [item for item in items if chosen & set(extras_of(item))]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[object]:
    """Start each test from the same state, whatever ran before.

    This seeds PyTorch, sets one thread (small tensors are slower on two), and restores the signal handlers, which the
    command line replaces for the rest of its process. The compiled kernels are on in tests/kernels and in tests marked
    `kernels`; elsewhere the reference runs, so that no test waits for a compiler.
    """
    from hadamax.networks.fast_path import forget_plans  # after TRITON_INTERPRET is set

    torch.manual_seed(0)
    torch.set_num_threads(1)
    forget_plans()  # the last test may have simulated a machine without kernels
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with pytest.MonkeyPatch.context() as patch:
        if KERNELS not in item.path.parents and item.get_closest_marker("kernels") is None:
            patch.setenv("HADAMAX_KERNELS", "reference")
        try:
            return (yield)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for extra in extras_of(item):
        if any(find_spec(package) is None for package in EXTRAS[extra]):
            pytest.skip(f"needs the extra: pip install 'hadamax-rl[{extra}]'")


def extras_of(item: pytest.Item) -> list[str]:
    """Return the extras that a test needs."""
    return [mark.args[0] for mark in item.iter_markers("extra")]
