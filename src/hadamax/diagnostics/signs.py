"""Warnings about a network's representation, as sentences.

Two thresholds are from the Hadamax paper (arXiv 2505.15345): more than 15% dead units, and a collapsed effective rank
in an early layer. The other thresholds are not from a paper.
"""

from __future__ import annotations

from collections.abc import Sequence

from hadamax.diagnostics.health import Health

DEAD = 0.15  # fraction of a layer's units; Hadamax stays below 0.08
DORMANT = 0.25  # fraction of a layer's units
SATURATED = 0.5  # fraction of activations
COLLAPSED = 0.05  # effective rank relative to its maximum
HIDDEN_BIAS = 0.25  # dead units' fraction of the summed absolute parts of the output


def signs(layers: Sequence[Health], output_parts: tuple[float, float] | None = None) -> list[str]:
    """Return one sentence per warning, an empty list if the network is healthy.

    Args:
        output_parts: contributions of live and of dead units of the last hidden layer to the output.
    """
    found = []
    last = layers[-1].layer if layers else ""
    for health in layers:
        name = health.layer if health.part == "output" else f"{health.layer} {health.part}"
        found += [
            f"{name}: {sentence}" for sentence in _dying(health, layers) + _collapsed(health, health.layer == last)
        ]
    if output_parts is not None:
        live, dead = map(abs, output_parts)
        if dead > HIDDEN_BIAS * (live + dead) > 0:
            found.append(
                f"{last}: dead units add {output_parts[1]:.3g} to the average output and live ones "
                f"{output_parts[0]:.3g}: a hidden bias (HR section 4)"
            )
    return found


def dead_fraction(health: Health) -> float:
    """Return the fraction of dead units: by HR's density for bounded activations, else by zero on every sample."""
    bounded = health.saturated is not None
    return (health.dead_kde if bounded else health.dead_zero) or 0.0


def _dying(health: Health, layers: Sequence[Health]) -> list[str]:
    found = []
    dead = dead_fraction(health)
    if dead > DEAD:
        form = "almost constant" if health.saturated is not None else "zero on every sample"
        text = f"{dead:.0%} of its {health.units} units are dead ({form}); the warning threshold is {DEAD:.0%}"
        if health.part.startswith("branch"):
            products = [h for h in layers if h.layer == health.layer and h.part in ("product", "output")]
            saved = dead_fraction(products[0]) if products else 1.0
            text += f", and in the product {saved:.0%} are: " + (
                "the other branch keeps most alive" if saved < dead / 2 else "the other branch does not help"
            )
        found.append(text)
    if health.dormant is not None and health.dormant > DORMANT:
        found.append(f"{health.dormant:.0%} of its units are dormant (mean size at most 2.5% of the layer's)")
    if health.saturated is not None and health.saturated > SATURATED:
        found.append(f"{health.saturated:.0%} of its activations are saturated and pass almost no gradient")
    return found


def _collapsed(health: Health, is_last: bool) -> list[str]:
    if health.part != "output":
        return []
    if health.map_rank is not None and health.map_samples is not None:
        rank, most, what = health.map_rank, health.map_samples, "of its flattened map"
    elif health.effective_rank is not None:
        rank, most, what = health.effective_rank, min(health.units, health.samples), ""
    else:
        return []
    if most < 2 or rank > max(COLLAPSED * most, 1):
        return []
    place = "" if is_last else " in an early layer; later layers cannot recover the lost information"
    return [f"the effective rank {what + ' ' if what else ''}has collapsed to {rank} of {most}{place}"]
