"""Hadamard layers, encoders and heads: plain `torch.nn` modules.

Hadamard representation: arXiv 2406.09079. Hadamax encoder: arXiv 2505.15345.
"""

from hadamax.networks.activations import ACTIVATIONS
from hadamax.networks.description import describe, network_from
from hadamax.networks.distributional import CategoricalNetwork, RainbowNetwork
from hadamax.networks.encoders import Encoder, build_encoder
from hadamax.networks.hadamard import COMBINATIONS, HadamardConv2d, HadamardLinear, combine_branches
from hadamax.networks.heads import PolicyValueNetwork, QHead, QNetwork, ValueHead, ValueNetwork
from hadamax.networks.initialisers import INITIALISERS
from hadamax.networks.matching import matching_width, parameter_count
from hadamax.networks.named_encoders import ENCODERS
from hadamax.networks.norms import NORMS, Norm
from hadamax.networks.specs import UNSET, Activate, Conv, Dense, EncoderSpec, Residual, override
from hadamax.networks.windows import Pool

__all__ = [
    "ACTIVATIONS",
    "COMBINATIONS",
    "ENCODERS",
    "INITIALISERS",
    "NORMS",
    "UNSET",
    "Activate",
    "CategoricalNetwork",
    "Conv",
    "Dense",
    "Encoder",
    "EncoderSpec",
    "HadamardConv2d",
    "HadamardLinear",
    "Norm",
    "PolicyValueNetwork",
    "Pool",
    "QHead",
    "QNetwork",
    "RainbowNetwork",
    "Residual",
    "ValueHead",
    "ValueNetwork",
    "build_encoder",
    "combine_branches",
    "describe",
    "matching_width",
    "network_from",
    "override",
    "parameter_count",
]
