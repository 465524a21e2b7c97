"""Differentiable features: plain torch modules, used alike in training and in an exported CV.

The constructors `torsions`, `distances`, `aligned` and `cartesian` read a topology once. What they return
knows only atom indices and constants, is rebuilt exactly from its `config()`, and maps positions
``(..., atoms, 3)`` in nm to ``(..., size)``. `chain` joins several. Molecules must be whole: no feature
looks across a periodic box.
"""

from bayescg.features import observables
from bayescg.features.chain import Chain, chain
from bayescg.features.coordinates import Aligned, Cartesian, Flat, aligned, cartesian
from bayescg.features.core import Features, HasPositions, features_from_config
from bayescg.features.distances import Distances, distances
from bayescg.features.torsions import Torsions, torsions

__all__ = [
    "Aligned",
    "Cartesian",
    "Chain",
    "Distances",
    "Features",
    "Flat",
    "HasPositions",
    "Torsions",
    "aligned",
    "cartesian",
    "chain",
    "distances",
    "features_from_config",
    "observables",
    "torsions",
]
