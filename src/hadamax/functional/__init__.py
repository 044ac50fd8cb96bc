"""Equations of RL algorithms as pure functions of tensors: no state, no settings, no device handling."""

from hadamax.functional.advantages import gae, normalised
from hadamax.functional.categorical import categorical_cross_entropy, categorical_projection, entropy_of
from hadamax.functional.exploration import epsilon_greedy, random_actions, vote
from hadamax.functional.hl_gauss import bin_centres, hl_gauss, hl_gauss_value
from hadamax.functional.n_step import n_step_returns
from hadamax.functional.policy import clipped_policy_loss, clipped_value_loss, entropy, sample_actions
from hadamax.functional.q_learning import greedy_values, of_actions
from hadamax.functional.returns import lambda_returns
from hadamax.functional.schedules import linear

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
