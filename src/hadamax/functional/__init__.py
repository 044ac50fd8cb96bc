"""Pure functions of tensors: no state, no settings, no device."""

from hadamax.functional.categorical import categorical_cross_entropy, categorical_projection, entropy_of
from hadamax.functional.exploration import epsilon_greedy, random_actions
from hadamax.functional.n_step import n_step_returns
from hadamax.functional.q_learning import greedy_values
from hadamax.functional.returns import lambda_returns
from hadamax.functional.schedules import linear

__all__ = [
    "categorical_cross_entropy",
    "categorical_projection",
    "entropy_of",
    "epsilon_greedy",
    "greedy_values",
    "lambda_returns",
    "linear",
    "n_step_returns",
    "random_actions",
]
