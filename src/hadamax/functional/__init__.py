"""Pure functions of tensors: no state, no settings, no device."""

from hadamax.functional.exploration import epsilon_greedy
from hadamax.functional.returns import lambda_returns
from hadamax.functional.schedules import linear

__all__ = ["epsilon_greedy", "lambda_returns", "linear"]
