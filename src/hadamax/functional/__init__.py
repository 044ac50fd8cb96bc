"""Pure functions of tensors: no state, no settings, no device."""

from hadamax.functional.advantages import gae, normalised
from hadamax.functional.exploration import epsilon_greedy, vote
from hadamax.functional.hl_gauss import bin_centres, hl_gauss, hl_gauss_value
from hadamax.functional.policy import clipped_policy_loss, clipped_value_loss, entropy, sample_actions
from hadamax.functional.returns import lambda_returns
from hadamax.functional.schedules import linear

__all__ = [
    "bin_centres",
    "clipped_policy_loss",
    "clipped_value_loss",
    "entropy",
    "epsilon_greedy",
    "gae",
    "hl_gauss",
    "hl_gauss_value",
    "lambda_returns",
    "linear",
    "normalised",
    "sample_actions",
    "vote",
]
