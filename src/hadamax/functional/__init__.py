"""Equations of RL algorithms as pure functions of tensors: no state, no settings, no device handling."""

from hadamax.functional.exploration import epsilon_greedy, linear, random_actions, vote
from hadamax.functional.policy import clipped_policy_loss, clipped_value_loss, entropy, sample_actions
from hadamax.functional.returns import gae, lambda_returns, n_step_returns, normalised
from hadamax.functional.values import (
    bin_centres,
    categorical_cross_entropy,
    categorical_projection,
    entropy_of,
    greedy_values,
    hl_gauss,
    hl_gauss_value,
    of_actions,
)

__all__ = [
    "bin_centres",
    "categorical_cross_entropy",
    "categorical_projection",
    "clipped_policy_loss",
    "clipped_value_loss",
    "entropy",
    "entropy_of",
    "epsilon_greedy",
    "gae",
    "greedy_values",
    "hl_gauss",
    "hl_gauss_value",
    "lambda_returns",
    "linear",
    "n_step_returns",
    "normalised",
    "of_actions",
    "random_actions",
    "sample_actions",
    "vote",
]
