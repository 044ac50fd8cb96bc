"""All measurements together, warnings in words, and pictures."""

from __future__ import annotations

import io
import math

import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from tests.diagnostics.networks import ResNet, mlp
from torch import nn

from hadamax.diagnostics import (
    Health,
    dead_neurons,
    dormant_neurons,
    effective_rank,
    feature_norm,
    measure,
    observe,
    stable_rank,
)
from hadamax.diagnostics import pictures as drawing
from hadamax.diagnostics.health import last_linear, shares
from hadamax.diagnostics.pictures import draw_dead, draw_densities, draw_ranks, draw_spectra
from hadamax.diagnostics.records import Sample
from hadamax.diagnostics.signs import signs
from hadamax.networks import HadamardLinear


def broken() -> nn.Sequential:
    """20 of 64 tanh units saturated, 30 of 64 ReLU units silent, then a layer that is nearly constant."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 64), nn.Tanh(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.Tanh())
    network.append(nn.Linear(64, 3))
    with torch.no_grad():
        network[0].bias[:20] += 8
        network[2].bias[:30] -= 50
        network[4].weight[:] *= 1e-4
        network[4].bias[:] = 3.0
    return network


def test_measurements_equal_their_functions() -> None:
    samples = observe(broken(), torch.randn(500, 6))
    health = measure(samples, seed=3)
    assert [h.layer for h in health] == ["1", "3", "5"]
    for h, sample in zip(health, samples, strict=True):
        values = sample.activations
        generator = torch.Generator().manual_seed(3)
        assert h.dead_kde == pytest.approx(dead_neurons(values, generator=generator).float().mean().item())
        assert h.dormant == pytest.approx(dormant_neurons(values).float().mean().item())
        assert (h.effective_rank, h.stable_rank) == (effective_rank(values), stable_rank(values))
        assert h.feature_norm == feature_norm(values)
        assert (h.units, h.samples, h.map_rank, h.map_samples) == (64, 500, None, None)
    assert health[0].dead_kde == pytest.approx(20 / 64)
    assert health[0].dead_saturated == pytest.approx(20 / 64)
    assert health[0].saturated is not None
    assert health[0].saturated > 20 / 64
    assert (health[1].saturated, health[1].dead_saturated) == (None, None)
    assert health[1].dead_zero is not None
    assert health[1].dead_zero >= 30 / 64


def test_convolutions_have_two_ranks() -> None:
    health = measure(observe(ResNet(), torch.randn(40, 3, 32, 32)))
    first = health[0]
    assert (first.layer, first.units, first.map_samples) == ("relu", 8, 40)
    assert first.effective_rank is not None
    assert first.map_rank is not None
    assert first.effective_rank <= 8 < first.map_rank <= 40


def test_undefined_measurements_are_omitted() -> None:
    one = nn.Sequential(nn.Linear(3, 1), nn.Tanh(), nn.Linear(1, 2), nn.ReLU())
    with torch.no_grad():
        one[2].bias[:] = -9.0
    single, silent = measure(observe(one, torch.randn(30, 3)))
    assert (single.dormant, single.effective_rank, single.stable_rank) == (None, None, None)
    assert (silent.dead_zero, silent.dormant, silent.effective_rank, silent.stable_rank) == (1.0, 1.0, 1, None)


def test_errors_name_the_layer() -> None:
    with pytest.raises(ValueError, match=r"^layer 1: activations has 1 samples; expected 2 or more$"):
        measure(observe(mlp(), torch.randn(1, 4)))
    with pytest.raises(ValueError, match=r"^layer 1: activations contains a value that is not finite$"):
        measure(observe(mlp(), torch.full((5, 4), torch.nan)))


def test_unhealthy_layers_get_a_warning() -> None:
    network = broken()
    observations = torch.randn(500, 6)
    samples = observe(network, observations)
    found = signs(measure(samples), shares(network, samples, observations))
    expected = [
        "1: 31% of its 64 units are dead (almost constant); the warning threshold is 15%",
        "3: ",
        "5: 100% of its 64 units are dead (almost constant)",
        "5: 100% of its activations are saturated",
        "5: the effective rank has collapsed to 1 of 64",
        "5: dead units add",
    ]
    for beginning in expected:
        assert any(sentence.startswith(beginning) for sentence in found), (beginning, found)


def test_healthy_network_gets_no_warning() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(30, 40), nn.Tanh(), nn.Linear(40, 30), nn.ReLU(), nn.Linear(30, 2))
    observations = torch.randn(1000, 30)
    samples = observe(network, observations)
    assert signs(measure(samples), shares(network, samples, observations)) == []


def test_warning_names_the_live_branch() -> None:
    torch.manual_seed(0)
    layer = HadamardLinear(10, 20)
    with torch.no_grad():
        layer.bias[:10] += 9  # half of the first branch saturates; the second keeps the product alive
    found = signs(measure(observe(layer, torch.randn(1000, 10))))
    assert any("branch 1: 50% of its 20 units are dead" in s and "keeps most alive" in s for s in found), found
    with torch.no_grad():
        layer.bias[20:30] += 9
    found = signs(measure(observe(layer, torch.randn(1000, 10))))
    assert any("branch 1: 50%" in s and "does not help" in s for s in found), found


def test_warning_tells_early_from_late_collapse() -> None:
    def health(layer: str, rank: int) -> Health:
        return Health(layer, "output", 64, 500, 0.0, 0.0, None, 0.0, None, 10, 2.0, rank, 500, 1.0)

    (early,) = signs([health("a", 25), health("b", 26)])
    assert early == (
        "a: the effective rank of its flattened map has collapsed to 25 of 500 in an early layer; "
        "later layers cannot recover the lost information"
    )
    (late,) = signs([health("a", 26), health("b", 25)])
    assert late.startswith("b: ")
    assert "early" not in late


def test_last_layer_is_found() -> None:
    network = mlp()
    assert last_linear(network, 8) is network[5]
    assert last_linear(network, 9) is None
    assert last_linear(nn.Sequential(nn.ReLU()), 8) is None
    observations = torch.randn(100, 4)
    samples = observe(network, observations)
    found = shares(network, samples, observations)
    assert found is not None
    expected = (network[5](samples[-1].activations) - network[5].bias).mean().item()
    assert sum(found) == pytest.approx(expected, abs=1e-6)


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    made: list[Figure] = []
    png = drawing._png
    monkeypatch.setattr(drawing, "_png", lambda figure: made.append(figure) or png(figure))
    return made


def test_densities_are_drawn(figures: list[Figure]) -> None:
    sample = observe(broken(), torch.randn(500, 6))[0]
    picture = Image.open(io.BytesIO(draw_densities(sample, "a title")))
    assert picture.size == (1080, 960)
    (figure,) = figures
    assert len(figure.axes) == 16
    for axes in figure.axes:
        unit = int(axes.get_title().split()[1].rstrip(":"))
        dead = "dead" in axes.get_title()
        assert dead == (unit < 20)
        assert (axes.spines["left"].get_linewidth() > 2) == dead
        line = axes.lines[0].get_ydata()
        peak = float(axes.get_title().split()[3].rstrip(","))
        assert max(line) == pytest.approx(peak, rel=0.02)  # the narrow peak is drawn in full
        low, high = axes.get_xlim()
        assert low < -1 < 1 < high
    few = Sample("x", "output", torch.randn(50, 3).relu(), None, (0.0, math.inf))
    draw_densities(few, "")
    assert sum(axes.get_visible() for axes in figures[1].axes) == 3


@pytest.mark.parametrize("unit_range", [(-1.0, 1.0), (0.0, math.inf)])
@pytest.mark.parametrize("name", ["encoder.dense.0", "block.3.attention.projection." * 4 + "0"])
def test_titles_fit_into_the_picture(name: str, unit_range: tuple[float, float], figures: list[Figure]) -> None:
    title = "MinAtar/SpaceInvaders-v1, hadamax-minatar, sigmoid x tanh x relu, width 0.5, agent of frame 40,000,000"
    activations = torch.randn(50, 512).clamp(*unit_range)
    sample = Sample(name, "output", activations, None, unit_range)
    draw_densities(sample, title)
    draw_spectra([sample], title)
    for figure in figures:
        assert figure._suptitle is not None
        box = figure._suptitle.get_window_extent()
        assert figure.bbox.xmin < box.xmin < box.xmax < figure.bbox.xmax
        assert box.ymax < figure.bbox.ymax
        assert all(axes.title.get_window_extent().ymax < box.ymin for axes in figure.axes)


def test_spectra_are_drawn(figures: list[Figure]) -> None:
    samples = observe(ResNet(), torch.randn(40, 3, 32, 32))
    draw_spectra(samples, "a title")
    (axes,) = figures[0].axes
    assert len(axes.lines) == len(samples)
    assert "(map): effective rank" in axes.lines[0].get_label()
    y = axes.lines[0].get_ydata()
    rank = effective_rank(samples[0].maps)
    assert sum(y[:rank]) >= 0.99 > sum(y[: rank - 1])
    assert axes.lines[0].get_markevery() == [rank - 1]


def test_curves_are_drawn(figures: list[Figure]) -> None:
    rows = [
        {
            "frame": str(frame),
            "observations": kind,
            "layer": layer,
            "part": part,
            "dead_kde": "0.25",
            "map_rank": "30" if layer == "conv" else "",
            "effective_rank": "7",
        }
        for frame in (1_000_000, 2_000_000)
        for kind in ("fixed", "fresh")
        for layer in ("conv", "dense")
        for part in ("branch 1", "output", "weights")
    ]
    draw_ranks(rows, "title")
    draw_dead(rows, "dead_kde", "dead, %", "title")
    for axes in figures[0].axes:
        assert {line.get_label(): list(line.get_ydata()) for line in axes.lines} == {"conv": [30, 30], "dense": [7, 7]}
        assert list(axes.lines[0].get_xdata()) == [1.0, 2.0]
        assert axes.get_ylim()[1] > 30
    for axes in figures[1].axes:
        labels = [line.get_label() for line in axes.lines]
        assert labels == ["conv branch 1", "conv", "dense branch 1", "dense", "warning threshold: 15%"]
        assert list(axes.lines[0].get_ydata()) == [25.0, 25.0]
