"""Distributions that Pyro and zuko lack."""

from bayescg.distributions.boltzmann import Boltzmann, GeometricPath, system_config, system_from_config
from bayescg.distributions.latent_mixture import LatentMixture
from bayescg.distributions.lattice import LatticeDensity, LatticeMixture, StratifiedLattice
from bayescg.distributions.mixture import StratifiedMixture
from bayescg.distributions.shot_counts import ShotCounts
from bayescg.distributions.torus import WrappedMixture, WrappedNormal, wrapped

__all__ = [
    "Boltzmann",
    "GeometricPath",
    "LatentMixture",
    "LatticeDensity",
    "LatticeMixture",
    "ShotCounts",
    "StratifiedLattice",
    "StratifiedMixture",
    "WrappedMixture",
    "WrappedNormal",
    "system_config",
    "system_from_config",
    "wrapped",
]
