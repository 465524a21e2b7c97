"""Networks: modules that return tensors or distributions."""

from bayescg.nets.diffusion import diffusion_tensor, diffusion_value, packed, unpacked
from bayescg.nets.dirichlet import DirichletForms
from bayescg.nets.flows import BOUND, SplineFlow
from bayescg.nets.gaussian import ConditionalGaussian
from bayescg.nets.mlp import ACTIVATIONS, MLP, Standardise
from bayescg.nets.random import ard, gaussian, random_net
from bayescg.nets.ritz import RitzModes
from bayescg.nets.soft_states import SoftStates
from bayescg.nets.tangents import TangentMLP
from bayescg.nets.whiten import Whiten

__all__ = [
    "ACTIVATIONS",
    "BOUND",
    "MLP",
    "ConditionalGaussian",
    "DirichletForms",
    "RitzModes",
    "SoftStates",
    "SplineFlow",
    "Standardise",
    "TangentMLP",
    "Whiten",
    "ard",
    "diffusion_tensor",
    "diffusion_value",
    "gaussian",
    "packed",
    "random_net",
    "unpacked",
]
