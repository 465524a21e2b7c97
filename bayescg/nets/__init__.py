"""Networks: modules that return tensors or distributions."""

from bayescg.nets.gaussian import ConditionalGaussian
from bayescg.nets.mlp import ACTIVATIONS, MLP, Standardise
from bayescg.nets.random import ard, gaussian, random_net

__all__ = ["ACTIVATIONS", "MLP", "ConditionalGaussian", "Standardise", "ard", "gaussian", "random_net"]
