"""Distributions that Pyro and zuko lack."""

from bayescg.distributions.boltzmann import Boltzmann, GeometricPath, system_config, system_from_config
from bayescg.distributions.lattice import LatticeDensity, LatticeMixture, StratifiedLattice
from bayescg.distributions.mixture import LatentMixture, StratifiedMixture
from bayescg.distributions.shot_counts import ShotCounts

__all__ = [
    "Boltzmann",
    "GeometricPath",
    "LatentMixture",
    "LatticeDensity",
    "LatticeMixture",
    "ShotCounts",
    "StratifiedLattice",
    "StratifiedMixture",
    "system_config",
    "system_from_config",
]
