"""Distributions that Pyro and zuko lack."""

from bayescg.distributions.boltzmann import Boltzmann, GeometricPath, system_config, system_from_config
from bayescg.distributions.mixture import LatentMixture, StratifiedMixture

__all__ = ["Boltzmann", "GeometricPath", "LatentMixture", "StratifiedMixture", "system_config", "system_from_config"]
