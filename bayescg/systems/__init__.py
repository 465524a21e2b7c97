"""Physics one can query: analytic potentials, molecules and force fields.

Names are imported when they are first used: `peptide` needs OpenMM but not PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_NAMES = {
    "CurvedWell": "wells",
    "CurvilinearSystem": "curvilinear",
    "DoubleWell": "wells",
    "GaussianMixture": "targets",
    "Harmonic": "wells",
    "ManyWell32": "targets",
    "MolecularSystem": "molecules",
    "MuellerBrown5D": "embedded",
    "Prinz": "wells",
    "QuadrupleWell": "wells",
    "QuarticDoubleWell": "wells",
    "System": "core",
    "ThreeWell5D": "embedded",
    "ThreeWellRing": "wells",
    "alanine_dipeptide": "molecules",
    "from_function": "core",
    "from_openmm": "molecules",
    "peptide": "peptides",
}

__all__ = [
    "CurvedWell",
    "CurvilinearSystem",
    "DoubleWell",
    "GaussianMixture",
    "Harmonic",
    "ManyWell32",
    "MolecularSystem",
    "MuellerBrown5D",
    "Prinz",
    "QuadrupleWell",
    "QuarticDoubleWell",
    "System",
    "ThreeWell5D",
    "ThreeWellRing",
    "alanine_dipeptide",
    "from_function",
    "from_openmm",
    "peptide",
]

if TYPE_CHECKING:
    from bayescg.systems.core import System, from_function
    from bayescg.systems.curvilinear import CurvilinearSystem
    from bayescg.systems.embedded import MuellerBrown5D, ThreeWell5D
    from bayescg.systems.molecules import MolecularSystem, alanine_dipeptide, from_openmm
    from bayescg.systems.peptides import peptide
    from bayescg.systems.targets import GaussianMixture, ManyWell32
    from bayescg.systems.wells import (
        CurvedWell,
        DoubleWell,
        Harmonic,
        Prinz,
        QuadrupleWell,
        QuarticDoubleWell,
        ThreeWellRing,
    )


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(import_module(f"bayescg.systems.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'bayescg.systems' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)
