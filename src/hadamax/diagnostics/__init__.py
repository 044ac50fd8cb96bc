"""Measurements of representations: dead units, ranks, weight updates; and a probe for the layers of any network.

Depends on torch and numpy only, not on other folders of this project.
"""

from hadamax.diagnostics.density import dead_neurons, kde_peak_density
from hadamax.diagnostics.health import Health, measure, observe
from hadamax.diagnostics.probe import Probe
from hadamax.diagnostics.rank import effective_rank, singular_values, stable_rank
from hadamax.diagnostics.records import Sample, sample_of
from hadamax.diagnostics.selection import Layered
from hadamax.diagnostics.units import (
    dormant_neurons,
    feature_norm,
    output_shares,
    saturated_neurons,
    saturation,
    zero_neurons,
)
from hadamax.diagnostics.updates import churn, gradient_norm, update_ratio, weight_norm

__all__ = [
    "Health",
    "Layered",
    "Probe",
    "Sample",
    "churn",
    "dead_neurons",
    "dormant_neurons",
    "effective_rank",
    "feature_norm",
    "gradient_norm",
    "kde_peak_density",
    "measure",
    "observe",
    "output_shares",
    "sample_of",
    "saturated_neurons",
    "saturation",
    "singular_values",
    "stable_rank",
    "update_ratio",
    "weight_norm",
    "zero_neurons",
]
