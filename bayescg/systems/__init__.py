"""Physics one can query: analytic potentials, molecules and force fields.

Names are imported when they are first used: `peptide` needs OpenMM but not PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_NAMES = {
    "MolecularSystem": "molecules",
    "System": "core",
    "alanine_dipeptide": "molecules",
    "from_function": "core",
    "from_openmm": "molecules",
    "peptide": "peptides",
}

__all__ = ["MolecularSystem", "System", "alanine_dipeptide", "from_function", "from_openmm", "peptide"]

if TYPE_CHECKING:
    from bayescg.systems.core import System, from_function
    from bayescg.systems.molecules import MolecularSystem, alanine_dipeptide, from_openmm
    from bayescg.systems.peptides import peptide


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(import_module(f"bayescg.systems.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'bayescg.systems' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)
