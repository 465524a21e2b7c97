"""Differentiable features: plain torch modules, used alike in training and in an exported CV.

The constructors `torsions`, `distances`, `contacts`, `native_contacts`, `aligned`, `cartesian`, `beads`,
`invariants` and `internal_coordinates` read a topology once. What they return knows only atom indices and constants,
is rebuilt exactly from its `config()`, and maps positions ``(..., atoms, 3)`` in nm to ``(..., size)``. `chain` joins
several. Molecules must be whole; distances and contacts are those of the nearest image in the box that they are made
with.
"""

from bayescg.features import observables
from bayescg.features.beads import Beads, beads
from bayescg.features.chain import Chain, chain
from bayescg.features.contacts import Contacts, contacts, native_contacts
from bayescg.features.coordinates import Aligned, Cartesian, Flat, aligned, cartesian
from bayescg.features.distances import Distances, distances
from bayescg.features.forward_models import KARPLUS, Couplings, ForwardModel, InverseSixth, karplus, noe, pre
from bayescg.features.interface import Features, HasPositions, features_from_config
from bayescg.features.internal import LOG_ROTATIONS, InternalCoordinates, internal_coordinates
from bayescg.features.invariants import Invariants, invariants
from bayescg.features.one_variable import check_variable, is_angle, one_variable
from bayescg.features.radii import Radii, radii
from bayescg.features.torsions import Torsions, torsions
from bayescg.features.unbounded import UnboundedCoordinates, unbounded_coordinates

__all__ = [
    "KARPLUS",
    "LOG_ROTATIONS",
    "Aligned",
    "Beads",
    "Cartesian",
    "Chain",
    "Contacts",
    "Couplings",
    "Distances",
    "Features",
    "Flat",
    "ForwardModel",
    "HasPositions",
    "InternalCoordinates",
    "Invariants",
    "InverseSixth",
    "Radii",
    "Torsions",
    "UnboundedCoordinates",
    "aligned",
    "beads",
    "cartesian",
    "chain",
    "check_variable",
    "contacts",
    "distances",
    "features_from_config",
    "internal_coordinates",
    "invariants",
    "is_angle",
    "karplus",
    "native_contacts",
    "noe",
    "observables",
    "one_variable",
    "pre",
    "radii",
    "torsions",
    "unbounded_coordinates",
]
