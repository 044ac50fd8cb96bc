"""Action values in every form that PQN's strongest head takes: dueling, in bins, of several members on one encoder."""

import math

from torch import Tensor

from hadamax.networks.heads import QHead
from hadamax.networks.initialisers import InitialiserSetting
from hadamax.networks.names import whole


def duel(streams: Tensor) -> Tensor:
    """V + A - mean A, over the last but one dimension: [..., 1 + action, bin] -> [..., action, bin].

    The first of the streams is V. Source: Wang et al. 2016, arXiv 1511.06581, equation 9; for logits of bins, per
    bin, as Hessel et al. 2018, arXiv 1710.02298, do.
    """
    value, advantages = streams[..., :1, :], streams[..., 1:, :]
    return value + advantages - advantages.mean(dim=-2, keepdim=True)


class ValueHead(QHead):
    """One linear layer: [B, features] -> [B, member, action, bin], in the parameters' dtype.

    With one bin the outputs are Q-values, with more they are logits. Members are independent heads on the same
    features (Osband et al. 2016, arXiv 1602.04621). With `dueling` every member has a value stream beside its
    advantages, linear as they are (arXiv 1511.06581 gives each a hidden layer). One member, one bin and no dueling
    make a `QHead`, weights and random numbers included.
    """

    def __init__(
        self,
        features: int,
        num_actions: int,
        *,
        members: int = 1,
        bins: int = 1,
        dueling: bool = False,
        initialiser: InitialiserSetting = "torch",
    ) -> None:
        streams = whole("num_actions", num_actions) + int(dueling)
        shape = (whole("members", members), streams, whole("bins", bins))
        super().__init__(features, math.prod(shape), initialiser)
        self.shape, self.dueling = shape, dueling

    def forward(self, features: Tensor) -> Tensor:
        streams = super().forward(features).reshape(*features.shape[:-1], *self.shape)
        return duel(streams) if self.dueling else streams

    def extra_repr(self) -> str:
        members, streams, bins = self.shape
        actions = streams - int(self.dueling)
        return f"{self.weight.shape[1]}, {members=}, {actions=}, {bins=}, dueling={self.dueling}"
